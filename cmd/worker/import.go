package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/internal/app"
	"oneflow/internal/cli"
)

// pricesImport takes prices over from a file of somebody else's.
type pricesImport struct {
	File     string   `arg:"" help:"A file in the form of genai-prices, or of our own list."`
	Provider []string `help:"Only these vendors' prices."`
	To       string   `help:"Write the changes to this file. Default: the one that prices: names in the configuration; without it nothing is written."`
	All      bool     `help:"Also prices of vendors that are not configured."`
}

// Run shows the differences, and writes them.
func (c *pricesImport) Run(s *session) error {
	list, err := app.PriceList(s.config)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	data, err := readPrices(c.File)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	now := time.Now()
	imported, err := billing.Import(data, now)
	if err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("%s: %w", c.File, err))
	}
	var rows []billing.Row
	for _, r := range imported.Rows {
		if c.wanted(s, r.Provider) {
			rows = append(rows, r)
		}
	}
	changes := list.Changes(rows, now)
	table := [][]string{{"VENDOR", "MODEL", "UNIT", "NOW", "NEW", "FROM"}}
	for _, change := range changes {
		r, old, rate := change.Row, change.Rate, change.Row.Rate
		if old == "" {
			old = "-"
		}
		if r.Per != 1_000_000 {
			rate += fmt.Sprintf(" per %d", r.Per)
		}
		models := r.Match[0]
		if n := len(r.Match) - 1; n > 0 {
			models += fmt.Sprintf(" and %d more", n)
		}
		table = append(table, []string{r.Provider, models, unitName(r), old, rate, r.From.Format(time.DateOnly)})
	}
	for _, skipped := range imported.Skipped {
		if vendor, _, _ := strings.Cut(skipped, " "); c.wanted(s, vendor) {
			fmt.Fprintf(s.Env.Err, "not taken over: %s\n", skipped)
		}
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintf(s.Env.Out, "%s says nothing that the list does not: %s compared\n", c.File, cli.Things(int64(len(rows)), "price"))
		return err
	}
	if err := cli.Table(s.Env.Out, table); err != nil {
		return err
	}
	return c.write(s, changes)
}

// wanted reports whether a vendor's prices are to be taken over.
func (c *pricesImport) wanted(s *session, vendor string) bool {
	if len(c.Provider) > 0 {
		return slices.Contains(c.Provider, vendor)
	}
	for name := range s.config.Providers {
		if app.PricesAs(s.config, name) == vendor {
			return true
		}
	}
	return c.All
}

// write lays the changes over what the override file holds, or says how to.
func (c *pricesImport) write(s *session, changes []billing.Change) error {
	path := c.To
	if path == "" {
		path = s.config.Prices
	}
	if path == "" {
		_, err := fmt.Fprintf(s.Env.Err, "%s; nothing was written: name a file with --to, and set `prices:` in the configuration to it\n", cli.Things(int64(len(changes)), "change"))
		return err
	}
	old, err := os.ReadFile(path) //nolint:gosec // the user's own file
	switch {
	case errors.Is(err, os.ErrNotExist):
		old = nil
	case err != nil:
		return cli.Fail(cli.Usage, err)
	}
	var file bytes.Buffer
	if err := billing.Override(&file, old, changes); err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("%s: %w", path, err))
	}
	if err := cli.WriteFile(path, func(w io.Writer) error { _, err := w.Write(file.Bytes()); return err }); err != nil {
		return err
	}
	said := ""
	if path != s.config.Prices {
		said = ": set `prices:` in the configuration to it"
	}
	_, err = fmt.Fprintf(s.Env.Err, "%s written to %s%s\n", cli.Things(int64(len(changes)), "change"), path, said)
	return err
}

// mostPrices is the most that is read of a price file.
const mostPrices = 16 << 20

func readPrices(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the user's own file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, mostPrices+1))
	if err != nil {
		return nil, err
	}
	if len(data) > mostPrices {
		return nil, fmt.Errorf("%s: larger than %d MiB", path, mostPrices>>20)
	}
	return data, nil
}
