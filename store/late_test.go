package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oneflow/jobs"
	"oneflow/store"
)

// late is a call whose job was taken over while it was under way, and its answer.
func (w *database) late(t *testing.T, change func(*jobs.New)) (*jobs.Job, jobs.Success) {
	t.Helper()
	j := w.running(t, change)
	c := w.sent(t, j, nano(100))
	w.takeOver(t)
	done := success(j, c, nano(30))
	done.Artifacts = []jobs.Artifact{{MIME: "image/png", Size: 1, URL: "file:///late"}}
	return j, done
}

func TestALateAnswerIsTheResultOfAJobThatHasNone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"waits for a worker":   `UPDATE job_states SET state = 'queued'`,
		"waits for its retry":  `UPDATE job_states SET state = 'retrying', not_before = now() + interval '1 hour'`,
		"is past its deadline": `UPDATE job_states SET deadline = now() - interval '1 second'`,
		"is unknown":           `UPDATE job_states SET state = 'unknown', finished_at = now(), error_class = 'worker_died'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			j, done := w.late(t, nil)
			if before := w.job(t, j.ID); before.CostNano != 100 || before.State != jobs.Queued {
				t.Fatalf("%+v, want it queued, and its unknown call at the price that was reserved", before)
			}
			w.exec(t, change)
			for range 2 { // the second time as after a COMMIT that was not heard of
				if err := w.Succeed(t.Context(), done); err != nil {
					t.Fatal(err)
				}
				want := jobRow{State: jobs.Succeeded, Gen: 2, Attempt: 1, Crashes: 1, CostNano: 30}
				if diff := cmp.Diff(want, w.job(t, j.ID), cmpopts.IgnoreFields(jobRow{}, "FinishedAt")); diff != "" {
					t.Error(diff)
				}
				if n := w.count(t, `SELECT count(*) FROM artifacts WHERE call_id = $1`, done.Settlement.CallID); n != 1 {
					t.Errorf("%d artifacts, want 1", n)
				}
			}
			if got := w.claim(t, jobs.Delivery{ID: j.ID, Gen: 2}); got.Job != nil || got.Wait != 0 {
				t.Errorf("the delivery that was on its way finds %+v, want nothing to do", got)
			}
			w.holds(t)
		})
	}
}

func TestALateAnswerChangesOnlyTheBillOfAJobThatHasEnded(t *testing.T) {
	t.Parallel()
	for _, state := range []jobs.State{jobs.Failed, jobs.Cancelled, jobs.Expired} {
		w := newDatabase(t)
		j, done := w.late(t, nil)
		w.exec(t, `UPDATE job_states SET state = $1, finished_at = now(), error_class = 'x'`, string(state))
		before := w.job(t, j.ID)
		for range 2 {
			if err := w.Succeed(t.Context(), done); !errors.Is(err, jobs.ErrLeaseLost) {
				t.Errorf("%s: %v, want ErrLeaseLost", state, err)
			}
		}
		after := w.job(t, j.ID)
		if after.CostNano != 30 {
			t.Errorf("%s: costs %d, want 30", state, after.CostNano)
		}
		before.CostNano = 30
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: %s", state, diff)
		}
		w.holds(t)
	}
}

// A person said what an unknown call cost, and then its holder, who was cut off,
// comes with what it knows.
func TestWhatAPersonSaidOfACallGivesWayToWhatItsHolderSays(t *testing.T) {
	t.Parallel()
	const spent = 30
	for name, c := range map[string]struct {
		onUnknown jobs.OnUnknown
		said      store.Resolution
		outcome   jobs.Outcome
		state     jobs.State
		cost      int64
	}{
		"an answer, and the job waits":        {jobs.RetryUnknown, store.Resolution{}, jobs.CallSucceeded, jobs.Succeeded, spent},
		"an answer, and the job was retried":  {jobs.FailUnknown, store.Resolution{Retry: true}, jobs.CallSucceeded, jobs.Succeeded, spent},
		"an answer, and the job has failed":   {jobs.FailUnknown, store.Resolution{}, jobs.CallSucceeded, jobs.Failed, spent},
		"an answer that was said to be dear":  {jobs.RetryUnknown, store.Resolution{Billed: true, Cost: nano(99)}, jobs.CallSucceeded, jobs.Succeeded, spent},
		"a failure that was billed after all": {jobs.RetryUnknown, store.Resolution{}, jobs.CallFailedBilled, jobs.Queued, spent},
		"a failure that was not billed":       {jobs.RetryUnknown, store.Resolution{Billed: true}, jobs.CallFailedUnbilled, jobs.Queued, 0},
		"nothing new":                         {jobs.RetryUnknown, store.Resolution{Billed: true, Cost: nano(7)}, jobs.CallUnknown, jobs.Queued, 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			ctx := t.Context()
			j, done := w.late(t, func(r *jobs.New) { r.OnUnknown = c.onUnknown })
			if r, err := w.Resolve(ctx, j.ID.String(), c.said); err != nil || r.Calls != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			call := done.Settlement.CallID
			for range 2 { // the second time as after a COMMIT that was not heard of
				var err error
				if c.outcome == jobs.CallSucceeded {
					err = w.Succeed(ctx, done)
				} else {
					err = w.SettleCall(ctx, jobs.Settlement{CallID: call, Outcome: c.outcome, Cost: nano(c.cost), Latency: time.Second})
				}
				if refused := errors.Is(err, jobs.ErrLeaseLost); refused != (c.outcome == jobs.CallSucceeded && c.state == jobs.Failed) || err != nil && !refused {
					t.Fatal(err)
				}
				if got := w.job(t, j.ID); got.State != c.state || got.CostNano != c.cost {
					t.Errorf("%+v, want it %s for %d", got, c.state, c.cost)
				}
				want := c.outcome
				if want == jobs.CallUnknown {
					want = jobs.CallFailedBilled // a person knows more than that
				}
				if got := w.call(t, call); got.State != string(want) || *got.Cost != c.cost {
					t.Errorf("%+v, want it %s for %d", got, want, c.cost)
				}
				if n := w.count(t, `SELECT count(*) FROM calls WHERE id = $1 AND corrected_at IS NOT NULL`, call); n != 1 {
					t.Error("the ledger does not say that it was corrected")
				}
			}
			w.holds(t)
		})
	}
}

func TestOfTwoAnswersTheFirstIsTheResultAndBothAreOnTheBill(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	j, done := w.late(t, nil)
	heir := w.mustClaim(t, jobs.Delivery{ID: j.ID, Gen: 2})
	second := w.sent(t, heir, nano(100))
	if err := w.Succeed(ctx, done); err != nil {
		t.Fatal(err)
	}
	// The heir's call is under way: it is paid for in vain, and he may do no more.
	if err := w.BeginCall(ctx, w.worker, callOf(heir, nano(1))); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("he may send another: %v", err)
	}
	if err := w.Succeed(ctx, success(heir, second, nano(50))); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("his answer: %v, want ErrLeaseLost", err)
	}
	if _, err := w.Complete(ctx, jobs.Completion{JobID: heir.ID, LeaseToken: heir.LeaseToken, State: jobs.Failed, Class: "x"}); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("he ended it: %v", err)
	}
	if got := w.job(t, j.ID); got.State != jobs.Succeeded || got.CostNano != 80 {
		t.Errorf("%+v, want it succeeded for both calls' 80", got)
	}
	if n := w.count(t, `SELECT count(*) FROM results WHERE call_id = $1`, done.Settlement.CallID); n != 1 {
		t.Error("the result is not the first answer")
	}
	w.holds(t)
}

// The zombie's answer, the heir's, the take-over of the heir and its next holder
// come at once, by two processes: one result, and no call that is not on the bill.
func TestRacingAnswersGiveOneResult(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.exec(t, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''20ms''', current_database()); END $$`)
	other := openStore(t, w.url)
	const n = 100
	zombies, heirs := make([]jobs.Success, n), make([]jobs.Success, n)
	for i, d := range w.accept(t, n, nil) {
		j := w.mustClaim(t, d)
		zombies[i] = success(j, w.sent(t, j, nano(100)), nano(1))
	}
	w.takeOver(t)
	for i := range heirs {
		j := w.mustClaim(t, jobs.Delivery{ID: zombies[i].JobID, Gen: 2})
		heirs[i] = success(j, w.sent(t, j, nano(100)), nano(2))
	}
	adopted := make([]int, n)
	together(2*n+1, func(i int) {
		var err error
		switch {
		case i == 2*n:
			_, err = other.TakeOver(ctx, w.worker)
		case i%2 == 0:
			err = w.Succeed(ctx, zombies[i/2])
		default:
			err = other.Succeed(ctx, heirs[i/2])
		}
		if err != nil && !errors.Is(err, jobs.ErrLeaseLost) {
			t.Error(err)
		}
		if err == nil && i < 2*n {
			adopted[i/2] |= 1 << (i % 2)
		}
	})
	w.holds(t)
	if got := w.count(t, `SELECT count(*) FROM job_states WHERE state = 'succeeded' AND cost_nano = 3`); got != n {
		t.Errorf("%d jobs succeeded for 3 nano-USD, want %d", got, n)
	}
	for i, a := range adopted {
		if a != 1 && a != 2 {
			t.Errorf("job %d: both or neither were told that theirs is the result (%b)", i, a)
		}
	}
}

