package main

import (
	"errors"

	"oneflow/internal/cli"
	"oneflow/internal/devstack"
	"oneflow/migrations"
)

// setupCmd installs what is missing.
type setupCmd struct{}

// Run installs.
func (setupCmd) Run(s *session) error {
	if err := devstack.Setup(s.ctx, s.env.Err, s.dir); err != nil {
		return cli.Fail(cli.Unavailable, err)
	}
	return nil
}

// start brings the services and the schema up.
func (s *session) start(o devstack.Options) (*devstack.Stack, error) {
	o.Log, o.Getenv = s.env.Err, s.env.Getenv
	stack, err := devstack.Start(s.ctx, o)
	if err != nil {
		return nil, cli.Fail(cli.Unavailable, err)
	}
	if _, err := migrations.Up(s.ctx, stack.DatabaseURL); err != nil {
		return nil, errors.Join(err, stack.Close())
	}
	return stack, nil
}
