package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/monitor"
	"oneflow/store"
)

// tokenVariable names the environment's token of scope admin.
const tokenVariable = "ONEFLOW_MONITOR_TOKEN"

// serveCmd serves the web interface.
type serveCmd struct {
	Listen   string   `help:"Where to listen. An address that other machines can reach needs a token: see monitor token create, or ONEFLOW_MONITOR_TOKEN in the environment." default:"127.0.0.1:8080" env:"ONEFLOW_MONITOR_LISTEN" placeholder:"HOST:PORT"`
	BasePath string   `help:"The path under which a reverse proxy shows the monitor, such as /oneflow; the proxy may strip it or not." env:"ONEFLOW_MONITOR_BASE_PATH" placeholder:"PATH"`
	Host     []string `help:"A name by which it may be called, beside localhost and addresses: that of a reverse proxy, or of this machine." env:"ONEFLOW_MONITOR_HOST" placeholder:"NAME"`
	app.PprofFlag
}

// Run serves until the signal. Redis may be down: that is among what is shown.
func (c *serveCmd) Run(s *session) error {
	token := s.Env.Getenv(tokenVariable)
	c.BasePath = strings.TrimSuffix(c.BasePath, "/")
	host, err := c.check(token)
	if err != nil {
		return err
	}
	options, err := s.Services.RedisOptions()
	if err != nil {
		return err
	}
	cfg, err := s.LoadConfig()
	if err != nil {
		return err
	}
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return stopped(s, err)
	}
	defer db.Close()
	if err := c.checkExposed(s.Ctx, db, token); err != nil {
		return stopped(s, err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(s.Ctx, "tcp", c.Listen)
	if err != nil {
		return stopped(s, fmt.Errorf("%w; choose another address with --listen", err))
	}
	client := redis.NewClient(options)
	defer client.Close()
	stop, err := c.Serve(s.Ctx, s.Log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer stop()
	parts, done, err := app.NewMonitor(s.Ctx, cfg, db, client, cli.ForAsynq(options), s.Log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Fprintf(s.Env.Err, "monitor: http://%s%s/ (stop it with Ctrl-C)\n", l.Addr(), c.BasePath)
	parts.Token, parts.Hosts, parts.BasePath = token, slices.Concat(c.Host, []string{host}), c.BasePath
	err = errors.Join(monitor.Run(s.Ctx, parts, l), done())
	if errors.Is(err, monitor.ErrExposed) {
		return c.unsafe(err)
	}
	return err
}

// check refuses wrong flags before anything is started, and returns the host of the
// address.
func (c *serveCmd) check(token string) (host string, err error) {
	host, _, err = net.SplitHostPort(c.Listen)
	if err != nil {
		return "", cli.Fail(cli.Usage, fmt.Errorf("--listen %q: must be HOST:PORT, such as 127.0.0.1:8080", c.Listen))
	}
	if token != "" && len(token) < monitor.MinToken {
		return "", cli.Fail(cli.Usage, fmt.Errorf("%s: must have at least %d characters, got %d", tokenVariable, monitor.MinToken, len(token)))
	}
	if err := monitor.CheckBasePath(c.BasePath); err != nil {
		return "", cli.Fail(cli.Usage, fmt.Errorf("--base-path: %w", err))
	}
	return host, nil
}

// checkExposed refuses an address that other machines can reach while nobody would be
// asked for a token.
func (c *serveCmd) checkExposed(ctx context.Context, db *store.Store, token string) error {
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("--listen: %w", err))
	}
	if token != "" || !monitor.Exposed(addr) {
		return nil
	}
	has, err := db.HasTokens(ctx)
	if err == nil && !has {
		err = c.unsafe(monitor.ErrExposed)
	}
	return err
}

func (c *serveCmd) unsafe(err error) error {
	return cli.Fail(cli.Unsafe, fmt.Errorf("--listen %s: %w: make one with `monitor token create` or set %s, or listen on 127.0.0.1 and reach it through an SSH tunnel",
		c.Listen, err, tokenVariable))
}

// stopped makes a signal during the start an ordinary end.
func stopped(s *session, err error) error {
	if s.Ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
