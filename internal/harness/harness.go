// Package harness runs a fleet of the built commands as the operating system would: services, fake providers, workers, a
// monitor, and what a test or a benchmark needs to look at all of them from outside. internal/e2e, internal/chaos,
// internal/bench and internal/benchlimits stand on it; it knows neither package testing nor the commands' code, so it
// returns errors and decides nothing.
//
// It may import internal/devstack, internal/fakeprovider, migrations and store, and is for tests and benchmarks alone.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"oneflow/internal/fakeprovider"
)

// Build compiles commands, such as "worker" and "enqueue" (default: all), into a folder. flags are those of `go build`.
func Build(ctx context.Context, folder string, flags []string, names ...string) error {
	packages := []string{"oneflow/cmd/..."}
	if len(names) > 0 {
		packages = nil
		for _, name := range names {
			packages = append(packages, "oneflow/cmd/"+name)
		}
	}
	args := slices.Concat([]string{"build"}, flags, []string{"-o", folder + "/"}, packages)
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput() //nolint:gosec // our own arguments
	if err != nil {
		return fmt.Errorf("build the commands: %w\n%s", err, out)
	}
	return nil
}

// Provider starts a fake provider on a free loopback port. The caller closes it.
func Provider(cfg fakeprovider.Config) (*fakeprovider.Server, error) {
	server, err := fakeprovider.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := server.Start(""); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return server, nil
}

// Fleet is a set of commands on the same services, with one configuration and one working folder. Its methods may be
// called by several goroutines; its fields are set before the first command and not changed while another goroutine runs
// one.
type Fleet struct {
	// Dir is the folder in which commands run; the configuration and the logs are in it too. It must exist.
	Dir string
	// Bin is the folder with the built commands.
	Bin string
	// DatabaseURL and RedisURL are what the commands are told.
	DatabaseURL, RedisURL string
	// Env holds further variables, NAME=value; the last of a name counts. Of the environment of this process commands
	// get PATH and TMPDIR, and nothing else, above all no real key.
	Env []string

	mu      sync.Mutex
	started int
	logs    []string // files
	printed []string // by commands that ran to their end
}

// ConfigFile is the configuration that the commands are told.
func (f *Fleet) ConfigFile() string { return filepath.Join(f.Dir, "oneflow.yaml") }

// Configure writes the configuration, in place of the one before.
func (f *Fleet) Configure(yaml string) error {
	if err := os.WriteFile(f.ConfigFile(), []byte(yaml), 0o600); err != nil {
		return fmt.Errorf("configure the fleet: %w", err)
	}
	return nil
}

// Output returns everything that the commands have written so far, to look for what must not be in it.
func (f *Fleet) Output() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all strings.Builder
	for _, text := range f.printed {
		all.WriteString(text)
	}
	for _, file := range f.logs {
		text, err := os.ReadFile(file) //nolint:gosec // a log of ours
		if err != nil {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), nil
}

// Leak returns an error that shows the surroundings of the first of secrets that is found in text, or nil.
func Leak(text string, secrets ...string) error {
	for _, secret := range secrets {
		if i := strings.Index(text, secret); i >= 0 {
			return fmt.Errorf("%q got out: …%s…", secret, text[max(0, i-200):min(len(text), i+200)])
		}
	}
	return nil
}
