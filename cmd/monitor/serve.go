package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/monitor"
)

const (
	userVariable     = "ONEFLOW_MONITOR_USER"
	passwordVariable = "ONEFLOW_MONITOR_PASSWORD"
)

// serveCmd serves the web interface.
type serveCmd struct {
	Listen   string `help:"Where to listen. An address that other machines can reach needs ONEFLOW_MONITOR_USER and ONEFLOW_MONITOR_PASSWORD in the environment." default:"127.0.0.1:8080" env:"ONEFLOW_MONITOR_LISTEN" placeholder:"HOST:PORT"`
	BasePath string `help:"The path under which a reverse proxy shows the monitor, such as /oneflow; the proxy may strip it or not." env:"ONEFLOW_MONITOR_BASE_PATH" placeholder:"PATH"`
}

// Run serves until the signal. Redis may be down: that is among what is shown.
func (c *serveCmd) Run(s *session) error {
	user, password := s.Env.Getenv(userVariable), s.Env.Getenv(passwordVariable)
	if (user == "") != (password == "") {
		return cli.Fail(cli.Usage, fmt.Errorf("%s and %s must be set together", userVariable, passwordVariable))
	}
	c.BasePath = strings.TrimSuffix(c.BasePath, "/")
	host, err := c.check(password)
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
	var lc net.ListenConfig
	l, err := lc.Listen(s.Ctx, "tcp", c.Listen)
	if err != nil {
		return stopped(s, fmt.Errorf("%w; choose another address with --listen", err))
	}
	client := redis.NewClient(options)
	defer client.Close()
	fmt.Fprintf(s.Env.Err, "monitor: http://%s%s/ (stop it with Ctrl-C)\n", l.Addr(), c.BasePath)
	err = monitor.Run(s.Ctx, monitor.Config{
		Store: db, Redis: cli.ForAsynq(options), Holds: app.HoldsInForce(db, cli.Fleet(cfg), client), Log: s.Log,
		User: user, Password: password, Hosts: []string{host}, BasePath: c.BasePath,
	}, l)
	if errors.Is(err, monitor.ErrExposed) {
		return c.unsafe(err)
	}
	return err
}

// check refuses an unsafe address before anything is started, and returns the
// host in it.
func (c *serveCmd) check(password string) (host string, err error) {
	host, _, err = net.SplitHostPort(c.Listen)
	if err != nil {
		return "", cli.Fail(cli.Usage, fmt.Errorf("--listen %q: must be HOST:PORT, such as 127.0.0.1:8080", c.Listen))
	}
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return "", cli.Fail(cli.Usage, fmt.Errorf("--listen: %w", err))
	}
	if err := monitor.CheckBasePath(c.BasePath); err != nil {
		return "", cli.Fail(cli.Usage, fmt.Errorf("--base-path: %w", err))
	}
	if password == "" && monitor.Exposed(addr) {
		return "", c.unsafe(monitor.ErrExposed)
	}
	return host, nil
}

func (c *serveCmd) unsafe(err error) error {
	return cli.Fail(cli.Unsafe, fmt.Errorf("--listen %s: %w: set %s and %s, or listen on 127.0.0.1 and reach it through an SSH tunnel",
		c.Listen, err, userVariable, passwordVariable))
}

// stopped makes a signal during the start an ordinary end.
func stopped(s *session, err error) error {
	if s.Ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
