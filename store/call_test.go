package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

func TestAZombieCannotSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	zombie := w.running(t, nil)
	ended := w.running(t, nil)
	if _, err := w.End(ctx, jobs.End{JobID: ended.ID, LeaseToken: ended.LeaseToken, State: jobs.Queued}); err != nil {
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
	w := newWorld(t)
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
				state, err := w.End(ctx, jobs.End{JobID: zombie.ID, LeaseToken: zombie.LeaseToken, State: state, Class: "x", RefundAttempt: true})
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

func TestAResultAndItsCallAndItsJobEndTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	j := w.running(t, nil)
	call := w.sent(t, j, nano(1000))
	if got := w.attempt(t, call.AttemptID); got.State != "running" || *got.Reserved != 1000 || got.Cost != nil || got.Call != 1 {
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
	if got := w.attempt(t, call.AttemptID); got.State != "succeeded" || *got.Cost != 700 || !cmp.Equal(got.PriceIDs, done.Settlement.PriceIDs) {
		t.Errorf("%+v", got)
	}
	if n := w.count(t, `SELECT count(*) FROM artifacts WHERE job_id = $1 AND attempt_id = $2`, j.ID, call.AttemptID); n != 2 {
		t.Errorf("%d artifacts, want 2", n)
	}
	if n := w.count(t, `SELECT input_tokens + 100 * output_tokens FROM attempts`); n != 705 {
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
		if err := w.SettleCall(ctx, jobs.Settlement{AttemptID: call.AttemptID, Outcome: jobs.CallUnknown}); err != nil {
			t.Errorf("settle as unknown: %v", err)
		}
	})
	w.holds(t)
}

func TestCostsAddUpOverCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	j := w.running(t, nil)
	step := func(reserved *billing.NanoUSD, s jobs.Settlement) jobs.Call {
		t.Helper()
		c := w.sent(t, j, reserved)
		s.AttemptID = c.AttemptID
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
			if err := w.SettleCall(ctx, jobs.Settlement{AttemptID: c.AttemptID, Outcome: outcome, Cost: cost}); err != nil {
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

func TestAJobMakesNoMoreCallsThanItMay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
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

func TestWaitingForARateLimitUsesUpNoCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.running(t, nil)
	w.exec(t, `UPDATE jobs SET max_provider_calls = 2`)
	refuse := func(kind providers.Kind) {
		t.Helper()
		c := w.sent(t, j, nil)
		if err := w.SettleCall(t.Context(), jobs.Settlement{AttemptID: c.AttemptID, Outcome: jobs.CallFailedUnbilled, Cost: nano(0), Kind: kind}); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		refuse(providers.RateLimited)
		refuse(providers.ConcurrencyLimit)
		refuse(providers.NotAsked)
	}
	refuse(providers.Overloaded)
	refuse(providers.Overloaded)
	if err := w.BeginCall(t.Context(), w.worker, callOf(j, nil)); !errors.Is(err, jobs.ErrTooManyCalls) {
		t.Errorf("a third call that counts: %v", err)
	}
	w.holds(t)
}

func TestACancelledJobSendsNothingMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
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
		state, err := w.End(ctx, jobs.End{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Cancelled})
		if state != jobs.Cancelled || err != nil {
			t.Error(state, err)
		}
	}
	if n := w.count(t, `SELECT count(*) FROM attempts`); n != 0 {
		t.Errorf("%d calls were begun", n)
	}
	w.holds(t)
}

