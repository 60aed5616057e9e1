package store_test

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

func TestAResultAndItsCallAndItsJobEndTogether(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	j := w.running(t, nil)
	call := w.sent(t, j, nano(1000))
	if got := w.call(t, call.CallID); got.State != "running" || *got.Reserved != 1000 || got.Cost != nil {
		t.Errorf("%+v", got)
	}
	done := success(j, call, nano(700))
	done.Settlement.PriceIDs = []string{"mock/m/in", "mock/m/out"}
	done.Settlement.Usage = providers.Usage{InputTokens: 3, CachedInputTokens: 2, OutputTokens: 7}
	done.Settlement.Latency = 1500 * time.Millisecond
	done.Artifacts = []jobs.Artifact{{MIME: "image/png", Size: 3, SHA256: sha256.Sum256([]byte("png")), URL: "file:///a"}, {MIME: "image/png", Size: 3, URL: "file:///b"}}
	if err := w.Succeed(ctx, done); err != nil {
		t.Fatal(err)
	}
	if got := w.job(t, j.ID); got.State != jobs.Succeeded || got.CostNano != 700 || got.FinishedAt == nil || got.LeaseToken != nil {
		t.Errorf("%+v", got)
	}
	if got := w.call(t, call.CallID); got.State != "succeeded" || *got.Cost != 700 || !cmp.Equal(got.PriceIDs, done.Settlement.PriceIDs) {
		t.Errorf("%+v", got)
	}
	if n := w.count(t, `SELECT count(*) FROM artifacts WHERE job_id = $1 AND call_id = $2`, j.ID, call.CallID); n != 2 {
		t.Errorf("%d artifacts, want 2", n)
	}
	if n := w.count(t, `SELECT input_tokens + 100 * output_tokens FROM calls`); n != 705 {
		t.Errorf("tokens: %d", n)
	}
	w.unchanged(t, "repeating all of it", func() {
		if err := w.BeginCall(ctx, w.worker, call); !errors.Is(err, jobs.ErrLeaseLost) {
			t.Errorf("begin: %v", err)
		}
		if err := w.Succeed(ctx, done); err != nil {
			t.Errorf("succeed: %v", err)
		}
		if err := w.SettleCall(ctx, done.Settlement); err != nil {
			t.Errorf("settle: %v", err)
		}
		if err := w.SettleCall(ctx, jobs.Settlement{CallID: call.CallID, Outcome: jobs.CallUnknown}); err != nil {
			t.Errorf("settle as unknown: %v", err)
		}
	})
	w.holds(t)
}

