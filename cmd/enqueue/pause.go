package main

import (
	"errors"
	"fmt"

	"oneflow/internal/cli"
	"oneflow/jobs"
)

// pauseCmd holds a batch or a job back.
type pauseCmd struct {
	ID string `arg:"" help:"A batch or a job."`
	cli.OutputFlag
}

// Run sets the flag and shows where that leaves it.
func (c *pauseCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	if err := db.Pause(s.Ctx, c.ID); err != nil {
		return err
	}
	return c.show(s)
}

func (c *pauseCmd) show(s *session) error {
	p, err := s.store.Progress(s.Ctx, c.ID)
	if err != nil {
		return err
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, cli.StatusOf(p))
	}
	if err := cli.PrintStatus(s.Env.Out, p); err != nil || !p.Paused || p.Finished() {
		return err
	}
	_, err = fmt.Fprintf(s.Env.Err, "calls under way may finish; go on with: enqueue resume %s\n", c.ID)
	return err
}

// resumeCmd lets it go on.
type resumeCmd struct{ pauseCmd }

// Run clears the flag.
func (c *resumeCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	err = db.Resume(s.Ctx, c.ID)
	if errors.Is(err, jobs.ErrBatchCancelled) {
		return cli.Fail(cli.Usage, fmt.Errorf("%s: its batch was cancelled, and nothing of it runs again: enqueue it anew under another --batch-id", c.ID))
	}
	if err != nil {
		return err
	}
	return c.show(s)
}
