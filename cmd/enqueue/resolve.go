package main

import (
	"errors"
	"fmt"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/store"
)

// resolveCmd settles calls with unknown outcome by hand.
type resolveCmd struct {
	ID       string `arg:"" help:"A batch or a job."`
	Unbilled bool   `help:"The provider did not charge for them." xor:"what" required:""`
	Billed   bool   `help:"The provider charged for them: what was reserved, or --cost." xor:"what" required:""`
	Cost     string `help:"With --billed: what each of them cost in US dollars, such as 0.0042." placeholder:"USD"`
	Retry    bool   `help:"Send the jobs again that are unknown because of them; otherwise they become failed."`
	cli.OutputFlag
}

// Run settles them.
func (c *resolveCmd) Run(s *session) error {
	r := store.Resolution{Billed: c.Billed, Retry: c.Retry}
	if c.Cost != "" {
		cost, err := billing.Parse(c.Cost)
		if err == nil && cost < 0 {
			err = errors.New("must not be negative")
		}
		if err == nil && !c.Billed {
			err = errors.New("goes with --billed only")
		}
		if err != nil {
			return cli.Fail(cli.Usage, fmt.Errorf("--cost %s: %w", c.Cost, err))
		}
		r.Cost = &cost
	}
	db, err := s.db()
	if err != nil {
		return err
	}
	done, err := db.Resolve(s.Ctx, c.ID, r)
	if errors.Is(err, jobs.ErrBatchCancelled) {
		return cli.Fail(cli.Usage, fmt.Errorf("--retry: the batch of %s was cancelled, and nothing of it runs again: resolve it without --retry", c.ID))
	}
	if err != nil {
		return err
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			ID    string `json:"id"`
			Calls int64  `json:"calls"`
			Jobs  int64  `json:"jobs"`
		}{c.ID, done.Calls, done.Jobs})
	}
	became := "failed"
	if c.Retry {
		became = "queued again"
	}
	_, err = fmt.Fprintf(s.Env.Out, "settled %s calls; %s unknown jobs are %s\n", cli.Count(done.Calls), cli.Count(done.Jobs), became)
	return err
}
