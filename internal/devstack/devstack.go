// Package devstack runs Postgres and Redis as child processes of ours: services for a laptop, for demos and for tests.
//
// What the environment gives (DATABASE_URL, REDIS_URL) wins and is never silently replaced; else the servers that are
// installed here are started on loopback ports, with random passwords, and die with this process, however it dies. A folder
// that is kept keeps its ports and passwords too.
// Setup installs the servers where they are missing. It is no way to run OneFlow in production.
//
// It imports nothing of ours.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// startLimit bounds the start of both servers: a warm one takes well under a second, the rest is for a Postgres that
// has to recover a crashed cluster.
const startLimit = 60 * time.Second

// Options configure Start. The zero value is a throwaway stack.
type Options struct {
	// Dir is the folder of persistent data and of the binaries that Setup installs.
	// Default: ".oneflow" in the module's root, or in the working directory outside a module.
	Dir string
	// Persist keeps the data in Dir between runs. Otherwise it lives in memory (or in the temporary folder) and is gone at Close.
	Persist bool
	// Fresh, with Persist, throws away what an earlier run left in Dir. It is refused like any start while another live
	// process holds Dir.
	Fresh bool
	// Log gets one human line for each thing that was started. Default: nothing is written.
	Log io.Writer
	// Getenv reads the environment. Default: os.Getenv.
	Getenv func(string) string

	// search and fallback are for tests: nil and "" mean the well-known places.
	search   []string
	fallback string
}

// Stack is a running pair of services.
type Stack struct {
	// DatabaseURL is a postgres:// URL with its password. The database may be empty; migrations are the caller's.
	DatabaseURL string
	// RedisURL is a redis:// URL with its password. Servers of ours have 1024 database numbers.
	RedisURL string
	// OwnPostgres says that Postgres is a child process of ours, not a server that was given.
	OwnPostgres bool
	// OwnRedis says that Redis is ours: a child process, or the stand-in when RedisIsMini is true.
	OwnRedis bool
	// RedisIsMini says that Redis is miniredis in this process, for trying out only: it forgets everything at Close.
	RedisIsMini bool
	// Dir is the folder that holds the data of our servers, empty when both were given.
	Dir string

	folder    *folder
	envFile   string
	stops     []func() error // in the order of starting
	closing   chan struct{}
	done      chan struct{}
	closeOnce sync.Once
	closeErr  error
	failOnce  sync.Once
	failure   error
}

// Start gives Postgres and Redis, both of them answering. ctx bounds the start only; the servers run until Close.
//
// It fails without starting anything when a given URL does not answer for 5 s, when Postgres is not installed (the error
// says how to get it), and when another live process holds the persistent folder. A missing Redis is replaced by an
// in-process stand-in, see [Stack.RedisIsMini].
func Start(ctx context.Context, o Options) (*Stack, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()

	p, err := makePlan(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := p.checkGiven(ctx); err != nil {
		return nil, err
	}
	s := &Stack{
		DatabaseURL: p.databaseURL, RedisURL: p.redisURL,
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.launch(ctx, o, p); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Done is closed when a server of ours ended without Close having been called, and by Close. Err tells which it was.
func (s *Stack) Done() <-chan struct{} { return s.done }

// Err is nil while the servers run and after an ordinary Close; after Done it says which server ended by itself and the
// last lines of its log.
func (s *Stack) Err() error {
	select {
	case <-s.done:
		return s.failure
	default:
		return nil
	}
}

// Close stops what Start started, in reverse order, and removes throwaway data. It is idempotent, returns within about
// 20 s whatever the servers do, and leaves given services alone.
func (s *Stack) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		var errs []error
		for _, stop := range slices.Backward(s.stops) {
			errs = append(errs, stop())
		}
		if s.envFile != "" {
			if err := os.Remove(s.envFile); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, fmt.Errorf("devstack: remove %s: %w", s.envFile, err))
			}
		}
		if s.folder != nil {
			errs = append(errs, s.folder.close())
		}
		s.closeErr = errors.Join(errs...)
		s.fail(nil)
	})
	return s.closeErr
}