func TestACallPastItsDeadlineIsGivenUpUnderALivingWorker(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	hung, inTime := w.running(t, nil), w.running(t, nil)
	never := w.running(t, func(r *jobs.New) { r.OnUnknown = jobs.FailUnknown })
	calls := map[string]jobs.Call{"hung": w.sent(t, hung, nano(7)), "in time": w.sent(t, inTime, nano(7)), "never": w.sent(t, never, nano(7))}
	// One whose job has ended by another call's answer.
	j, done := w.late(t, nil) // takes all of them over
	heir := w.mustClaim(t, jobs.Delivery{ID: j.ID, Gen: 2})
	orphan := w.sent(t, heir, nano(7))
	if err := w.Succeed(ctx, done); err != nil {
		t.Fatal(err)
	}
	hung, inTime = w.mustClaim(t, jobs.Delivery{ID: hung.ID, Gen: 2}), w.mustClaim(t, jobs.Delivery{ID: inTime.ID, Gen: 2})
	calls["hung"], calls["in time"] = w.sent(t, hung, nano(7)), w.sent(t, inTime, nano(7))
	w.exec(t, `UPDATE calls SET deadline = now() - interval '20 seconds' WHERE state = 'running' AND id <> $1`, calls["in time"].CallID)
	if n, err := w.TakeOverdue(ctx, time.Minute); n != 0 || err != nil {
		t.Errorf("%d, %v: given up within the grace", n, err)
	}
	for want := range 2 { // 2 the first time, then none
		if n, err := w.TakeOverdue(ctx, 10*time.Second); n != 2-2*want || err != nil {
			t.Errorf("gave up %d, %v, want %d", n, err, 2-2*want)
		}
	}
	// It is the second unknown call of that job.
	if got := w.job(t, hung.ID); got.State != jobs.Unknown || got.Crashes != 1 || got.ErrorClass != "timeout" || got.CostNano != 14 {
		t.Errorf("%+v", got)
	}
	if got := w.job(t, inTime.ID); got.State != jobs.Running {
		t.Errorf("a call in time: %+v", got)
	}
	if got := w.call(t, orphan.CallID); got.State != "unknown" || *got.Cost != 7 {
		t.Errorf("%+v", got)
	}
	if got := w.job(t, j.ID); got.State != jobs.Succeeded || got.CostNano != 37 {
		t.Errorf("%+v", got)
	}
	// The holder was not dead, and its answer is welcome.
	if err := w.Succeed(ctx, success(hung, calls["hung"], nano(1))); err != nil {
		t.Error(err)
	}
	w.holds(t)
}