func TestCancellingDuringACallEndsTheJobAsCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for wanted, becomes := range map[jobs.State]jobs.State{
		jobs.Queued: jobs.Cancelled, jobs.Retrying: jobs.Cancelled, jobs.Failed: jobs.Cancelled,
		jobs.Unknown: jobs.Unknown, jobs.Expired: jobs.Expired,
	} {
		j := w.running(t, nil)
		if _, err := w.Cancel(ctx, j.ID.String()); err != nil {
			t.Fatal(err)
		}
		e := jobs.End{JobID: j.ID, LeaseToken: j.LeaseToken, State: wanted, After: time.Minute, Class: "timeout"}
		for range 2 {
			if got, err := w.End(ctx, e); got != becomes || err != nil {
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
	w := newWorld(t)
	ctx := t.Context()
	for _, c := range []struct {
		end  jobs.End
		want jobRow
	}{
		{jobs.End{State: jobs.Queued, RefundAttempt: true}, jobRow{State: jobs.Queued, Attempt: 0}},
		{jobs.End{State: jobs.Queued}, jobRow{State: jobs.Queued, Attempt: 1}},
		{jobs.End{State: jobs.Retrying, After: time.Minute, Class: "timeout", Message: "slow"}, jobRow{State: jobs.Retrying, Attempt: 1, ErrorClass: "timeout", Error: "slow"}},
		{jobs.End{State: jobs.Retrying, RefundAttempt: true}, jobRow{State: jobs.Retrying, Attempt: 0}},
		{jobs.End{State: jobs.Failed, Class: "moderated", Message: "nul \x00 and \xff"}, jobRow{State: jobs.Failed, Attempt: 1, ErrorClass: "moderated", Error: "nul ␀ and \uFFFD"}},
		{jobs.End{State: jobs.Unknown, Class: "timeout"}, jobRow{State: jobs.Unknown, Attempt: 1, ErrorClass: "timeout"}},
		{jobs.End{State: jobs.Expired}, jobRow{State: jobs.Expired, Attempt: 1}},
	} {
		j := w.running(t, nil)
		c.end.JobID, c.end.LeaseToken = j.ID, j.LeaseToken
		if got, err := w.End(ctx, c.end); got != c.end.State || err != nil {
			t.Errorf("%s, %v, want %s", got, err, c.end.State)
		}
		w.unchanged(t, "ending it twice", func() {
			if got, err := w.End(ctx, c.end); got != c.end.State || err != nil {
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
	w := newWorld(t)
	j := w.running(t, nil)
	priced, unpriced := w.sent(t, j, nano(9)), w.sent(t, j, nil)
	end := jobs.End{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Failed, Class: "panic"}
	for range 2 {
		if _, err := w.End(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.job(t, j.ID); got.CostNano != 9 || got.Unpriced != 1 {
		t.Errorf("%+v", got)
	}
	for _, c := range []jobs.Call{priced, unpriced} {
		if got := w.attempt(t, c.AttemptID); got.State != "unknown" {
			t.Errorf("%+v", got)
		}
	}
	w.holds(t)
}

func TestTextThatPostgresRefusesIsStoredSanitisedWithItsRawBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	const bad = "nul \x00, bad \xff\xc0\x80, surrogate \xed\xa0\x80, good ü€😀"
	const want = "nul ␀, bad \uFFFD, surrogate \uFFFD, good ü€😀"
	raw := []byte("{\"text\":\"\\u0000\\ud800\"}\x00\xff")

	failing := w.running(t, nil)
	c := w.sent(t, failing, nil)
	err := w.SettleCall(ctx, jobs.Settlement{
		AttemptID: c.AttemptID, Outcome: jobs.CallUnknown, Kind: providers.Timeout, Message: bad, RequestID: bad, Body: raw,
		Usage: providers.Usage{Variant: bad, InputTokens: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.attempt(t, c.AttemptID); got.Error != want || got.RequestID != want {
		t.Errorf("%+v", got)
	}
	var body []byte
	if err := w.sql.QueryRow(ctx, `SELECT error_body FROM attempts WHERE id = $1`, c.AttemptID).Scan(&body); err != nil || !bytes.Equal(body, raw) {
		t.Errorf("%q, %v", body, err)
	}

	j := w.running(t, nil)
	done := success(j, w.sent(t, j, nil), nil)
	done.Settlement.RequestID = bad
	done.Response = providers.Response{Provider: "mock", Model: bad, Text: bad, FinishReason: bad, RequestID: bad, Raw: raw, Status: 200, Usage: providers.Usage{Variant: bad}}
	if err := w.Succeed(ctx, done); err != nil {
		t.Fatal(err)
	}
	var text, model, reason, id string
	var sum []byte
	err = w.sql.QueryRow(ctx, `SELECT text, model, finish_reason, request_id, raw, raw_sha256 FROM results WHERE job_id = $1`, j.ID).
		Scan(&text, &model, &reason, &id, &body, &sum)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{want, want, want, want}, []string{text, model, reason, id}); diff != "" {
		t.Error(diff)
	}
	if wantSum := sha256.Sum256(raw); !bytes.Equal(body, raw) || !bytes.Equal(sum, wantSum[:]) {
		t.Errorf("raw %q, hash %x", body, sum)
	}
}

func TestOnePoisonOperationDoesNotHarmItsNeighbours(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	const n, poison = 60, 17
	all := make([]*jobs.Job, n)
	for i, d := range w.accept(t, n, nil) {
		all[i] = w.mustClaim(t, d)
	}
	calls := make([]jobs.Call, n)
	together(n, func(i int) {
		calls[i] = callOf(all[i], nano(10))
		if i == poison {
			calls[i].Model = "\x00" // text does not take it
		}
		if err := w.BeginCall(ctx, w.worker, calls[i]); (err == nil) != (i != poison) {
			t.Errorf("begin %d: %v", i, err)
		}
	})
	calls[poison].Model = "m"
	if err := w.BeginCall(ctx, w.worker, calls[poison]); err != nil {
		t.Fatal(err)
	}
	together(n, func(i int) {
		s := jobs.Settlement{AttemptID: calls[i].AttemptID, Outcome: jobs.CallFailedBilled, Cost: nano(10)}
		if i == poison {
			s.Cost = nano(-1) // a CHECK refuses it
		}
		if err := w.SettleCall(ctx, s); (err == nil) != (i != poison) {
			t.Errorf("settle %d: %v", i, err)
		}
	})
	together(n, func(i int) {
		if i%2 == 0 {
			done := success(all[i], w.sent(t, all[i], nano(5)), nano(5))
			if i == poison+1 {
				done.Artifacts = []jobs.Artifact{{MIME: "image/png", Size: 0}} // a CHECK refuses it
			}
			if err := w.Succeed(ctx, done); (err == nil) != (i != poison+1) {
				t.Errorf("succeed %d: %v", i, err)
			}
			return
		}
		e := jobs.End{JobID: all[i].ID, LeaseToken: all[i].LeaseToken, State: jobs.Failed, Class: "moderated"}
		if i == poison {
			e.Class = "" // a CHECK refuses it
		}
		if _, err := w.End(ctx, e); (err == nil) != (i != poison) {
			t.Errorf("end %d: %v", i, err)
		}
	})
	if got := w.count(t, `SELECT count(*) FROM jobs WHERE state = 'running'`); got != 2 {
		t.Errorf("%d jobs have not ended, want the two poisoned ones", got)
	}
	w.holds(t)
}

func TestALateSettlementThatMeetsATakeOverCorrectsIt(t *testing.T) {
	t.Parallel()
	for name, settle := range map[string]func(*world, *jobs.Job, jobs.Call) error{
		"a failure": func(w *world, _ *jobs.Job, c jobs.Call) error {
			return w.SettleCall(t.Context(), jobs.Settlement{AttemptID: c.AttemptID, Outcome: jobs.CallFailedBilled, Cost: nano(30)})
		},
		"a success": func(w *world, j *jobs.Job, c jobs.Call) error {
			if err := w.Succeed(t.Context(), success(j, c, nano(30))); err != nil && !errors.Is(err, jobs.ErrLeaseLost) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx := t.Context()
			j := w.running(t, nil)
			c := w.sent(t, j, nano(100))
			// A take-over has marked the call but has not committed yet.
			tx, err := w.sql.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{
				`UPDATE attempts SET state = 'unknown', cost_nano = 100, finished_at = now()`,
				`UPDATE jobs SET state = 'queued', gen = gen + 1, cost_nano = 100, lease_token = NULL, worker_id = NULL`,
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
			if got := w.attempt(t, c.AttemptID); got.State == "unknown" || *got.Cost != 30 {
				t.Errorf("the call stays %s at %d nano-USD, although its outcome is known", got.State, *got.Cost)
			}
			w.holds(t)
		})
	}
}

func TestTwoAnswersToAJobInOneCommitAreBothCharged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
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
	if _, err := tx.Exec(ctx, `SELECT FROM attempts WHERE id = $1 FOR UPDATE`, first.AttemptID); err != nil {
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

func TestProgressAndTotalsSayWhatTheLedgerSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	d := w.batch(t, "b", 4)
	j := w.mustClaim(t, d[0])
	done := success(j, w.sent(t, j, nano(10)), nano(10))
	done.Settlement.Usage = providers.Usage{InputTokens: 5, OutputTokens: 6}
	if err := w.Succeed(ctx, done); err != nil {
		t.Fatal(err)
	}
	failed := w.mustClaim(t, d[1])
	w.sent(t, failed, nil)
	if _, err := w.End(ctx, jobs.End{JobID: failed.ID, LeaseToken: failed.LeaseToken, State: jobs.Failed, Class: "moderated", Message: "no"}); err != nil {
		t.Fatal(err)
	}
	w.mustClaim(t, d[2])
	p, err := w.Progress(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	if p.Total() != 4 || p.Done() != 2 || p.Failures() != 1 || p.Cost != 10 || p.Unpriced != 1 || p.Counts[jobs.Running] != 1 || p.Finished() {
		t.Errorf("%+v", p)
	}
	totals, err := w.Totals(ctx, "b")
	if diff := cmp.Diff(jobs.Totals{Calls: 2, InputTokens: 5, OutputTokens: 6}, totals); diff != "" || err != nil {
		t.Error(diff, err)
	}
	one, err := w.Progress(ctx, d[1].ID.String())
	if err != nil || one.State != string(jobs.Failed) || one.ErrorClass != "moderated" || one.ErrorMessage != "no" || one.FinishedAt.IsZero() {
		t.Errorf("%+v, %v", one, err)
	}
	for _, id := range []string{"none", jobs.NewID().String()} {
		if _, err := w.Progress(ctx, id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func FuzzSanitisedTextIsTakenAndReadable(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x00", "\xff\xfe", "\xed\xa0\x80", "a\x00b\xc3", "😀", "\uFFFD"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := store.Sanitise(text)
		if !valid(got) {
			t.Errorf("%q became %q, which Postgres refuses", text, got)
		}
		if valid(text) && got != text {
			t.Errorf("%q was changed to %q for nothing", text, got)
		}
		if again := store.Sanitise(got); again != got {
			t.Errorf("%q became %q, then %q", text, got, again)
		}
	})
}

// valid is what Postgres takes, said in another way than the code says it: what
// is not UTF-8 does not survive the way to code points and back.
func valid(text string) bool {
	return !strings.Contains(text, "\x00") && string([]rune(text)) == text
}
