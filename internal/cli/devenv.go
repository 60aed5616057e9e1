package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	devFolder    = ".oneflow"
	devFolderVar = "ONEFLOW_DIR" // in place of devFolder
	devFile      = "env"
	devFileVar   = "ONEFLOW_ENV_FILE" // tells the log which file was read
	devFileLimit = 64 << 10           // bytes
)

// WithDevEnvironment makes a command use the services of the `make dev` that runs in this folder, or in one above it,
// where the environment names none. Its file, .oneflow/env, is read as a whole: it also names fake providers, and then
// their keys go before real ones. A file that others could have written is refused.
func WithDevEnvironment(run func(context.Context, []string, Env) error) func(context.Context, []string, Env) error {
	return func(ctx context.Context, args []string, env Env) error {
		if slices.ContainsFunc(args, namesService) {
			return run(ctx, args, env)
		}
		dir, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("find the working directory: %w", err)
		}
		vars, err := devEnvironment(env.Getenv, dir)
		if err != nil {
			return Fail(Unsafe, err)
		}
		for name, value := range vars {
			// The flags' defaults are read from the process's environment, not through env.
			if err := os.Setenv(name, value); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
		}
		return run(ctx, args, env)
	}
}

// namesService reports whether an argument is a flag that names a service: one of a pair alone must not be completed from
// the file.
func namesService(arg string) bool {
	return strings.HasPrefix(arg, "--database-url") || strings.HasPrefix(arg, "--redis-url")
}

// devEnvironment reads the variables that a `make dev` shares which runs in dir or above; none, where the environment names
// services.
func devEnvironment(getenv func(string) string, dir string) (map[string]string, error) {
	if getenv("DATABASE_URL") != "" || getenv("REDIS_URL") != "" {
		return nil, nil
	}
	file, err := findDevFile(getenv(devFolderVar), dir)
	if file == "" || err != nil {
		return nil, err
	}
	info, err := os.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || !ours(info) || info.Size() > devFileLimit {
		return nil, fmt.Errorf("%s is not a file that you alone can read and write: remove it, or set DATABASE_URL and REDIS_URL", file)
	}
	text, err := os.ReadFile(file) //nolint:gosec // checked above
	if err != nil {
		return nil, err
	}
	vars, err := parseDevFile(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	vars[devFileVar] = file
	return vars, nil
}

// findDevFile looks in folder, or where that is not given in .oneflow of dir and of the folders above it.
func findDevFile(folder, dir string) (string, error) {
	if folder != "" {
		return existing(filepath.Join(folder, devFile))
	}
	for {
		if file, err := existing(filepath.Join(dir, devFolder, devFile)); file != "" || err != nil {
			return file, err
		}
		if dir == filepath.Dir(dir) {
			return "", nil
		}
		dir = filepath.Dir(dir)
	}
}

// existing returns file where it exists, else "". What may not be looked at does not exist for us.
func existing(file string) (string, error) {
	_, err := os.Lstat(file)
	switch {
	case err == nil:
		return file, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return "", nil
	default:
		return "", err
	}
}

// parseDevFile reads lines of the form NAME='value'.
func parseDevFile(text string) (map[string]string, error) {
	vars := map[string]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok {
			value, ok = strings.CutPrefix(value, "'")
		}
		if ok {
			value, ok = strings.CutSuffix(value, "'")
		}
		if !ok || name == "" || strings.ContainsAny(value, "'") {
			return nil, fmt.Errorf("line %d is not NAME='value', as `make dev` writes it", n)
		}
		vars[name] = value
	}
	return vars, nil
}
