package main

import (
	"time"

	"oneflow/batches"
	"oneflow/internal/cli"
)

// lsCmd lists batches.
type lsCmd struct {
	Limit  int    `help:"How many, the newest first." default:"20" placeholder:"N"`
	Output string `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

// Run prints them.
func (c *lsCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	list, err := db.NewestBatches(s.ctx, max(c.Limit, 1))
	if err != nil {
		return err
	}
	ids := make([]string, len(list))
	for i, b := range list {
		ids[i] = b.ID
	}
	tallies, err := db.Tallies(s.ctx, ids)
	if err != nil {
		return err
	}
	rows := [][]string{{"BATCH", "STATE", "JOBS", "DONE", "FAILED", "COST", "AGE", "SOURCE"}}
	for i := range list {
		b := &list[i]
		b.Tally = tallies[b.ID]
		b.State = b.StateNow()
		rows = append(rows, []string{
			b.ID, b.State, cli.Count(b.Total()), cli.Count(b.Done()), cli.Count(b.Failures()), cli.Money(b.Cost, b.Unpriced),
			cli.Span(time.Since(b.CreatedAt)), cli.Printable(b.Source),
		})
	}
	if c.Output == "json" {
		return cli.JSON(s.env.Out, append([]batches.Summary{}, list...))
	}
	return cli.Table(s.env.Out, rows)
}

// jobsCmd lists the jobs of a batch.
type jobsCmd struct {
	ID     string `arg:"" help:"A batch."`
	Failed bool   `help:"Only jobs that failed."`
	Limit  int    `help:"How many, in the order of the input." default:"100" placeholder:"N"`
	Output string `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

// Run prints them.
func (c *jobsCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	list, err := db.BatchJobs(s.ctx, c.ID, c.Failed, max(c.Limit, 1))
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return cli.JSON(s.env.Out, append([]batches.Job{}, list...))
	}
	rows := [][]string{{"ROW", "JOB", "CUSTOM ID", "STATE", "PROVIDER", "MODEL", "CALLS", "COST", "ERROR"}}
	for _, j := range list {
		failure := "-"
		if j.Error != "" {
			failure = j.Error + ": " + cli.Printable(j.Message)
		}
		rows = append(rows, []string{
			cli.Count(j.Row), j.ID, cli.Printable(j.CustomID), string(j.State), j.Provider, cli.Printable(j.Model), cli.Count(j.Calls),
			cli.Money(j.Cost, j.Unpriced), failure,
		})
	}
	return cli.Table(s.env.Out, rows)
}
