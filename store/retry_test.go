package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/store"
)

func (w *database) retry(t *testing.T, id string, states ...jobs.State) store.Retried {
	t.Helper()
	r, err := w.Retry(t.Context(), id, states, "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ended gives a claimed job an end, after a call of that outcome.
func (w *database) ended(t *testing.T, j *jobs.Job, state jobs.State, outcome jobs.Outcome, cost *billing.NanoUSD) jobs.Call {
	t.Helper()
	c := w.sent(t, j, nano(100))
	if err := w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: outcome, Cost: cost}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: state, Class: "timeout"}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARetryBringsBackWhatItIsAskedForAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.batch(t, "b", 6)
	w.ended(t, w.mustClaim(t, d[0]), jobs.Failed, jobs.CallFailedBilled, nano(10))
	w.ended(t, w.mustClaim(t, d[1]), jobs.Unknown, jobs.CallUnknown, nil)
	w.exec(t, `UPDATE job_states SET state = 'expired', finished_at = now(), deadline = now() - interval '1 second' WHERE job_id = $1`, d[2].ID)
	ok := w.mustClaim(t, d[3])
	if err := w.Succeed(t.Context(), success(ok, w.sent(t, ok, nano(1)), nano(1))); err != nil {
		t.Fatal(err)
	}
	w.mustClaim(t, d[4]) // runs; the last one waits
	want := store.Retried{Jobs: 1, Left: map[jobs.State]int64{jobs.Unknown: 1, jobs.Expired: 1}}
	if diff := cmp.Diff(want, w.retry(t, "b", jobs.Failed)); diff != "" {
		t.Error(diff)
	}
	if got, want := w.job(t, d[0].ID), (jobRow{State: jobs.Queued, Gen: 2, CostNano: 10}); !cmp.Equal(got, want) {
		t.Errorf("%+v, want %+v: the ledger stays", got, want)
	}
	w.unchanged(t, "bringing it back twice", func() { w.retry(t, "b", jobs.Failed) })
	if got := w.retry(t, "b", jobs.Failed, jobs.Unknown, jobs.Expired); got.Jobs != 2 || len(got.Left) != 0 {
		t.Errorf("%+v", got)
	}
	marked := w.topUp(t, 10)
	if len(marked) != 3 {
		t.Errorf("%d to be dispatched, want 3", len(marked))
	}
	if got := w.claim(t, d[0]); got.Job != nil || got.Wait != 0 {
		t.Errorf("the old delivery, which asynq has archived, finds %+v", got)
	}
	for _, m := range marked {
		if j := w.mustClaim(t, m); j.Attempt != 1 || j.Unknowns != 0 || time.Until(j.Deadline) < 23*time.Hour {
			t.Errorf("%+v, want it to begin anew", j)
		}
	}
	w.holds(t)
}

func TestARetriedJobMayMakeAllItsCallsAgain(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 1, nil)[0]
	w.exec(t, `UPDATE jobs SET max_provider_calls = 2`)
	for gen := 1; gen <= 3; gen++ {
		j := w.mustClaim(t, jobs.Delivery{ID: d.ID, Gen: gen})
		w.sent(t, j, nil)
		w.sent(t, j, nil)
		if err := w.BeginCall(t.Context(), w.worker, callOf(j, nil)); !errors.Is(err, jobs.ErrTooManyCalls) {
			t.Errorf("generation %d: a third call: %v", gen, err)
		}
		if _, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Failed, Class: "too_many_calls"}); err != nil {
			t.Fatal(err)
		}
		if r := w.retry(t, d.ID.String(), jobs.Failed); r.Jobs != 1 {
			t.Fatal(r)
		}
	}
	w.holds(t)
}

func TestAQuarantinedJobComesBackAsASuspect(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	j := w.running(t, nil)
	for gen := 2; gen <= jobs.MaxCrashes; gen++ {
		w.takeOver(t)
		w.mustClaim(t, jobs.Delivery{ID: j.ID, Gen: gen})
	}
	w.takeOver(t)
	w.retry(t, j.ID.String(), jobs.Failed)
	if got := w.mustClaim(t, jobs.Delivery{ID: j.ID, Gen: jobs.MaxCrashes + 2}); got.Crashes < jobs.SuspectCrashes {
		t.Errorf("%d crashes, want it to run alone", got.Crashes)
	}
	w.takeOver(t)
	if got := w.job(t, j.ID); got.State != jobs.Failed || got.ErrorClass != "poison" {
		t.Errorf("%+v, want it quarantined again", got)
	}
}

