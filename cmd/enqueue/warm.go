package main

import (
	"errors"
	"fmt"
	"time"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

const (
	// warmFor is the longest that the first rows are waited for: vendors keep what they have
	// read for five minutes.
	warmFor = 2 * time.Minute
	// warmLook is the time between two looks.
	warmLook = 200 * time.Millisecond
)

// warm accepts, of rows that begin alike, the first, and waits until these have ended.
func (c *batchCmd) warm(s *session, t batches.Intake, src *source) error {
	leaders := batches.Leaders{Kind: t.Input.Kind}
	from, err := src.rows()
	if err != nil {
		return unread(err)
	}
	err = t.Input.Read(from, func(job jobs.New) error { leaders.Add(job); return s.Ctx.Err() }, func(*rows.LineError) {})
	if err := errors.Join(err, from.Close()); err != nil {
		return unread(err)
	}
	if t.Only = leaders.Keys(); len(t.Only) == 0 {
		fmt.Fprintln(s.Env.Err, "enqueue: --warm: no rows begin alike for long enough")
		return nil
	}
	if from, err = src.rows(); err != nil {
		return unread(err)
	}
	t.Reject, t.Accepting, t.Progress = nil, nil, nil // the whole intake tells
	rep, err := t.Take(s.Ctx, from)
	if err := errors.Join(err, from.Close()); err != nil {
		return broken(rep, err)
	}
	s.notDispatched(rep.Undelivered)
	what := cli.Things(int64(len(t.Only)), "row")
	fmt.Fprintf(s.Env.Err, "enqueue: --warm: %s first, since others begin alike\n", what)
	wait := time.NewTicker(warmLook)
	defer wait.Stop()
	for end := time.Now().Add(warmFor); time.Now().Before(end); {
		left, err := s.store.Unfinished(s.Ctx, t.Batch.ID, t.Only)
		if err != nil && s.Ctx.Err() == nil {
			return err
		}
		if err == nil && left == 0 {
			return nil
		}
		select {
		case <-s.Ctx.Done():
			return cli.Fail(cli.Interrupted, fmt.Errorf("interrupted: the first rows of batch %s are accepted; run the same command with --batch-id %s to add the rest", t.Batch.ID, t.Batch.ID))
		case <-wait.C:
		}
	}
	fmt.Fprintf(s.Env.Err, "enqueue: --warm: %s not answered within %s: the others are sent all the same\n", what, cli.Span(warmFor))
	return nil
}
