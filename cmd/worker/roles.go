package main

import (
	"errors"
	"fmt"
	"time"

	"oneflow/internal/cli"
	"oneflow/store"
)

// rolesCmd is about who may submit jobs by SQL.
type rolesCmd struct {
	Grant  rolesGrantCmd  `cmd:"" help:"Let a database role submit jobs with oneflow.enqueue, for one account, and read what came of its jobs with oneflow.result. It gets no other right."`
	Revoke rolesRevokeCmd `cmd:"" help:"Take that right back. What was submitted stays."`
	Ls     rolesLsCmd     `cmd:"" help:"List the roles that may submit jobs."`
}

type rolesGrantCmd struct {
	Role    string `arg:"" help:"A role of the database, such as the one with which an application logs in."`
	Account string `help:"Whom its jobs are for, and who pays for them." required:"" placeholder:"NAME"`
}

// Run grants it.
func (c *rolesGrantCmd) Run(s *session) error {
	return s.withStore(func(db *store.Store) error {
		err := db.GrantRole(s.Ctx, c.Role, c.Account)
		if errors.Is(err, store.ErrNoRole) {
			return cli.Fail(cli.Usage, err)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.Env.Out, "%s submits jobs for the account %s, with SELECT oneflow.enqueue(…), and reads what came of its jobs, with SELECT * FROM oneflow.result(…)\n", c.Role, c.Account)
		return err
	})
}

type rolesRevokeCmd struct {
	Role string `arg:"" help:"The role."`
}

// Run revokes it.
func (c *rolesRevokeCmd) Run(s *session) error {
	return s.withStore(func(db *store.Store) error {
		if err := db.RevokeRole(s.Ctx, c.Role); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.Env.Out, "%s submits no jobs any more\n", c.Role)
		return err
	})
}

type rolesLsCmd struct{ cli.OutputFlag }

// Run lists them.
func (c *rolesLsCmd) Run(s *session) error {
	return s.withStore(func(db *store.Store) error {
		list, err := db.Roles(s.Ctx)
		if err != nil {
			return err
		}
		if c.ForPrograms() {
			return c.Write(s.Env.Out, list)
		}
		rows := [][]string{{"ROLE", "ACCOUNT", "SINCE"}}
		for _, r := range list {
			rows = append(rows, []string{cli.Printable(r.Role), cli.Printable(r.Account), cli.Span(time.Since(r.GrantedAt))})
		}
		return cli.Table(s.Env.Out, rows)
	})
}

// withStore connects to Postgres, and does what is to be done.
func (s *session) withStore(do func(*store.Store) error) error {
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}
