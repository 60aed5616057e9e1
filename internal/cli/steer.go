package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"oneflow/config"
	"oneflow/store"
	"oneflow/worker"
)

// Who is who gives an order, as USER@HOST, for the record.
func Who(getenv func(string) string) string {
	user := getenv("USER")
	if user == "" {
		user = "somebody"
	}
	host, err := os.Hostname()
	if err != nil {
		host = "somewhere"
	}
	return Printable(user + "@" + host)
}

// Steer does something to a provider that is configured or that a worker has
// served. For one that is neither it fails with the exit code Usage and the names
// of those that are.
func Steer(ctx context.Context, db *store.Store, cfg config.Config, name string, do func() error) error {
	if p, ok := cfg.Providers[name]; ok {
		if err := db.AddProvider(ctx, worker.Served{Name: name, Kind: p.Kind, Concurrency: p.Workers()}); err != nil {
			return err
		}
	}
	err := do()
	if !errors.Is(err, store.ErrUnknownProvider) {
		return err
	}
	known, _, err := db.Settings(ctx)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(known))
	for name := range cfg.Providers {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return Fail(Usage, fmt.Errorf("%.60q: there is no such provider; there are %s", name, strings.Join(names, ", ")))
}

// Printable takes out what would move a terminal's cursor or a table's columns.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}
