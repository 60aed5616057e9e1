package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/internal/devstack"
	"oneflow/internal/fakeprovider"
	"oneflow/monitor"
	"oneflow/store"
)

// upCmd stays until Ctrl-C.
type upCmd struct {
	Listen        string `help:"Where the monitor listens." default:"127.0.0.1:8080" env:"ONEFLOW_MONITOR_LISTEN"`
	FakeProviders bool   `help:"Call a server on this machine that speaks the vendors' protocols, to rehearse without a key and for nothing."`
	// Faults are the shares of calls that fail in some way.
	Faults map[fakeprovider.Fault]float64 `help:"How the fakes fail, and how often: server_error, overloaded, rate_limited, out_of_money, unauthorised, moderated, hang, truncated, reset_after and others. Default: overloaded=0.01." placeholder:"FAULT=SHARE,…" mapsep:","`
}

// Run brings everything up, prints how to use it, and waits.
func (c *upCmd) Run(s *session) error {
	if len(c.Faults) > 0 && !c.FakeProviders {
		return cli.Fail(cli.Usage, errors.New("--faults: is for --fake-providers"))
	}
	// A port that is taken is noticed before anything is started.
	listener, err := s.listen(c.Listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	if err := os.MkdirAll(s.dir, 0o755); err != nil { //nolint:gosec // the services' account passes through; the files in it are private
		return err
	}
	logFile := filepath.Join(s.dir, "dev.log")
	closeLog, err := s.logTo(logFile)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }()
	fakes, shared := "", map[string]string{}
	if c.FakeProviders {
		fake, variables, err := s.fakeProviders(0, rehearsalLatency, c.Faults)
		if err != nil {
			return err
		}
		defer func() { _ = fake.Close() }()
		fakes, shared = fake.URL, variables
	}
	stack, err := s.start(devstack.Options{Dir: s.dir, Persist: true})
	if err != nil {
		return err
	}
	file, err := stack.Share(s.dir, shared)
	if err != nil {
		return errors.Join(err, stack.Close())
	}
	services := cli.Services{DatabaseURL: stack.DatabaseURL, RedisURL: stack.RedisURL, ConnectTimeout: connectTimeout}
	err = s.withServices(services, listener, func(ctx context.Context, p *parts) error {
		s.announce(p.url, fakes, logFile, file)
		select {
		case <-ctx.Done():
			return nil
		case <-stack.Done():
			return stack.Err()
		}
	})
	if s.Ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C while the worker was starting is an ordinary end, too
	}
	return errors.Join(err, stack.Close())
}

// announce prints how to use what is up. fakes is the fake server's address, "" without one; file holds the environment for
// others.
func (s *session) announce(monitor, fakes, logFile, file string) {
	fmt.Fprintf(s.Env.Out, "\nOneFlow is up. Stop it with Ctrl-C; data is kept in %s.\n\n", relative(s.dir))
	fmt.Fprintf(s.Env.Out, "  monitor     %s\n  asynqmon    %sasynqmon/\n", monitor, monitor)
	if fakes != "" {
		var names []string
		for _, vendor := range fakeprovider.Vendors() {
			names = append(names, string(vendor))
		}
		fmt.Fprintf(s.Env.Out, "  providers   %s are fakes at %s\n", strings.Join(names, ", "), fakes)
	}
	if !s.logged {
		fmt.Fprintf(s.Env.Out, "  log         %s; errors are shown here too\n", relative(logFile))
	}
	if s.found {
		fmt.Fprintln(s.Env.Out, "\nCommands that are run in this project find all of it by themselves:")
	} else {
		fmt.Fprintf(s.Env.Out, "\nIn other terminals:\n\n  export ONEFLOW_DIR='%s'\n", s.dir)
	}
	fmt.Fprintf(s.Env.Out, "\n  bin/enqueue text \"Write a haiku about queues\" --wait\n\n")
	fmt.Fprintf(s.Env.Out, "Other programs read the addresses from the environment: set -a; . %s; set +a\n\n", relative(file))
}

// rehearsalLatency is the time that a call to a fake provider takes, on average.
const rehearsalLatency = 150 * time.Millisecond

// parts holds what withServices has running.
type parts struct {
	db       *store.Store
	services cli.Services
	url      string // of the monitor
}

// listen takes the monitor's address.
func (s *session) listen(address string) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(s.Ctx, "tcp", address)
	if err != nil {
		return nil, cli.Fail(cli.Usage, fmt.Errorf("monitor: %w; choose another address with --listen, such as 127.0.0.1:0 for any that is free", err))
	}
	if monitor.Exposed(listener.Addr()) {
		return nil, errors.Join(cli.Fail(cli.Unsafe, fmt.Errorf("--listen %s: %w: use 127.0.0.1", address, monitor.ErrExposed)), listener.Close())
	}
	return listener, nil
}

// withServices runs a worker and the monitor while do runs, and stops them after.
func (s *session) withServices(services cli.Services, listener net.Listener, do func(context.Context, *parts) error) error {
	store, err := app.OpenKeys(s.Env.Getenv, s.config, s.Log)
	if err != nil {
		return cli.Fail(cli.Unsafe, err)
	}
	defer store.Close()
	db, err := services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	redis, err := services.Redis(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(s.Ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return app.RunWorker(ctx, app.WorkerOptions{Config: s.config, Keys: store, Store: db, Redis: redis, Log: s.Log, Getenv: s.Env.Getenv})
	})
	g.Go(func() error {
		options, err := services.RedisOptions()
		if err != nil {
			return err
		}
		client := goredis.NewClient(options)
		defer func() { _ = client.Close() }()
		parts, done, err := app.NewMonitor(ctx, s.config, db, client, redis, s.Log)
		if err != nil {
			return err
		}
		return errors.Join(monitor.Run(ctx, parts, listener), done())
	})
	g.Go(func() error {
		defer stop()
		return do(ctx, &parts{db: db, services: services, url: "http://" + listener.Addr().String() + "/"})
	})
	return g.Wait()
}
