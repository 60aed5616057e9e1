package store_test

import (
	"errors"
	"testing"

	"oneflow/jobs"
)

// held reports whether a job waits in Postgres, off Redis.
func (w *database) held(t *testing.T, d jobs.Delivery) bool {
	t.Helper()
	got := w.job(t, d.ID)
	return got.State == jobs.Queued && got.Gen == d.Gen+1 && got.Dispatched == nil
}

func TestAPausedBatchIsNotRunUntilItIsResumed(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	d := w.batch(t, "b", 4)
	calling := w.mustClaim(t, d[0])
	call := w.sent(t, calling, nil)
	claimed := w.mustClaim(t, d[1])
	for range 2 { // as often as one likes
		if err := w.Pause(ctx, "b"); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := w.Progress(ctx, "b"); err != nil || p.State != jobs.BatchPaused || !p.Paused {
		t.Errorf("%+v, %v", p, err)
	}
	// A call under way may finish; none is begun.
	if err := w.Succeed(ctx, success(calling, call, nil)); err != nil {
		t.Error(err)
	}
	if err := w.BeginCall(ctx, w.worker, callOf(claimed, nil)); !errors.Is(err, jobs.ErrPaused) {
		t.Errorf("a call was begun: %v", err)
	}
	if _, err := w.Complete(ctx, jobs.Completion{JobID: claimed.ID, LeaseToken: claimed.LeaseToken, State: jobs.Queued, RefundAttempt: true}); err != nil {
		t.Fatal(err)
	}
	for _, d := range d[1:] {
		if got := w.claim(t, d); got.Job != nil || got.Wait != 0 {
			t.Errorf("%+v, want the delivery to be stale", got)
		}
		if !w.held(t, d) {
			t.Errorf("%+v, want it to wait in Postgres", w.job(t, d.ID))
		}
	}
	// Rows that come in, and the leader, leave it alone.
	acc, err := w.AcceptJobs(ctx, "b", rows(t, 6, nil), true)
	if err != nil || acc.New != 2 || len(acc.Deliveries) != 0 {
		t.Errorf("%+v, %v", acc, err)
	}
	if got := w.topUp(t, 10); len(got) != 0 {
		t.Errorf("%d were dispatched", len(got))
	}
	if err := w.Resume(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	again := w.topUp(t, 10)
	if len(again) != 5 {
		t.Errorf("%d were dispatched, want 5", len(again))
	}
	for _, d := range again {
		w.mustClaim(t, d)
	}
	w.holds(t)
}

func TestAPausedJobLetsOthersPass(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	d := w.accept(t, 2, nil)
	if err := w.Pause(ctx, d[0].ID.String()); err != nil {
		t.Fatal(err)
	}
	if got := w.claim(t, d[0]); got.Job != nil || !w.held(t, d[0]) {
		t.Errorf("%+v", got)
	}
	w.mustClaim(t, d[1])
	if got := w.topUp(t, 10); len(got) != 0 {
		t.Errorf("%d were dispatched", len(got))
	}
	// It can still be cancelled, and then there is nothing to resume.
	if err := w.Resume(ctx, d[0].ID.String()); err != nil {
		t.Fatal(err)
	}
	if err := w.Pause(ctx, d[0].ID.String()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Cancel(ctx, d[0].ID.String()); err != nil {
		t.Fatal(err)
	}
	if err := w.Resume(ctx, d[0].ID.String()); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if err := w.Pause(ctx, "none"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("%v", err)
	}
	w.holds(t)
}

func TestACancelledBatchIsNotResumed(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	d := w.batch(t, "b", 1)[0]
	if err := w.Pause(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Cancel(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	w.unchanged(t, "resuming what was cancelled", func() {
		for _, id := range []string{"b", d.ID.String()} {
			if err := w.Resume(ctx, id); !errors.Is(err, jobs.ErrBatchCancelled) {
				t.Errorf("%s: %v, want ErrBatchCancelled", id, err)
			}
		}
	})
}
