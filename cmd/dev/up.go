package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/internal/devstack"
	"oneflow/monitor"
	"oneflow/store"
)

// upCmd stays until Ctrl-C.
type upCmd struct {
	Listen        string `help:"Where the monitor listens." default:"127.0.0.1:8080" env:"ONEFLOW_MONITOR_LISTEN"`
	FakeProviders bool   `help:"Call a server on this machine that speaks the vendors' protocols, to rehearse without a key and for nothing."`
}

// Run brings everything up, prints how to use it, and waits.
func (c *upCmd) Run(s *session) error {
	rehearse := ""
	if c.FakeProviders {
		fake, err := s.fakeProviders(0, rehearsalLatency)
		if err != nil {
			return err
		}
		defer func() { _ = fake.Close() }()
		rehearse = "\n  providers   openai, anthropic, stability and elevenlabs are fakes at " + fake.URL
	}
	stack, err := s.start(devstack.Options{Dir: s.dir, Persist: true})
	if err != nil {
		return err
	}
	services := cli.Services{DatabaseURL: stack.DatabaseURL, RedisURL: stack.RedisURL, ConnectTimeout: connectTimeout}
	err = s.withServices(services, c.Listen, func(ctx context.Context, p *parts) error {
		fmt.Fprintf(s.env.Out, `
OneFlow is up. Stop it with Ctrl-C; data is kept in %s.

  monitor     %s
  asynqmon    %sasynqmon/%s

In other terminals:

  export DATABASE_URL='%s'
  export REDIS_URL='%s'
  bin/enqueue text "Write a haiku about queues" --wait

`, stack.Dir, p.url, p.url, rehearse, stack.DatabaseURL, stack.RedisURL)
		select {
		case <-ctx.Done():
			return nil
		case <-stack.Done():
			return stack.Err()
		}
	})
	return errors.Join(err, stack.Close())
}

// rehearsalLatency is how long a call to a fake provider takes, on average.
const rehearsalLatency = 150 * time.Millisecond

// parts is what withServices has running.
type parts struct {
	db       *store.Store
	services cli.Services
	url      string // of the monitor
}

// withServices runs a worker and the monitor while do runs, and stops them after.
func (s *session) withServices(services cli.Services, listen string, do func(context.Context, *parts) error) error {
	store, err := app.OpenKeys(s.env.Getenv, s.config, s.log)
	if err != nil {
		return cli.Fail(cli.Unsafe, err)
	}
	defer store.Close()
	db, err := services.Postgres(s.ctx, s.log)
	if err != nil {
		return err
	}
	defer db.Close()
	redis, err := services.Redis(s.ctx, s.log)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(s.ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("monitor: %w; choose another address with --listen", err)
	}
	if monitor.Exposed(listener.Addr()) {
		return errors.Join(cli.Fail(cli.Unsafe, fmt.Errorf("--listen %s: %w: use 127.0.0.1", listen, monitor.ErrExposed)), listener.Close())
	}
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return app.RunWorker(ctx, app.WorkerOptions{Config: s.config, Keys: store, Store: db, Redis: redis, Log: s.log})
	})
	g.Go(func() error {
		return monitor.Run(ctx, monitor.Config{Store: db, Redis: redis, Log: s.log}, listener)
	})
	g.Go(func() error {
		defer stop()
		return do(ctx, &parts{db: db, services: services, url: "http://" + listener.Addr().String() + "/"})
	})
	return g.Wait()
}
