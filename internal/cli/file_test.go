package cli_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestAnErrorNamesTheFileThatWasAskedForAndNoTemporaryOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	for name, c := range map[string]struct {
		path  string
		write func(io.Writer) error
		want  string
	}{
		"no folder":       {filepath.Join(dir, "none", "x.jsonl"), nil, "write " + filepath.Join(dir, "none", "x.jsonl") + ": no such file or directory"},
		"a file above it": {filepath.Join(file, "x.jsonl"), nil, "write " + filepath.Join(file, "x.jsonl") + ": not a directory"},
		"a folder":        {dir, nil, "write " + dir + ": is a folder"},
		"a disk is full":  {filepath.Join(dir, "y"), func(io.Writer) error { return full }, full.Error()},
		"it was renamed": {filepath.Join(dir, "z"), func(io.Writer) error {
			for _, found := range matches(t, dir, ".z-*") {
				if err := os.Remove(found); err != nil {
					t.Error(err)
				}
			}
			return nil
		}, "write " + filepath.Join(dir, "z") + ": no such file or directory"},
	} {
		write := c.write
		if write == nil {
			write = func(io.Writer) error { return nil }
		}
		err := cli.WriteFile(c.path, write)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "/.") {
			t.Errorf("%s: %v, want %q and no name of a temporary file", name, err, c.want)
		}
	}
	if left := matches(t, dir, ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func matches(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
