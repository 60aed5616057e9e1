package main

import (
	"errors"
	"fmt"
	"strings"

	"oneflow/internal/cli"
	"oneflow/jobs"
)

// retryCmd brings dead letters back.
type retryCmd struct {
	ID      string `arg:"" help:"A batch or a job."`
	Failed  bool   `help:"Those that failed: it is what is done without it."`
	Class   string `help:"Only those that failed for this reason, such as rate_limited; enqueue status lists the reasons." placeholder:"CLASS"`
	Unknown bool   `help:"Also those whose call has an unknown outcome: it may be paid for twice."`
	Expired bool   `help:"Also those whose deadline passed; they get a new one."`
	cli.OutputFlag
}

// Run queues them. A worker dispatches them within seconds.
func (c *retryCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	states := []jobs.State{jobs.Failed}
	if c.Unknown {
		states = append(states, jobs.Unknown)
	}
	if c.Expired {
		states = append(states, jobs.Expired)
	}
	done, err := db.Retry(s.Ctx, c.ID, states, c.Class)
	if errors.Is(err, jobs.ErrBatchCancelled) {
		return cli.Fail(cli.Usage, fmt.Errorf("%s: its batch was cancelled, and nothing of it runs again: enqueue it anew under another --batch-id", c.ID))
	}
	if err != nil {
		return err
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			ID      string               `json:"id"`
			Retried int64                `json:"retried"`
			Left    map[jobs.State]int64 `json:"left"`
		}{c.ID, done.Jobs, done.Left})
	}
	var left []string
	for _, l := range []struct {
		state jobs.State
		flag  string
	}{{jobs.Unknown, "--unknown"}, {jobs.Expired, "--expired"}} {
		if n := done.Left[l.state]; n > 0 {
			left = append(left, fmt.Sprintf("%s %s (%s brings them back)", cli.Count(n), l.state, l.flag))
		}
	}
	line := fmt.Sprintf("queued %s jobs again", cli.Count(done.Jobs))
	if len(left) > 0 {
		line += "; left alone: " + strings.Join(left, ", ")
	}
	if _, err := fmt.Fprintln(s.Env.Out, line); err != nil || done.Jobs > 0 || c.Class == "" {
		return err
	}
	return c.tellClasses(s)
}

// tellClasses says for which reasons jobs of the batch have failed, where none has for the one
// that was given.
func (c *retryCmd) tellClasses(s *session) error {
	problems, err := s.store.Problems(s.Ctx, c.ID)
	if err != nil {
		return err
	}
	var classes []string
	for _, p := range problems {
		if p.State == jobs.Failed {
			classes = append(classes, fmt.Sprintf("%s (%s)", p.Class, cli.Things(p.Jobs, "job")))
		}
	}
	if len(classes) > 0 {
		fmt.Fprintf(s.Env.Err, "enqueue: no job of %s has failed with class %.40q; they have with %s\n", c.ID, c.Class, strings.Join(classes, ", "))
	}
	return nil
}
