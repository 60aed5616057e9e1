package main

import (
	"fmt"
	"time"

	"oneflow/internal/cli"
)

// alertsCmd lists what people have to know of.
type alertsCmd struct {
	cli.OutputFlag
	All   bool `help:"Also those that are over."`
	Limit int  `help:"How many at most." default:"50" placeholder:"N"`
}

// Run lists them, the newest first.
func (c *alertsCmd) Run(s *session) error {
	if c.Limit < 1 || c.Limit > 100_000 {
		return cli.Fail(cli.Usage, fmt.Errorf("--limit %d: must be from 1 to 100,000", c.Limit))
	}
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	list, err := db.Alerts(s.Ctx, c.All, c.Limit)
	if err != nil {
		return err
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(s.Env.Out, "there are no alerts")
		return err
	}
	rows := [][]string{{"SINCE", "UNTIL", "KIND", "WHAT"}}
	for _, a := range list {
		until := "open"
		if !a.ClosedAt.IsZero() {
			until = a.ClosedAt.UTC().Format(time.DateTime)
		}
		rows = append(rows, []string{a.OpenedAt.UTC().Format(time.DateTime), until, a.Kind, cli.Printable(a.Text)})
	}
	return cli.Table(s.Env.Out, rows)
}
