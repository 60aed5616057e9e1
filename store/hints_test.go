package store_test

import (
	"context"
	"testing"
	"time"

	"oneflow/jobs"
)

func TestWhoWaitsIsToldThatJobsHaveEnded(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	other := openStore(t, w.url)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hints := other.Hints(ctx)
	told := func(what string) {
		t.Helper()
		select {
		case <-hints:
		case <-time.After(time.Minute):
			t.Fatalf("nobody was told that %s", what)
		}
	}
	told("it listens")
	j := w.running(t, nil)
	must(t, w.Succeed(t.Context(), success(j, w.sent(t, j, nil), nil)))
	told("a job has succeeded")
	j = w.running(t, nil)
	end := jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Failed, Class: "x"}
	if _, err := w.Complete(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	told("a job has failed")

	// The connection that listens breaks: another takes its place.
	w.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`)
	told("it listens again")
	j = w.running(t, nil)
	must(t, w.Succeed(t.Context(), success(j, w.sent(t, j, nil), nil)))
	told("a job has succeeded after that")
}
