package store_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"oneflow/jobs"
	"oneflow/providers"
)

// takeOver takes the jobs of the database's worker over, and says how many.
func (w *database) takeOver(t *testing.T) int {
	t.Helper()
	n, err := w.TakeOver(t.Context(), w.worker)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestATakenOverJobWaitsForAnotherWorker(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	other := jobs.NewID()
	w.register(t, other)
	idle := w.running(t, nil)
	calling := w.running(t, nil)
	call := w.sent(t, calling, nano(40))
	unpriced := w.running(t, nil)
	w.sent(t, unpriced, nil)
	foreign := w.accept(t, 1, nil)[0]
	if got, err := w.Claim(ctx, other, jobs.Claim{ID: foreign.ID, Gen: 1, LeaseToken: jobs.NewID()}); err != nil || got.Job == nil {
		t.Fatal(got, err)
	}
	if n := w.takeOver(t); n != 3 {
		t.Errorf("took %d jobs, want 3", n)
	}
	want := jobRow{State: jobs.Queued, Gen: 2, Attempt: 1, Crashes: 1}
	for id, cost := range map[uuid.UUID]int64{idle.ID: 0, calling.ID: 40, unpriced.ID: 0} {
		want.CostNano, want.Unpriced = cost, 0
		if id == unpriced.ID {
			want.Unpriced = 1
		}
		if diff := cmp.Diff(want, w.job(t, id)); diff != "" {
			t.Error(diff)
		}
	}
	if got := w.call(t, call.CallID); got.State != "unknown" || got.ErrorKind != "worker_died" || *got.Cost != 40 {
		t.Errorf("%+v", got)
	}
	if got := w.job(t, foreign.ID); got.State != jobs.Running {
		t.Errorf("another worker's job is %s", got.State)
	}
	marked := w.topUp(t, 10)
	if len(marked) != 3 {
		t.Errorf("%d to be dispatched again, want 3", len(marked))
	}
	for _, d := range marked {
		if d.Gen != 2 {
			t.Errorf("dispatched as generation %d", d.Gen)
		}
		if j := w.mustClaim(t, d); j.ID == calling.ID && j.Unknowns != 1 {
			t.Errorf("its new holder hears of %d unknown calls", j.Unknowns)
		}
	}
	w.holds(t)
}

func TestAnUnknownOutcomeIsRepeatedOnceAndOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	once := w.running(t, nil)
	w.sent(t, once, nano(1))
	never := w.running(t, func(r *jobs.New) { r.OnUnknown = jobs.FailUnknown })
	w.sent(t, never, nano(1))
	harmless := w.running(t, func(r *jobs.New) { r.OnUnknown = jobs.FailUnknown }) // died before it sent
	w.takeOver(t)
	for j, want := range map[*jobs.Job]jobs.State{once: jobs.Queued, never: jobs.Unknown, harmless: jobs.Queued} {
		if got := w.job(t, j.ID); got.State != want {
			t.Errorf("%s, want %s", got.State, want)
		}
	}
	again := w.mustClaim(t, jobs.Delivery{ID: once.ID, Gen: 2})
	w.sent(t, again, nano(1))
	w.takeOver(t)
	if got := w.job(t, once.ID); got.State != jobs.Unknown || got.ErrorClass != "worker_died" || got.CostNano != 2 {
		t.Errorf("after two unknown calls: %+v", got)
	}
	w.holds(t)
}

