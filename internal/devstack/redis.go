package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

const (
	redisFolder    = "redis"
	redisDatabases = 1024 // asynq has no key prefix: tests take a database number each
)

// startRedis starts a Redis in the folder and waits until it answers. Port and password are new each time, but in a
// folder that is kept.
func startRedis(ctx context.Context, bin binary, f *folder, acc *account) (*server, error) {
	dir := filepath.Join(f.path, redisFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("devstack: make the folder for Redis: %w", err)
	}
	if err := acc.own(dir); err != nil {
		return nil, err
	}
	var srv *server
	err := retryStart(ctx, func() error {
		var err error
		srv, err = runRedis(ctx, bin, f, acc, dir)
		return err
	})
	return srv, err
}

// runRedis starts Redis once.
func runRedis(ctx context.Context, bin binary, f *folder, acc *account, dir string) (*server, error) {
	port, err := f.port(ctx, redisFolder)
	if err != nil {
		return nil, err
	}
	password, err := f.password(redisFolder)
	if err != nil {
		return nil, err
	}
	return redisAt(ctx, bin, f, acc, dir, port, password, redisConfig(port, password, dir, f.keep))
}

// redisAt starts Redis on a port once. config names the port and the password too.
func redisAt(ctx context.Context, bin binary, f *folder, acc *account, dir string, port int, password, config string) (*server, error) {
	ch, err := startChild(command{
		name: "Redis", path: bin.path, args: []string{"-"}, dir: dir, env: childEnv(os.Getenv),
		stdin:   config,
		logFile: filepath.Join(f.path, "redis.log"), account: acc, orphan: syscall.SIGTERM,
	})
	if err != nil {
		return nil, err
	}
	srv := &server{
		child: ch,
		url:   serverURL("redis", "", password, port, "0", ""),
		stop: func() error {
			return ch.stop(signalStep{syscall.SIGTERM, 5 * time.Second}, signalStep{syscall.SIGKILL, 2 * time.Second})
		},
	}
	opt, err := redis.ParseURL(srv.url)
	if err == nil {
		err = ch.ready(ctx, func(ctx context.Context) error { return pingRedis(ctx, opt) })
	}
	if err != nil {
		return nil, errors.Join(err, srv.stop())
	}
	return srv, nil
}

// redisConfig is given by standard input: on the command line everybody could read the password.
func redisConfig(port int, password, dir string, keep bool) string {
	appendOnly := "no"
	if keep {
		appendOnly = "yes"
	}
	return strings.Join([]string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(port),
		"protected-mode yes",
		"requirepass " + password,
		"databases " + strconv.Itoa(redisDatabases),
		"maxmemory-policy noeviction",
		`save ""`,
		"appendonly " + appendOnly,
		"appendfsync everysec",
		"daemonize no",
		"dir " + strconv.Quote(dir),
		"pidfile " + strconv.Quote(filepath.Join(dir, "redis.pid")),
		"",
	}, "\n")
}

// startMini starts the in-process stand-in for a Redis that is not installed.
func (s *Stack) startMini(o Options) error {
	m := miniredis.NewMiniRedis()
	password := rand.Text()
	m.RequireAuth(password)
	if err := m.Start(); err != nil {
		return fmt.Errorf("devstack: start the stand-in for Redis: %w", err)
	}
	port, err := strconv.Atoi(m.Port())
	if err != nil {
		m.Close()
		return fmt.Errorf("devstack: start the stand-in for Redis: %w", err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.runClock(m)
	}()
	s.RedisURL, s.OwnRedis, s.RedisIsMini = serverURL("redis", "", password, port, "0", ""), true, true
	s.stops = append(s.stops, func() error {
		<-stopped
		m.Close()
		return nil
	})
	say(o.Log, `Redis is not installed: a stand-in in this process (miniredis) takes its place, for trying out only. It is slower and forgets everything at the end; "make setup" installs the real one`)
	return nil
}

// runClock lets keys expire: in miniredis time passes only when it is told to.
func (s *Stack) runClock(m *miniredis.Miniredis) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-s.closing:
			return
		case now := <-tick.C:
			m.FastForward(now.Sub(last))
			last = now
		}
	}
}