func TestAJobThatItsLivingWorkerLosesSightOfIsNotQuarantinedButEnds(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 1, func(r *jobs.New) { r.MaxAttempts = 4 })[0]
	for attempt := 1; attempt <= 4; attempt++ {
		j := w.mustClaim(t, d)
		leases, err := w.Leases(t.Context(), w.worker)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := w.TakeBack(t.Context(), w.worker, leases); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		d.Gen = j.Gen + 1
		want := jobs.Queued
		if attempt == 4 {
			want = jobs.Failed
		}
		if got := w.job(t, d.ID); got.State != want || got.Crashes != 0 || got.ErrorClass == "poison" {
			t.Errorf("attempt %d: %+v", attempt, got)
		}
	}
}

func TestACancelledBatchIsSweptHoweverLongAgoItWas(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	for i := range 3 {
		w.batch(t, fmt.Sprint("b", i), 3)
	}
	running := w.mustClaim(t, jobs.Delivery{ID: w.batch(t, "b3", 1)[0].ID, Gen: 1})
	// Cancelled while no worker was there to sweep.
	w.exec(t, `UPDATE batches SET cancelled_at = now() - interval '3 days' WHERE id <> 'b2'`)
	for _, want := range []int{6, 0, 0} {
		if n, err := w.SweepCancelled(ctx); n != want || err != nil {
			t.Errorf("swept %d, %v, want %d", n, err, want)
		}
	}
	if n := w.count(t, `SELECT count(*) FROM batches WHERE drained_at IS NOT NULL`); n != 2 {
		t.Errorf("%d batches are swept for good, want the 2 with nothing left", n)
	}
	w.exec(t, `UPDATE job_states SET state = 'queued', lease_token = NULL, worker_id = NULL WHERE job_id = $1`, running.ID)
	if n, err := w.SweepCancelled(ctx); n != 1 || err != nil {
		t.Errorf("swept %d, %v, want the one that came back", n, err)
	}
	w.holds(t)
}