func TestCostsAddUpOverCalls(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	j := w.running(t, nil)
	step := func(reserved *billing.NanoUSD, s jobs.Settlement) jobs.Call {
		t.Helper()
		c := w.sent(t, j, reserved)
		s.CallID = c.CallID
		for range 2 {
			if err := w.SettleCall(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	check := func(what string, cost int64, unpriced int) {
		t.Helper()
		if got := w.job(t, j.ID); got.CostNano != cost || got.Unpriced != unpriced {
			t.Errorf("%s: %d nano-USD and %d unpriced, want %d and %d", what, got.CostNano, got.Unpriced, cost, unpriced)
		}
		w.holds(t)
	}
	step(nano(50), jobs.Settlement{Outcome: jobs.CallFailedUnbilled, Cost: nano(0)})
	check("an unbilled failure", 0, 0)
	step(nano(50), jobs.Settlement{Outcome: jobs.CallFailedBilled, Cost: nano(20)})
	check("a billed failure", 20, 0)
	unknown := step(nano(50), jobs.Settlement{Outcome: jobs.CallUnknown})
	check("an unknown outcome, at its reserved price", 70, 0)
	unpriced := step(nil, jobs.Settlement{Outcome: jobs.CallUnknown})
	check("an unknown outcome without a price", 70, 1)
	step(nano(50), jobs.Settlement{Outcome: jobs.CallFailedBilled})
	check("a billed failure without a price", 70, 2)

	late := func(c jobs.Call, outcome jobs.Outcome, cost *billing.NanoUSD) {
		t.Helper()
		for range 2 {
			if err := w.SettleCall(ctx, jobs.Settlement{CallID: c.CallID, Outcome: outcome, Cost: cost}); err != nil {
				t.Fatal(err)
			}
		}
	}
	late(unknown, jobs.CallFailedUnbilled, nano(0))
	check("the unknown call turns out to be free", 20, 2)
	late(unpriced, jobs.CallFailedBilled, nano(7))
	check("the unpriced call turns out to cost 7", 27, 1)
	late(unknown, jobs.CallFailedBilled, nano(1000))
	check("a settled call does not change again", 27, 1)

	last := w.sent(t, j, nano(50))
	if err := w.Succeed(ctx, success(j, last, nano(3))); err != nil {
		t.Fatal(err)
	}
	check("success", 30, 1)
}

func TestCancellingDuringACallEndsTheJobAsCancelled(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	for wanted, becomes := range map[jobs.State]jobs.State{
		jobs.Queued: jobs.Cancelled, jobs.Retrying: jobs.Cancelled, jobs.Failed: jobs.Cancelled,
		jobs.Unknown: jobs.Unknown, jobs.Expired: jobs.Expired,
	} {
		j := w.running(t, nil)
		if _, err := w.Cancel(ctx, j.ID.String()); err != nil {
			t.Fatal(err)
		}
		e := jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: wanted, After: time.Minute, Class: "timeout"}
		for range 2 {
			if got, err := w.Complete(ctx, e); got != becomes || err != nil {
				t.Errorf("%s: ended as %s, %v, want %s", wanted, got, err, becomes)
			}
		}
		if got := w.job(t, j.ID); got.State != becomes || got.FinishedAt == nil || got.NotBefore != nil {
			t.Errorf("%s: %+v", wanted, got)
		}
	}
}

func TestAnEndedClaimIsEndedOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	for _, c := range []struct {
		end  jobs.Completion
		want jobRow
	}{
		{jobs.Completion{State: jobs.Queued, RefundAttempt: true}, jobRow{State: jobs.Queued, Attempt: 0}},
		{jobs.Completion{State: jobs.Queued}, jobRow{State: jobs.Queued, Attempt: 1}},
		{jobs.Completion{State: jobs.Retrying, After: time.Minute, Class: "timeout", Message: "slow"}, jobRow{State: jobs.Retrying, Attempt: 1, ErrorClass: "timeout", Error: "slow"}},
		{jobs.Completion{State: jobs.Retrying, RefundAttempt: true}, jobRow{State: jobs.Retrying, Attempt: 0}},
		{jobs.Completion{State: jobs.Failed, Class: "moderated", Message: "nul \x00 and \xff"}, jobRow{State: jobs.Failed, Attempt: 1, ErrorClass: "moderated", Error: "nul ␀ and \uFFFD"}},
		{jobs.Completion{State: jobs.Unknown, Class: "timeout"}, jobRow{State: jobs.Unknown, Attempt: 1, ErrorClass: "timeout"}},
		{jobs.Completion{State: jobs.Expired}, jobRow{State: jobs.Expired, Attempt: 1}},
	} {
		j := w.running(t, nil)
		c.end.JobID, c.end.LeaseToken = j.ID, j.LeaseToken
		if got, err := w.Complete(ctx, c.end); got != c.end.State || err != nil {
			t.Errorf("%s, %v, want %s", got, err, c.end.State)
		}
		w.unchanged(t, "ending it twice", func() {
			if got, err := w.Complete(ctx, c.end); got != c.end.State || err != nil {
				t.Errorf("again: %s, %v, want %s", got, err, c.end.State)
			}
		})
		got := w.job(t, j.ID)
		if (got.FinishedAt != nil) != c.end.State.Finished() || (got.NotBefore != nil) != (c.end.State == jobs.Retrying) || got.LeaseToken != nil {
			t.Errorf("%+v", got)
		}
		got = jobRow{State: got.State, Attempt: got.Attempt, ErrorClass: got.ErrorClass, Error: got.Error}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestACallThatNobodySettledIsUnknownWhenItsClaimEnds(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	j := w.running(t, nil)
	priced, unpriced := w.sent(t, j, nano(9)), w.sent(t, j, nil)
	end := jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Failed, Class: "panic"}
	for range 2 {
		if _, err := w.Complete(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.job(t, j.ID); got.CostNano != 9 || got.Unpriced != 1 {
		t.Errorf("%+v", got)
	}
	for _, c := range []jobs.Call{priced, unpriced} {
		if got := w.call(t, c.CallID); got.State != "unknown" {
			t.Errorf("%+v", got)
		}
	}
	w.holds(t)
}

func TestALateSettlementThatMeetsATakeOverCorrectsIt(t *testing.T) {
	t.Parallel()
	for name, settle := range map[string]func(*database, *jobs.Job, jobs.Call) error{
		"a failure": func(w *database, _ *jobs.Job, c jobs.Call) error {
			return w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallFailedBilled, Cost: nano(30)})
		},
		"a success": func(w *database, j *jobs.Job, c jobs.Call) error {
			if err := w.Succeed(t.Context(), success(j, c, nano(30))); err != nil && !errors.Is(err, jobs.ErrLeaseLost) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			ctx := t.Context()
			j := w.running(t, nil)
			c := w.sent(t, j, nano(100))
			// A take-over has marked the call but has not committed yet.
			tx, err := w.sql.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{
				`UPDATE calls SET state = 'unknown', cost_nano = 100, finished_at = now()`,
				`UPDATE job_states SET state = 'queued', gen = gen + 1, cost_nano = 100, lease_token = NULL, worker_id = NULL`,
			} {
				if _, err := tx.Exec(ctx, sql); err != nil {
					t.Fatal(err)
				}
			}
			settled := make(chan error, 1)
			go func() { settled <- settle(w, j, c) }()
			eventually(t, "the settlement waits for the take-over", func() bool {
				return w.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
			})
			if err := tx.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			if err := <-settled; err != nil {
				t.Fatal(err)
			}
			if got := w.call(t, c.CallID); got.State == "unknown" || *got.Cost != 30 {
				t.Errorf("the call stays %s at %d nano-USD, although its outcome is known", got.State, *got.Cost)
			}
			w.holds(t)
		})
	}
}

func TestTwoAnswersToAJobInOneCommitAreBothCharged(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	zombie := w.running(t, nil)
	late := w.sent(t, zombie, nano(100))
	w.takeOver(t)
	heir := w.mustClaim(t, jobs.Delivery{ID: zombie.ID, Gen: 2})
	call := w.sent(t, heir, nano(100))
	twice := w.sent(t, heir, nano(100)) // which no worker does

	// Another answer is held up, so that the next ones share a commit.
	blocker := w.running(t, nil)
	first := w.sent(t, blocker, nil)
	tx, err := w.sql.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM calls WHERE id = $1 FOR UPDATE`, first.CallID); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 4)
	go func() { answers <- w.Succeed(ctx, success(blocker, first, nil)) }()
	eventually(t, "the first answer is held up", func() bool {
		return w.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
	})
	var waiting sync.WaitGroup
	for _, s := range []jobs.Success{success(zombie, late, nano(3)), success(heir, call, nano(20)), success(heir, twice, nano(400))} {
		waiting.Add(1)
		go func() {
			waiting.Done()
			answers <- w.Succeed(ctx, s)
		}()
	}
	waiting.Wait()
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	won := 0
	for range 4 {
		switch err := <-answers; {
		case err == nil:
			won++
		case !errors.Is(err, jobs.ErrLeaseLost):
			t.Error(err)
		}
	}
	if won != 2 {
		t.Errorf("%d answers became results, want the blocker's and one of the heir's", won)
	}
	if got := w.job(t, zombie.ID); got.State != jobs.Succeeded || got.CostNano != 423 {
		t.Errorf("%+v, want three answers for 423 nano-USD", got)
	}
	w.holds(t)
}