// A worker settles a call, and then ends its job: it may die in between.
func TestAJobThatWasAboutToEndForItsCallIsNotSentAgain(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	settled := func(kind providers.Kind, outcome jobs.Outcome, change func(*jobs.New)) *jobs.Job {
		j := w.running(t, change)
		c, cost := w.sent(t, j, nano(9)), nano(5)
		if outcome == jobs.CallFailedUnbilled {
			cost = nano(0)
		}
		err := w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: outcome, Cost: cost, Kind: kind, Message: "said so"})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	fail := func(r *jobs.New) { r.OnUnknown = jobs.FailUnknown }
	jobsOf := map[string]*jobs.Job{
		"billed and unreadable":       settled(providers.Unreadable, jobs.CallFailedBilled, nil),
		"billed for no known reason":  settled(providers.Unknown, jobs.CallFailedBilled, nil),
		"billed and malformed":        settled(providers.MalformedResponse, jobs.CallFailedBilled, nil),
		"unknown where it ends":       settled(providers.Timeout, jobs.CallUnknown, fail),
		"kept nowhere where it ends":  settled("artifact_store", jobs.CallFailedBilled, fail),
		"unknown for the first time":  settled(providers.Timeout, jobs.CallUnknown, nil),
		"kept nowhere the first time": settled("artifact_store", jobs.CallFailedBilled, nil),
		"not billed":                  settled(providers.Overloaded, jobs.CallFailedUnbilled, fail),
	}
	// The useless answer is followed by a call of the same claim that is under way.
	both := settled(providers.Unreadable, jobs.CallFailedBilled, nil)
	w.sent(t, both, nano(9))
	jobsOf["billed, and another under way"] = both
	w.takeOver(t)
	for name, want := range map[string]jobs.State{
		"billed and unreadable": jobs.Failed, "billed and malformed": jobs.Failed, "billed for no known reason": jobs.Failed, "billed, and another under way": jobs.Failed,
		"unknown where it ends": jobs.Unknown, "kept nowhere where it ends": jobs.Unknown,
		"unknown for the first time": jobs.Queued, "kept nowhere the first time": jobs.Queued, "not billed": jobs.Queued,
	} {
		got := w.job(t, jobsOf[name].ID)
		if got.State != want {
			t.Errorf("%s: %s, want %s", name, got.State, want)
		}
		if want == jobs.Failed && (got.ErrorClass == "poison" || got.Error != "said so; it is not sent again") {
			t.Errorf("%s: %q: %q, want the reason of its call", name, got.ErrorClass, got.Error)
		}
	}
	// The second unknown outcome ends it, also where it was settled before its worker died.
	second := w.mustClaim(t, jobs.Delivery{ID: jobsOf["unknown for the first time"].ID, Gen: 2})
	c := w.sent(t, second, nano(9))
	if err := w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallUnknown, Kind: providers.Timeout}); err != nil {
		t.Fatal(err)
	}
	w.takeOver(t)
	if got := w.job(t, second.ID); got.State != jobs.Unknown || got.ErrorClass != string(providers.Timeout) {
		t.Errorf("after its second unknown outcome: %+v", got)
	}
	w.holds(t)
}

func TestAJobOfTooManyCrashesIsQuarantined(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	j := w.running(t, nil)
	for gen := 2; gen <= jobs.MaxCrashes; gen++ {
		w.takeOver(t)
		if got := w.job(t, j.ID); got.State != jobs.Queued || got.Gen != gen {
			t.Fatalf("%+v", got)
		}
		w.mustClaim(t, jobs.Delivery{ID: j.ID, Gen: gen})
	}
	w.takeOver(t)
	if got := w.job(t, j.ID); got.State != jobs.Failed || got.ErrorClass != "poison" || got.Crashes != jobs.MaxCrashes || got.FinishedAt == nil {
		t.Errorf("%+v", got)
	}
}

func TestACancelledJobIsCancelledWhenItIsTakenOver(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	single := w.running(t, nil)
	w.sent(t, single, nano(7))
	inBatch := w.mustClaim(t, w.batch(t, "b", 1)[0])
	for _, id := range []string{single.ID.String(), "b"} {
		if _, err := w.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	w.takeOver(t)
	for _, j := range []*jobs.Job{single, inBatch} {
		if got := w.job(t, j.ID); got.State != jobs.Cancelled || got.FinishedAt == nil {
			t.Errorf("%+v", got)
		}
	}
	if got := w.job(t, single.ID); got.CostNano != 7 {
		t.Errorf("its unknown call costs %d, want 7", got.CostNano)
	}
	w.holds(t)
}

func TestTakingOverTwiceTakesOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	const n = 200
	for _, d := range w.accept(t, n, nil) {
		w.sent(t, w.mustClaim(t, d), nano(1))
	}
	var taken sync.Map
	together(4, func(i int) {
		got, err := w.TakeOver(t.Context(), w.worker)
		if err != nil {
			t.Error(err)
		}
		taken.Store(i, got)
	})
	total := 0
	taken.Range(func(_, v any) bool { total += v.(int); return true })
	if total != n {
		t.Errorf("%d were taken over, want %d", total, n)
	}
	if got := w.count(t, `SELECT count(*) FROM job_states WHERE gen = 2 AND crashes = 1 AND cost_nano = 1`); got != n {
		t.Errorf("%d have generation 2 and one crash, want %d", got, n)
	}
}

