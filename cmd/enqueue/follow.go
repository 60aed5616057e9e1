package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/store"
)

// statusCmd shows where something stands.
type statusCmd struct {
	ID string `arg:"" help:"A batch or a job."`
	cli.OutputFlag
}

// Run prints it.
func (c *statusCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	p, err := db.Progress(s.Ctx, c.ID)
	if err != nil {
		return err
	}
	return show(s, db, c.OutputFlag, p)
}

// watchCmd follows something to its end.
type watchCmd struct {
	ID string `arg:"" help:"A batch or a job."`
	cli.OutputFlag
}

// Run follows it; jobs that failed give exit code 5.
func (c *watchCmd) Run(s *session) error {
	p, err := watch(s, c.ID)
	if err != nil {
		return err
	}
	if err := show(s, s.store, c.OutputFlag, p); err != nil {
		return err
	}
	return outcome(p)
}

// watch follows id on stderr. Ctrl-C only stops the watching.
func watch(s *session, id string) (jobs.Progress, error) {
	return watchAll(s, []string{id}, "enqueue watch "+id)
}

// watchAll follows several batches as if they were one, or a single job. back is the command
// to come back with.
func watchAll(s *session, ids []string, back string) (jobs.Progress, error) {
	db, err := s.db()
	if err != nil {
		return jobs.Progress{}, err
	}
	read := func(ctx context.Context) (jobs.Progress, error) { return progressOf(ctx, db, ids) }
	// What is not there will not come.
	start, err := read(s.Ctx)
	if errors.Is(err, jobs.ErrNotFound) {
		return jobs.Progress{}, err
	}
	parts := ids
	if len(ids) == 1 && err == nil {
		parts = partsOf(start)
	}
	watching, stop := context.WithCancel(s.Ctx)
	defer stop()
	money := ""
	p, err := cli.WatchLooking(watching, s.Env.Err, db.Hints(s.Ctx), read,
		func(ctx context.Context) (l cli.Look) {
			// Not to know is no reason to stop watching.
			if start.BatchID == "" && start.JobID == "" {
				return l // Postgres was away: there is nothing to look for
			}
			for _, id := range parts {
				if start.JobID == "" {
					tokens, _ := db.TokensPerMinute(ctx, id)
					l.TokensPerMinute += tokens
				}
			}
			waits, _ := waitsOf(ctx, db, start, parts)
			if len(waits) > 0 && !slices.ContainsFunc(waits, func(w fleet.Wait) bool { return !w.Stopped }) {
				if now, err := read(ctx); err == nil && now.Counts[jobs.Running]+now.Counts[jobs.Retrying] == 0 {
					money = waits[0].Text
					stop() // nothing goes on by itself
				}
			}
			for i, w := range waits {
				if i == 0 {
					l.Waits = w.Text
				}
				if w.Reason == fleet.WaitForWorker || w.Reason == fleet.WaitForKey || w.Reason == fleet.WaitForOperator {
					l.Notes = append(l.Notes, "waits: "+waitText(w)) // until somebody does something
				}
			}
			return l
		})
	if errors.Is(err, context.Canceled) && s.Ctx.Err() == nil {
		return p, cli.Fail(cli.OverBudget, fmt.Errorf("%s of %s jobs are done, the others wait: %s. Come back with: %s",
			cli.Count(p.Done()), cli.Count(p.Total()), money, back))
	}
	if errors.Is(err, context.Canceled) {
		return p, cli.Fail(cli.Interrupted, fmt.Errorf("stopped watching; the jobs go on. Come back with: %s", back))
	}
	if err != nil {
		err = cli.Fail(cli.Unavailable, fmt.Errorf("stopped watching: %w; the jobs go on. Come back with: %s", err, back))
	}
	return p, err
}

// progressOf adds up where several batches stand, or a single job. It has finished once all
// of them have.
func progressOf(ctx context.Context, db *store.Store, ids []string) (jobs.Progress, error) {
	sum, err := db.Progress(ctx, ids[0])
	if err != nil {
		return jobs.Progress{}, err
	}
	for _, id := range ids[1:] {
		p, err := db.Progress(ctx, id)
		if err != nil {
			return jobs.Progress{}, err
		}
		for state, n := range p.Counts {
			sum.Counts[state] += n
		}
		money := jobs.Money{Cost: sum.Cost, Simulated: sum.Simulated, Unpriced: sum.Unpriced}.Plus(jobs.Money{Cost: p.Cost, Simulated: p.Simulated, Unpriced: p.Unpriced})
		sum.Cost, sum.Simulated, sum.Unpriced = money.Cost, money.Simulated, money.Unpriced
		if sum.Finished() {
			sum.State = p.State
		}
	}
	return sum, nil
}

// cancelCmd cancels something.
type cancelCmd struct {
	ID string `arg:"" help:"A batch or a job."`
	cli.OutputFlag
}

// Run cancels it, also while its rows are still coming in.
func (c *cancelCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	done, err := db.Cancel(s.Ctx, c.ID)
	if err != nil {
		return err
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			ID        string `json:"id"`
			Cancelled int64  `json:"cancelled"`
			Running   int64  `json:"running"`
			// Left are not sent any more, and the workers mark them.
			Left int64 `json:"left"`
		}{c.ID, done.Jobs, done.Running, done.Left})
	}
	if done.Left > 0 {
		fmt.Fprintf(s.Env.Err, "%s are stopped too; the workers mark them as cancelled in the next minutes\n", cli.Things(done.Left, "more job"))
	}
	_, err = fmt.Fprintf(s.Env.Out, "cancelled %s jobs; %s calls are under way and may finish\n", cli.Count(done.Jobs), cli.Count(done.Running))
	return err
}
