package devstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The variables that give a service, and the file in Options.Dir where Setup leaves the URLs of containers.
const (
	databaseVar = "DATABASE_URL"
	redisVar    = "REDIS_URL"
	composeFile = "compose.env"
)

// plan names the source of each service: a URL that was given, or a server to start. An empty redisServer means the stand-in.
type plan struct {
	databaseURL, databaseFrom string
	redisURL, redisFrom       string
	postgres                  binary
	redisServer               binary
	account                   *account
}

// makePlan decides, in this order: the environment, the servers that are installed, the containers that Setup started.
func makePlan(ctx context.Context, o Options) (*plan, error) {
	p := &plan{
		databaseURL: o.Getenv(databaseVar), databaseFrom: databaseVar,
		redisURL: o.Getenv(redisVar), redisFrom: redisVar,
	}
	if p.databaseURL != "" && p.redisURL != "" {
		return p, nil
	}
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	p.account = acc
	containers, err := readEnvFile(filepath.Join(o.Dir, composeFile))
	if err != nil {
		return nil, err
	}
	f := newFinder(o, acc)
	if p.databaseURL == "" {
		bin, err := f.postgres(ctx)
		switch {
		case err == nil:
			p.postgres = bin
		case containers[databaseVar] != "":
			p.databaseURL, p.databaseFrom = containers[databaseVar], databaseVar+" in "+filepath.Join(o.Dir, composeFile)
		default:
			return nil, fmt.Errorf("devstack: no Postgres here: %s is not set and %w\n%s", databaseVar, err, wayOut)
		}
	}
	if p.redisURL == "" {
		bin, err := f.redis(ctx)
		switch {
		case err == nil:
			p.redisServer = bin
		case containers[redisVar] != "":
			p.redisURL, p.redisFrom = containers[redisVar], redisVar+" in "+filepath.Join(o.Dir, composeFile)
		}
	}
	return p, nil
}

// wayOut is said where Start misses Postgres: one way that does it all, and the commands for those who prefer their own.
const wayOut = `Run "make setup", which installs what is missing. ` + byHand

// byHand are the commands for each kind of machine.
const byHand = `To install them yourself:
  Debian, Ubuntu:  sudo apt-get update && sudo apt-get install postgresql redis-server
  macOS:           brew install postgresql@17 redis
  Docker:          docker compose up -d postgres redis   (then set DATABASE_URL and REDIS_URL)`

// checkGiven lets nothing start before the given services have answered.
func (p *plan) checkGiven(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if p.databaseURL != "" {
		g.Go(func() error { return checkPostgres(ctx, p.databaseFrom, p.databaseURL) })
	}
	if p.redisURL != "" {
		g.Go(func() error { return checkRedis(ctx, p.redisFrom, p.redisURL) })
	}
	return g.Wait()
}

// readEnvFile reads KEY=VALUE lines. A file that does not exist is empty.
func readEnvFile(file string) (map[string]string, error) {
	f, err := os.Open(file) //nolint:gosec // a fixed name in the folder that the caller chose
	if errors.Is(err, os.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("devstack: read %s: %w", file, err)
	}
	defer closeQuietly(f)
	env := make(map[string]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			env[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `'"`)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("devstack: read %s: %w", file, err)
	}
	return env, nil
}

// hostPort is the part of a URL that may be shown.
func hostPort(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that is no URL"
	}
	return u.Host
}

// closeQuietly closes what was only read.
func closeQuietly(c io.Closer) { _ = c.Close() }