func TestNoCallIsBegunBehindATakeOversBack(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	const n, rounds = 150, 8
	second := openStore(t, w.url) // the reconciler is another process
	for range rounds {
		claimed := make([]*jobs.Job, n)
		deliveries := w.accept(t, n, nil)
		together(n, func(i int) {
			got, err := w.Claim(ctx, w.worker, jobs.Claim{ID: deliveries[i].ID, Gen: 1, LeaseToken: jobs.NewID()})
			if err != nil {
				t.Error(err)
			}
			claimed[i] = got.Job
		})
		var begun sync.Map
		together(n+2, func(i int) {
			if i >= n {
				if _, err := second.TakeOver(ctx, w.worker); err != nil {
					t.Error(err)
				}
				return
			}
			c := callOf(claimed[i], nano(1))
			switch err := w.BeginCall(ctx, w.worker, c); {
			case err == nil:
				begun.Store(c.CallID, true)
			case !errors.Is(err, jobs.ErrLeaseLost):
				t.Error(err)
			}
		})
		w.takeOver(t) // those whose rows were locked
		begun.Range(func(id, _ any) bool {
			if got := w.call(t, id.(uuid.UUID)); got.State != "unknown" {
				t.Errorf("a call was begun, its job taken over, and the call is %s", got.State)
			}
			return true
		})
		w.holds(t)
		if t.Failed() {
			return
		}
	}
}

// A take-over that has begun meets a call that is begun: the interleaving that
// the test above hopes for, made certain. A trigger holds the take-over up at its
// first job, until the call of the second has been begun.
func TestATakeOverSeesACallBegunWhileItWasUnderWay(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.exec(t, `
		CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(42);
			RETURN NEW;
		END $$`)
	// Job by job, as for a worker with many of them.
	w.exec(t, `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET enable_hashjoin = off', current_database());
		EXECUTE format('ALTER DATABASE %I SET enable_mergejoin = off', current_database());
	END $$`)
	reconciler := openStore(t, w.url)
	w.exec(t, `CREATE TRIGGER hold_up BEFORE UPDATE ON calls FOR EACH ROW EXECUTE FUNCTION hold_up()`)
	first, second := w.running(t, nil), w.running(t, nil)
	w.sent(t, first, nano(1))

	barrier, err := w.sql.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := barrier.Exec(ctx, `SELECT pg_advisory_xact_lock(42)`); err != nil {
		t.Fatal(err)
	}
	taken := make(chan error, 1)
	go func() {
		_, err := reconciler.TakeOver(ctx, w.worker)
		taken <- err
	}()
	eventually(t, "the take-over is held up", func() bool {
		return w.count(t, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) > 0
	})
	c := callOf(second, nano(1))
	begun := make(chan error, 1)
	go func() { begun <- w.BeginCall(ctx, w.worker, c) }()
	eventually(t, "the call is begun or waits", func() bool {
		return len(begun) > 0 || w.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 1
	})
	if err := barrier.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if err := <-begun; err != nil {
		if !errors.Is(err, jobs.ErrLeaseLost) {
			t.Fatal(err)
		}
	} else if got := w.call(t, c.CallID); got.State != "unknown" {
		t.Errorf("the call was begun, its job taken over, and the call is %s", got.State)
	}
	w.takeOver(t)
	w.holds(t)
}

// A worker that dies with a call that was provably not sent is no reason to suspect its job.
func TestAJobWhoseCallWasNotSentHasNoPartInTheCrash(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	list := w.accept(t, 3, nil)
	unsent, sent, before := w.mustClaim(t, list[0]), w.mustClaim(t, list[1]), w.mustClaim(t, list[2])
	notSent := func(c jobs.Call) {
		must(t, w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallFailedUnbilled, Cost: nano(0), Kind: providers.NotAsked}))
	}
	notSent(w.sent(t, unsent, nano(5)))
	w.sent(t, sent, nano(5))
	notSent(w.sent(t, before, nano(5)))
	w.sent(t, before, nano(5)) // and then one that was
	if _, err := w.TakeOver(t.Context(), w.worker); err != nil {
		t.Fatal(err)
	}
	for j, want := range map[*jobs.Job]string{unsent: "queued 0 0", sent: "queued 1 5", before: "queued 1 5"} {
		var got string
		w.one(t, &got, `SELECT to_jsonb(state || ' ' || crashes || ' ' || cost_nano) FROM job_states WHERE job_id = $1`, j.ID)
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	w.holds(t)
}
