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
	if err := devstack.Setup(s.Ctx, s.Env.Err, s.dir); err != nil {
		return cli.Fail(cli.Unavailable, err)
	}
	return nil
}

// start brings the services and the schema up.
func (s *session) start(o devstack.Options) (*devstack.Stack, error) {
	o.Log, o.Getenv = s.Env.Err, s.Env.Getenv
	stack, err := devstack.Start(s.Ctx, o)
	if err != nil {
		return nil, cli.Fail(cli.Unavailable, err)
	}
	if _, err := migrations.Up(s.Ctx, stack.DatabaseURL); err != nil {
		return nil, errors.Join(err, stack.Close())
	}
	return stack, nil
}
