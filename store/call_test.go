package store_test

import (
	"errors"
	"sync"
	"testing"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

func TestAZombieCannotSend(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	zombie := w.running(t, nil)
	ended := w.running(t, nil)
	if _, err := w.Complete(ctx, jobs.Completion{JobID: ended.ID, LeaseToken: ended.LeaseToken, State: jobs.Queued}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.TakeOver(ctx, w.worker); err != nil {
		t.Fatal(err)
	}
	// Somebody else runs it now.
	other := w.mustClaim(t, jobs.Delivery{ID: zombie.ID, Gen: 2})
	w.unchanged(t, "a zombie", func() {
		for _, j := range []*jobs.Job{zombie, ended} {
			if err := w.BeginCall(ctx, w.worker, callOf(j, nano(1))); !errors.Is(err, jobs.ErrLeaseLost) {
				t.Errorf("it sent: %v", err)
			}
		}
	})
	w.sent(t, other, nano(1))
}

func TestAZombiesLaterWritesChangeNothing(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	for name, reclaimed := range map[string]bool{"while it waits": false, "while another runs it": true} {
		zombie := w.running(t, nil)
		if _, err := w.TakeOver(ctx, w.worker); err != nil {
			t.Fatal(err)
		}
		if reclaimed {
			w.mustClaim(t, jobs.Delivery{ID: zombie.ID, Gen: 2})
		}
		w.unchanged(t, name+": a zombie", func() {
			for _, state := range []jobs.State{jobs.Queued, jobs.Retrying, jobs.Failed, jobs.Expired, jobs.Cancelled, jobs.Unknown} {
				state, err := w.Complete(ctx, jobs.Completion{JobID: zombie.ID, LeaseToken: zombie.LeaseToken, State: state, Class: "x", RefundAttempt: true})
				if !errors.Is(err, jobs.ErrLeaseLost) {
					t.Errorf("%s: ended it as %q: %v", name, state, err)
				}
			}
			if err := w.Succeed(ctx, success(zombie, callOf(zombie, nil), nil)); !errors.Is(err, jobs.ErrLeaseLost) {
				t.Errorf("%s: succeeded: %v", name, err)
			}
			if got := w.claim(t, jobs.Delivery{ID: zombie.ID, Gen: 1}); got.Job != nil || got.Wait != 0 {
				t.Errorf("%s: claimed again: %+v", name, got)
			}
		})
	}
	w.holds(t)
}

func TestAJobMakesNoMoreCallsThanItMay(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	j := w.running(t, nil)
	w.exec(t, `UPDATE jobs SET max_provider_calls = 2`)
	first := w.sent(t, j, nil)
	w.sent(t, j, nil)
	w.unchanged(t, "a third call", func() {
		if err := w.BeginCall(t.Context(), w.worker, callOf(j, nil)); !errors.Is(err, jobs.ErrTooManyCalls) {
			t.Error(err)
		}
		// The first one again, as after a COMMIT that was not heard of.
		if err := w.BeginCall(t.Context(), w.worker, first); err != nil {
			t.Error(err)
		}
	})
}

func TestRefusalsForTheRateAccountOrKeyCountATenthAndHaveAnEnd(t *testing.T) {
	t.Parallel()
	refusals := []providers.Kind{providers.RateLimited, providers.ConcurrencyLimit, providers.NotAsked, providers.OutOfMoney, providers.Unauthorised}
	for name, c := range map[string]struct {
		refused, failed int
	}{
		"twenty refusals":                {20, 0},
		"ten refusals and a failure":     {10, 1},
		"two failures":                   {0, 2},
		"nine refusals and two failures": {9, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			j := w.running(t, nil)
			w.exec(t, `UPDATE jobs SET max_provider_calls = 2`)
			refuse := func(kind providers.Kind) {
				t.Helper()
				call := w.sent(t, j, nil)
				if err := w.SettleCall(t.Context(), jobs.Settlement{CallID: call.CallID, Outcome: jobs.CallFailedUnbilled, Cost: nano(0), Kind: kind}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range c.refused {
				refuse(refusals[i%len(refusals)])
			}
			for range c.failed {
				refuse(providers.Overloaded)
			}
			if err := w.BeginCall(t.Context(), w.worker, callOf(j, nil)); !errors.Is(err, jobs.ErrTooManyCalls) {
				t.Errorf("another call: %v", err)
			}
			w.holds(t)
		})
	}
}

func TestACancelledJobSendsNothingMore(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	single := w.running(t, nil)
	if c, err := w.Cancel(ctx, single.ID.String()); err != nil || c.Running != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	inBatch := w.mustClaim(t, w.batch(t, "b", 1)[0])
	if _, err := w.Cancel(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	for _, j := range []*jobs.Job{single, inBatch} {
		if err := w.BeginCall(ctx, w.worker, callOf(j, nil)); !errors.Is(err, jobs.ErrCancelled) {
			t.Error(err)
		}
		state, err := w.Complete(ctx, jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Cancelled})
		if state != jobs.Cancelled || err != nil {
			t.Error(state, err)
		}
	}
	if n := w.count(t, `SELECT count(*) FROM calls`); n != 0 {
		t.Errorf("%d calls were begun", n)
	}
	w.holds(t)
}

func TestACallIsBegunOnceWhereItsRepetitionOverlapsTheFirstTry(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	c := callOf(w.running(t, nil), nano(7))
	lock, err := w.sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), `SELECT FROM job_states FOR NO KEY UPDATE`); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	for _, s := range []*store.Store{openStore(t, w.url), openStore(t, w.url)} {
		both.Go(func() {
			if err := s.BeginCall(t.Context(), w.worker, c); err != nil {
				t.Errorf("%v, want to hear that it is begun", err)
			}
		})
	}
	eventually(t, "both wait, with what they have seen", func() bool {
		return w.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 2
	})
	if err := lock.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if n := w.count(t, `SELECT count(*) FROM calls`); n != 1 {
		t.Errorf("%d rows for one call", n)
	}
}
