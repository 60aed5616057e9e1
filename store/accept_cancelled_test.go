package store_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"oneflow/jobs"
)

func TestACancelledOrMissingBatchTakesNoRows(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.batch(t, "b", 1)
	if _, err := w.Cancel(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	w.unchanged(t, "a refused batch", func() {
		if err := w.OpenBatch(t.Context(), jobs.Batch{ID: "b"}); !errors.Is(err, jobs.ErrBatchCancelled) {
			t.Errorf("open: %v", err)
		}
		if _, err := w.AcceptJobs(t.Context(), "b", rows(t, 2, nil), true); !errors.Is(err, jobs.ErrBatchCancelled) {
			t.Errorf("accept: %v", err)
		}
		if _, err := w.AcceptJobs(t.Context(), "missing", rows(t, 2, nil), true); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("accept into nothing: %v", err)
		}
		if _, err := w.Cancel(t.Context(), "missing"); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("cancel nothing: %v", err)
		}
	})
}

func TestNothingOfACancelledBatchStaysOrComesIn(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	const producers = 6
	for round := range 4 {
		id := "b" + string(rune('0'+round))
		if err := w.OpenBatch(ctx, jobs.Batch{ID: id}); err != nil {
			t.Fatal(err)
		}
		all := rows(t, producers*200, nil)
		var accepted, refused atomic.Int64
		var atCancel atomic.Int64
		some := make(chan struct{}, producers*20)
		together(producers+1, func(p int) {
			if p == producers { // somewhere in the middle
				<-some
				if _, err := w.Cancel(ctx, id); err != nil {
					t.Error(err)
				}
				atCancel.Store(int64(w.count(t, `SELECT count(*) FROM jobs WHERE batch_id = $1`, id)))
				return
			}
			mine := all[p*200 : (p+1)*200]
			for i := 0; i < len(mine); i += 10 {
				acc, err := w.AcceptJobs(ctx, id, mine[i:i+10], true)
				switch {
				case err == nil:
					accepted.Add(int64(acc.New))
					some <- struct{}{}
				case errors.Is(err, jobs.ErrBatchCancelled):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
		if refused.Load() == 0 {
			t.Logf("round %d: the cancellation came after everything", round)
		}
		n := w.count(t, `SELECT count(*) FROM jobs WHERE batch_id = $1`, id)
		if int64(n) != accepted.Load() || int64(n) != atCancel.Load() {
			t.Errorf("%d rows, %d reported as accepted, %d when the cancellation returned", n, accepted.Load(), atCancel.Load())
		}
		if n := w.count(t, `SELECT count(*) FROM job_states WHERE batch_id = $1 AND state <> 'cancelled'`, id); n != 0 {
			t.Errorf("%d jobs of a cancelled batch are not cancelled", n)
		}
	}
}

func TestTheSweepFindsWhatACancellationCouldNotSee(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	d := w.batch(t, "b", 3)
	other := w.batch(t, "other", 1)
	// Somebody writes one of the rows just now: the cancellation passes it by.
	tx, err := w.sql.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM job_states WHERE job_id = $1 FOR NO KEY UPDATE`, d[0].ID); err != nil {
		t.Fatal(err)
	}
	c, err := w.Cancel(ctx, "b")
	if err != nil || c.Jobs != 2 || c.Left != 1 {
		t.Errorf("%+v, %v, want 2 jobs cancelled and 1 left", c, err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := w.SweepCancelled(ctx); n != 1 || err != nil {
		t.Errorf("swept %d, %v, want 1", n, err)
	}
	if n, err := w.SweepCancelled(ctx); n != 0 || err != nil {
		t.Errorf("swept %d more, %v", n, err)
	}
	if got := w.job(t, other[0].ID).State; got != jobs.Queued {
		t.Errorf("a job of another batch is %s", got)
	}
	w.holds(t)
}

func TestCancellingCountsAndLeavesFinishedJobsAlone(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	d := w.batch(t, "b", 3)
	done := w.mustClaim(t, d[0])
	if err := w.Succeed(ctx, success(done, w.sent(t, done, nano(5)), nano(5))); err != nil {
		t.Fatal(err)
	}
	calling := w.mustClaim(t, d[1])
	call := w.sent(t, calling, nano(5))

	c, err := w.Cancel(ctx, "b")
	if err != nil || c.Jobs != 1 || c.Running != 1 {
		t.Errorf("%+v, %v, want 1 ended and 1 running", c, err)
	}
	// The call that is paid for keeps its result; another is not begun.
	if err := w.BeginCall(ctx, w.worker, callOf(calling, nano(5))); !errors.Is(err, jobs.ErrCancelled) {
		t.Errorf("another call after the cancellation: %v", err)
	}
	if err := w.Succeed(ctx, success(calling, call, nano(5))); err != nil {
		t.Error(err)
	}
	for i, want := range []jobs.State{jobs.Succeeded, jobs.Succeeded, jobs.Cancelled} {
		if got := w.job(t, d[i].ID).State; got != want {
			t.Errorf("job %d is %s, want %s", i, got, want)
		}
	}
	w.unchanged(t, "cancelling again", func() {
		if c, err := w.Cancel(ctx, "b"); err != nil || c.Jobs+c.Running != 0 {
			t.Errorf("%+v, %v", c, err)
		}
		if c, err := w.Cancel(ctx, d[0].ID.String()); err != nil || c.Jobs+c.Running != 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
	p, err := w.Progress(ctx, "b")
	if err != nil || p.State != jobs.BatchCancelled || p.Cost != 10 || p.Done() != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	w.holds(t)
}