// launch starts what the plan did not find given: Postgres and Redis side by side, since neither needs the other.
func (s *Stack) launch(ctx context.Context, o Options, p *plan) error {
	if p.databaseURL != "" {
		say(o.Log, "Postgres is given by %s", p.databaseFrom)
	}
	if p.redisURL != "" {
		say(o.Log, "Redis is given by %s", p.redisFrom)
	}
	if p.databaseURL != "" && p.redisURL != "" {
		return nil
	}
	if p.databaseURL != "" && p.redisServer.path == "" {
		return s.startMini(o) // nothing that needs a folder or another account
	}
	f, err := openFolder(ctx, o, p.account)
	if err != nil {
		return err
	}
	s.folder, s.Dir = f, f.path

	var mu sync.Mutex
	started := func(c *child, stop func() error) {
		mu.Lock()
		defer mu.Unlock()
		s.stops = append(s.stops, stop)
		go s.watch(c)
	}
	g, gctx := errgroup.WithContext(ctx)
	if p.databaseURL == "" {
		g.Go(func() error {
			srv, err := startPostgres(gctx, p.postgres, f, p.account)
			if err != nil {
				return err
			}
			s.DatabaseURL, s.OwnPostgres = srv.url, true
			started(srv.child, srv.stop)
			return nil
		})
	}
	if p.redisURL == "" && p.redisServer.path != "" {
		g.Go(func() error {
			srv, err := startRedis(gctx, p.redisServer, f, p.account)
			if err != nil {
				return err
			}
			s.RedisURL, s.OwnRedis = srv.url, true
			started(srv.child, srv.stop)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if s.OwnPostgres {
		say(o.Log, "Postgres %s at %s, data in %s%s", p.postgres.version, hostPort(s.DatabaseURL), f.path, f.lifetime())
	}
	if s.OwnRedis {
		say(o.Log, "Redis %s at %s, data in %s%s", p.redisServer.version, hostPort(s.RedisURL), f.path, f.lifetime())
	}
	if s.RedisURL == "" {
		if err := s.startMini(o); err != nil {
			return err
		}
	}
	return nil
}

// watch reports a server that ends before Close was called.
func (s *Stack) watch(c *child) {
	select {
	case <-s.closing:
	case <-c.exited:
		select {
		case <-s.closing:
		default:
			s.fail(fmt.Errorf("devstack: %s (pid %d) ended by itself: %s%s", c.name, c.pid, c.ending(), c.logTail()))
		}
	}
}

// fail closes Done, once; err is nil when it is by Close.
func (s *Stack) fail(err error) {
	s.failOnce.Do(func() {
		s.failure = err
		close(s.done)
	})
}

// Share writes the file `env` into dir, which lets other terminals use the stack until Close: commands read it by
// themselves, and a shell by `set -a; . FILE; set +a`. vars are further variables for them. It returns the file's path.
func (s *Stack) Share(dir string, vars map[string]string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // holds no secrets by itself, and the servers' account must pass through it
		return "", fmt.Errorf("devstack: make %s: %w", dir, err)
	}
	all := maps.Clone(vars)
	if all == nil {
		all = map[string]string{}
	}
	all[databaseVar], all[redisVar] = s.DatabaseURL, s.RedisURL
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.ContainsAny(all[name], "'\n") {
			return "", fmt.Errorf("devstack: share %s: its value has a quote or a line break", name)
		}
		fmt.Fprintf(&text, "%s='%s'\n", name, all[name])
	}
	file := filepath.Join(dir, "env")
	if err := writePrivate(file, text.String()); err != nil {
		return "", err
	}
	s.envFile = file
	return file, nil
}

// DataDir is the default of Options.Dir.
func DataDir() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".oneflow"), nil
}

// withDefaults fills in what was left empty.
func (o Options) withDefaults() (Options, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.fallback == "" {
		o.fallback = "/var/lib/oneflow"
	}
	if o.Dir == "" {
		dir, err := DataDir()
		if err != nil {
			return o, err
		}
		o.Dir = dir
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("devstack: find the folder %s: %w", o.Dir, err)
	}
	o.Dir = dir
	return o, nil
}

// moduleRoot is the nearest folder upwards that holds a go.mod, or the working directory.
func moduleRoot() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("devstack: find the working directory: %w", err)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return wd, nil
		}
	}
}

// say writes one line for people. A line that cannot be written is no reason to fail a start.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

// writePrivate writes a file that only its owner may read.
func writePrivate(file, text string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("devstack: replace %s: %w", file, err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("devstack: write %s: %w", file, err)
	}
	return nil
}