func TestNothingOfACancelledBatchComesBack(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.batch(t, "b", 1)[0]
	w.ended(t, w.mustClaim(t, d), jobs.Unknown, jobs.CallUnknown, nil)
	if _, err := w.Cancel(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	w.unchanged(t, "a retry", func() {
		for _, id := range []string{"b", d.ID.String()} {
			if _, err := w.Retry(t.Context(), id, []jobs.State{jobs.Unknown}, ""); !errors.Is(err, jobs.ErrBatchCancelled) {
				t.Errorf("%s: %v", id, err)
			}
			if _, err := w.Resolve(t.Context(), id, store.Resolution{Retry: true}); !errors.Is(err, jobs.ErrBatchCancelled) {
				t.Errorf("%s: %v", id, err)
			}
		}
		for _, id := range []string{"no-such-batch", uuid.NewString()} {
			if _, err := w.Retry(t.Context(), id, nil, ""); !errors.Is(err, jobs.ErrNotFound) {
				t.Errorf("%s: %v", id, err)
			}
		}
	})
	// Its bill can be settled all the same.
	if r, err := w.Resolve(t.Context(), "b", store.Resolution{}); err != nil || r != (store.Resolved{Calls: 1, Jobs: 1}) {
		t.Errorf("%+v, %v", r, err)
	}
	w.holds(t)
}

func TestResolvingSettlesUnknownCallsByHand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r     store.Resolution
		state jobs.State
		call  string
		cost  int64 // of each of the two calls
	}{
		"unbilled":          {store.Resolution{}, jobs.Failed, "failed_unbilled", 0},
		"billed":            {store.Resolution{Billed: true}, jobs.Failed, "failed_billed", 100},
		"billed at a price": {store.Resolution{Billed: true, Cost: nano(33)}, jobs.Failed, "failed_billed", 33},
		"and tried again":   {store.Resolution{Retry: true}, jobs.Queued, "failed_unbilled", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			d := w.batch(t, "b", 3)
			unknown := w.ended(t, w.mustClaim(t, d[0]), jobs.Unknown, jobs.CallUnknown, nil)
			// One that went on after its unknown call, and got its answer.
			second := w.mustClaim(t, d[1])
			lost := w.sent(t, second, nano(100))
			if err := w.SettleCall(t.Context(), jobs.Settlement{CallID: lost.CallID, Outcome: jobs.CallUnknown}); err != nil {
				t.Fatal(err)
			}
			if err := w.Succeed(t.Context(), success(second, w.sent(t, second, nano(9)), nano(9))); err != nil {
				t.Fatal(err)
			}
			w.ended(t, w.mustClaim(t, d[2]), jobs.Failed, jobs.CallFailedBilled, nano(5))
			r, err := w.Resolve(t.Context(), "b", c.r)
			if err != nil || r != (store.Resolved{Calls: 2, Jobs: 1}) {
				t.Fatalf("%+v, %v", r, err)
			}
			for _, id := range []uuid.UUID{unknown.CallID, lost.CallID} {
				if got := w.call(t, id); got.State != c.call || *got.Cost != c.cost {
					t.Errorf("%+v", got)
				}
			}
			if got := w.job(t, d[0].ID); got.State != c.state || got.CostNano != c.cost || (got.State == jobs.Failed && got.ErrorClass == "") {
				t.Errorf("%+v, want it %s for %d", got, c.state, c.cost)
			}
			if got := w.job(t, d[1].ID); got.State != jobs.Succeeded || got.CostNano != c.cost+9 {
				t.Errorf("%+v", got)
			}
			if got := w.job(t, d[2].ID); got.State != jobs.Failed || got.CostNano != 5 {
				t.Errorf("%+v", got)
			}
			w.unchanged(t, "resolving twice, and an answer after a person has settled its call", func() {
				if r, err := w.Resolve(t.Context(), "b", c.r); err != nil || r != (store.Resolved{}) {
					t.Errorf("%+v, %v", r, err)
				}
				if err := w.Succeed(t.Context(), success(&jobs.Job{ID: d[0].ID}, unknown, nano(1))); !errors.Is(err, jobs.ErrLeaseLost) {
					t.Error(err)
				}
			})
			w.holds(t)
		})
	}
}

func TestExpensesTellWhatRetriesFallbacksAndUnknownCallsCost(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	call := func(j *jobs.Job, provider string, outcome jobs.Outcome, cost *billing.NanoUSD) {
		t.Helper()
		c := callOf(j, nano(100))
		c.Provider = provider
		if err := w.BeginCall(ctx, w.worker, c); err != nil {
			t.Fatal(err)
		}
		var err error
		switch outcome {
		case "": // under way
		case jobs.CallSucceeded:
			err = w.Succeed(ctx, success(j, c, cost))
		case jobs.CallFailedUnbilled, jobs.CallFailedBilled, jobs.CallUnknown:
			err = w.SettleCall(ctx, jobs.Settlement{CallID: c.CallID, Outcome: outcome, Cost: cost})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d := w.batch(t, "b", 3)
	plain, stony, open := w.mustClaim(t, d[0]), w.mustClaim(t, d[1]), w.mustClaim(t, d[2])
	call(plain, "a", jobs.CallSucceeded, nano(1))
	call(stony, "a", jobs.CallUnknown, nil)
	call(stony, "a", jobs.CallFailedBilled, nano(20))
	call(stony, "a", jobs.CallFailedBilled, nil) // no price is known
	call(stony, "b", jobs.CallFailedBilled, nano(300))
	call(stony, "b", jobs.CallSucceeded, nano(4000))
	call(open, "a", "", nil)
	want := []store.Expense{
		{Sort: "answer", Provider: "a", Calls: 1, Jobs: 1, Cost: 1},
		{Sort: "answer", Provider: "b", Calls: 1, Jobs: 1, Cost: 4000},
		{Sort: "retry", Provider: "a", Calls: 2, Cost: 20, Unpriced: 1},
		{Sort: "fallback", Provider: "b", Calls: 1, Cost: 300},
		{Sort: "unknown", Provider: "a", Calls: 1, Cost: 100},
		{Sort: "under way", Provider: "a", Calls: 1},
	}
	for i := range want {
		want[i].Charge = want[i].Cost // there is no rate card
	}
	got, err := w.Expenses(ctx, "b")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if got, err := w.Expenses(ctx, plain.ID.String()); err != nil || !cmp.Equal(got, want[:1]) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := w.Expenses(ctx, "nobody"); !errors.Is(err, jobs.ErrNotFound) {
		t.Error(err)
	}
}
