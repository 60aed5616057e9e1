package main

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/cli"
	"oneflow/jobs"
)

func TestACancelledBatchTakesNoMoreRows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 10)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	r := s.enqueue("cancel", "b1", "-o", "json")
	if diff := cmp.Diff(map[string]any{"id": "b1", "cancelled": 10.0, "running": 0.0, "left": 0.0}, decoded[map[string]any](t, r.out)); diff != "" || r.code != cli.OK {
		t.Errorf("%+v: %s", r, diff)
	}
	if r := s.enqueue("resume", "b1"); r.code != cli.Usage || r.out != "" ||
		r.err != "enqueue: b1: its batch was cancelled, and nothing of it runs again: enqueue it anew under another --batch-id\n" {
		t.Errorf("%+v", r)
	}
	r = s.run(t.Context(), strings.NewReader(lines(11, 10)), "batch", "-", "--batch-id", "b1", "-o", "json")
	if r.code != cli.Usage || s.report(r) != (report{"b1", 0, 0, 0}) || r.err != "enqueue: batch b1 was cancelled and takes no rows: use another --batch-id\n" || s.jobs() != 10 {
		t.Errorf("%+v", r)
	}
	if st := decoded[batchStatus](t, s.enqueue("status", "b1", "-o", "json").out); st.State != jobs.BatchCancelled || st.Counts[jobs.Cancelled] != 10 {
		t.Errorf("%+v", st)
	}
}

func TestABatchThatIsCancelledWhileItsRowsComeInEndsWithAnErrorAndLeavesNoJobAlive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	in, pen := io.Pipe()
	done := make(chan result, 1)
	go func() { done <- s.run(t.Context(), in, "batch", "-", "--batch-id", "b1", "-o", "json"); _ = in.Close() }()
	write := func(text string) {
		// Nobody reads on after the end: that is no failure.
		if _, err := io.WriteString(pen, text); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	}
	write(lines(1, 2500))
	s.until("all rows are accepted, although more may come", func() bool { return s.jobs() == 2500 })
	if r := s.enqueue("status", "b1", "-o", "json"); decoded[batchStatus](t, r.out).State != jobs.BatchOpen {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("cancel", "b1"); r.code != cli.OK || r.out != "cancelled 2,500 jobs; 0 calls are under way and may finish\n" {
		t.Errorf("%+v", r)
	}
	write(lines(2501, 2500))
	_ = pen.Close()
	r := <-done
	if r.code != cli.Failure || s.report(r) != (report{"b1", 2500, 0, 0}) || r.err != "enqueue: batch b1 was cancelled while its rows were coming in: 2,500 had been accepted and are cancelled, the rest was not read\n" {
		t.Errorf("%+v", r)
	}
	if got := one[string](s, `SELECT string_agg(DISTINCT state, ' ') || count(*) FROM job_states`); got != "cancelled2500" {
		t.Errorf("the jobs are %s", got)
	}
}

func TestCtrlCEndsAnIntakeThatWaitsForItsInput(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"--strict=false", "--strict"} {
		s := newSite(t)
		ctx, cancel := context.WithCancel(t.Context())
		in, pen := io.Pipe() // which nobody closes
		done := make(chan result, 1)
		go func() { done <- s.run(ctx, in, "batch", "-", "--batch-id", "b1", strict) }()
		if _, err := io.WriteString(pen, lines(1, 2100)); err != nil {
			t.Fatal(err)
		}
		want, accepted := "^enqueue: interrupted: nothing was accepted\n$", int64(0)
		if strict != "--strict" {
			s.until("the rows are accepted", func() bool { return s.jobs() == 2100 })
			// Whether it has heard of its last commit nobody knows.
			want, accepted = "^enqueue: interrupted: at least [0-9,]+ rows of batch b1 are accepted; run the same command with --batch-id b1 to add the rest\n$", 2100
		}
		cancel()
		if r := <-done; r.code != cli.Interrupted || r.out != "" || !regexp.MustCompile(want).MatchString(r.err) || s.jobs() != accepted {
			t.Errorf("%s: %+v", strict, r)
		}
		r := s.run(t.Context(), strings.NewReader(lines(1, 2200)), "batch", "-", "--batch-id", "b1", "-o", "json")
		if rep := s.report(r); rep.Duplicates != int(accepted) || rep.Accepted != 2200-int(accepted) {
			t.Errorf("the same command again: %+v", r)
		}
	}
}
