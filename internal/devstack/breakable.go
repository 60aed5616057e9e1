//go:build linux || darwin

package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Breakable is a throwaway server that a test may end in any way and start again, with the same address, password and
// data. It dies with this process like any server of ours. It is for one goroutine at a time.
type Breakable struct {
	// URL is its address, with the password. It never changes.
	URL string
	// Dir is the folder of its data.
	Dir string

	folder *folder
	begin  func(context.Context) (*server, error)
	server *server
}

// BreakablePostgres starts a Postgres with an empty database.
func BreakablePostgres(ctx context.Context, o Options) (*Breakable, error) {
	return startBreakable(ctx, o, func(f *folder, acc *account) (func(context.Context) (*server, error), error) {
		bin, err := newFinder(o, acc).postgres(ctx)
		if err != nil {
			return nil, err
		}
		cluster := filepath.Join(f.path, postgresFolder+strconv.Itoa(bin.major))
		if err := makeCluster(ctx, bin, f, acc, cluster); err != nil {
			return nil, err
		}
		password, err := os.ReadFile(filepath.Join(cluster, passwordFile)) //nolint:gosec // a fixed name in a folder of ours
		if err != nil {
			return nil, fmt.Errorf("devstack: read the password of the cluster: %w", err)
		}
		port, err := freePort(ctx)
		return func(ctx context.Context) (*server, error) {
			return postgresAt(ctx, bin, f, acc, cluster, strings.TrimSpace(string(password)), port)
		}, err
	})
}

// BreakableRedis starts a Redis. It persists nothing unless settings, lines of a redis.conf, say so.
func BreakableRedis(ctx context.Context, o Options, settings ...string) (*Breakable, error) {
	return startBreakable(ctx, o, func(f *folder, acc *account) (func(context.Context) (*server, error), error) {
		bin, err := newFinder(o, acc).redis(ctx)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(f.path, redisFolder)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("devstack: make the folder for Redis: %w", err)
		}
		if err := acc.own(dir); err != nil {
			return nil, err
		}
		password := rand.Text()
		port, err := freePort(ctx)
		return func(ctx context.Context) (*server, error) {
			config := redisConfig(port, password, dir, false) + strings.Join(settings, "\n") + "\n"
			return redisAt(ctx, bin, f, acc, dir, port, password, config)
		}, err
	})
}

func startBreakable(ctx context.Context, o Options, prepare func(*folder, *account) (func(context.Context) (*server, error), error)) (*Breakable, error) {
	o.Persist = false
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	f, err := openFolder(ctx, o, acc)
	if err != nil {
		return nil, err
	}
	b := &Breakable{folder: f, Dir: f.path}
	if b.begin, err = prepare(f, acc); err == nil {
		err = b.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	b.URL = b.server.url
	return b, nil
}

// Start starts it again after End, and waits until it answers.
func (b *Breakable) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return retryStart(ctx, func() error {
		server, err := b.begin(ctx)
		if err == nil {
			b.server = server
		}
		return err
	})
}

// End sends a signal and waits until it has ended: SIGKILL, or SIGQUIT for Postgres' immediate mode.
func (b *Breakable) End(signal syscall.Signal) error {
	return b.server.child.stop(signalStep{signal, 20 * time.Second})
}

// Port returns the port of 127.0.0.1 on which it listens.
func (b *Breakable) Port() string {
	u, err := url.Parse(b.URL)
	if err != nil {
		return ""
	}
	return u.Port()
}

// Close ends it and removes its data.
func (b *Breakable) Close() error {
	return errors.Join(b.server.stop(), b.folder.close())
}
