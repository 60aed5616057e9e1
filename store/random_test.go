package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

// referee notes every transition that the state machine does not have, and every
// change of a row that has ended.
const referee = `
	CREATE TABLE foul (what text);
	CREATE FUNCTION referee() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF OLD.state = 'unknown' AND NEW.state IN ('succeeded', 'failed') AND NEW.gen = OLD.gen
			OR OLD.state IN ('failed', 'unknown', 'expired') AND NEW.state = 'queued' AND NEW.gen = OLD.gen + 1 AND NEW.retry_gen = NEW.gen THEN
			RETURN NEW;
		ELSIF OLD.finished_at IS NOT NULL AND to_jsonb(OLD) - '{cost_nano,charge_nano,unpriced_calls}'::text[]
			<> to_jsonb(NEW) - '{cost_nano,charge_nano,unpriced_calls}'::text[] THEN
			INSERT INTO foul VALUES ('changed after its end: ' || OLD.state || ' -> ' || NEW.state);
		ELSIF OLD.state <> NEW.state AND NOT (OLD.state || ' ' || NEW.state) = ANY (ARRAY[
			'scheduled running', 'scheduled cancelled', 'scheduled expired',
			'queued running', 'queued cancelled', 'queued expired', 'queued scheduled',
			'retrying running', 'retrying cancelled', 'retrying expired',
			'queued succeeded', 'retrying succeeded', 'scheduled succeeded', -- by a late answer
			'running succeeded', 'running failed', 'running cancelled', 'running expired', 'running unknown',
			'running retrying', 'running queued']) THEN
			INSERT INTO foul VALUES (OLD.state || ' -> ' || NEW.state);
		ELSIF NEW.gen < OLD.gen OR NEW.gen > OLD.gen + 1 THEN
			INSERT INTO foul VALUES ('generation ' || OLD.gen || ' -> ' || NEW.gen);
		ELSIF OLD.state = 'running' AND NEW.state = 'running' AND OLD.lease_token <> NEW.lease_token THEN
			INSERT INTO foul VALUES ('a lease was taken from its holder without a new generation');
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER referee BEFORE UPDATE ON job_states FOR EACH ROW EXECUTE FUNCTION referee();
	CREATE FUNCTION call_referee() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF OLD.state = 'unknown' AND NEW.state <> 'unknown' AND NEW.corrected_at IS NULL THEN
			INSERT INTO foul VALUES ('a call was corrected in silence');
		ELSIF OLD.state IN ('failed_unbilled', 'failed_billed') AND OLD.latency_ms IS NULL AND NEW.latency_ms IS NOT NULL THEN
			RETURN NEW; -- a person has settled it, and its holder knows better
		ELSIF OLD.state NOT IN ('running', 'unknown') THEN
			INSERT INTO foul VALUES ('a settled call was settled again: ' || OLD.state || ' -> ' || NEW.state);
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER referee BEFORE UPDATE ON calls FOR EACH ROW EXECUTE FUNCTION call_referee();
	CREATE FUNCTION money_referee() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.blocks AND NEW.reserved_nano > OLD.reserved_nano AND NEW.spent_nano::numeric + NEW.reserved_nano > NEW.limit_nano
			AND NEW.changed_at <> now() THEN -- one that is being set counts what is under way
			INSERT INTO foul VALUES ('a call was let through above a budget');
		ELSIF NEW.spent_nano < 0 OR NEW.reserved_nano < 0 THEN
			INSERT INTO foul VALUES ('a budget has spent or reserved less than nothing');
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER referee BEFORE UPDATE ON budgets FOR EACH ROW EXECUTE FUNCTION money_referee()`

// player is one of many who do legal and illegal things to the same jobs.
type player struct {
	w      *database
	store  *store.Store
	rand   *rand.Rand
	shared *board
	money  bool // sets budgets and pays into wallets, too
}

// board holds what the players know of each other's claims and calls.
type board struct {
	mu      sync.Mutex
	workers []uuid.UUID
	ids     []uuid.UUID
	leases  []*jobs.Job
	calls   []openedCall
	past    []func(*store.Store) error
	holders sync.Map // by lease token: a holder does one thing at a time, as its goroutine would
}

// hold waits until nobody else acts under a lease.
func (b *board) hold(token uuid.UUID) (release func()) {
	mu, _ := b.holders.LoadOrStore(token, new(sync.Mutex))
	mu.(*sync.Mutex).Lock()
	return mu.(*sync.Mutex).Unlock
}

type openedCall struct {
	job  *jobs.Job
	call jobs.Call
}

func (b *board) add(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// some returns a random one of a list of the board.
func some[T any](p *player, from *[]T) (v T, ok bool) {
	p.shared.mu.Lock()
	defer p.shared.mu.Unlock()
	if len(*from) == 0 {
		return v, false
	}
	// Rather a recent one: the old ones are mostly stale.
	n := len(*from)
	if p.rand.IntN(4) > 0 {
		n = min(n, 30)
	}
	return (*from)[len(*from)-1-p.rand.IntN(n)], true
}

// do runs one operation and keeps it, to be done once more later.
func (p *player) do(op func(*store.Store) error) error {
	if p.rand.IntN(3) == 0 {
		p.shared.add(func() { p.shared.past = append(p.shared.past, op) })
	}
	return op(p.store)
}

func (p *player) move(ctx context.Context) error {
	b := p.shared
	most := 106
	if p.money {
		most = 130
	}
	switch k := p.rand.IntN(most); {
	case k >= 106:
		return p.spend(ctx)
	case k >= 100:
		return p.pack(ctx)
	case k < 30:
		b.mu.Lock()
		id := b.ids[p.rand.IntN(len(b.ids))]
		b.mu.Unlock()
		worker, _ := some(p, &b.workers)
		c := jobs.Claim{ID: id, Gen: []int{1, 1, 1, 1, 2, 2, 3, 3, 4}[p.rand.IntN(9)], LeaseToken: jobs.NewID()}
		if p.rand.IntN(2) == 0 {
			return p.start(ctx, worker, c)
		}
		return p.do(func(s *store.Store) error {
			defer b.hold(c.LeaseToken)()
			got, err := s.Claim(ctx, worker, c)
			if got.Job != nil {
				b.add(func() { b.leases = append(b.leases, got.Job) })
			}
			return err
		})
	case k < 55:
		j, ok := some(p, &b.leases)
		if !ok {
			return nil
		}
		worker, _ := some(p, &b.workers)
		c := callOf(j, nano(p.rand.Int64N(100)))
		c.Task, c.Units = []providers.Task{providers.Text, providers.Image}[p.rand.IntN(2)], p.rand.Int64N(10)
		if p.rand.IntN(5) == 0 {
			c.Reserved = nil
		}
		if p.rand.IntN(5) == 0 {
			c.Timeout = time.Millisecond
		}
		return p.do(func(s *store.Store) error {
			defer b.hold(c.LeaseToken)()
			err := s.BeginCall(ctx, worker, c)
			if err == nil {
				b.add(func() { b.calls = append(b.calls, openedCall{j, c}) })
			}
			return err
		})
	case k < 65:
		c, ok := some(p, &b.calls)
		if !ok {
			return nil
		}
		s := jobs.Settlement{CallID: c.call.CallID, Outcome: jobs.CallUnknown}
		switch p.rand.IntN(3) {
		case 0:
			s.Outcome, s.Cost = jobs.CallFailedUnbilled, nano(0)
		case 1:
			s.Outcome = jobs.CallFailedBilled
			s.Kind = []providers.Kind{providers.Timeout, providers.OffSchema, providers.Cut}[p.rand.IntN(3)] // the last two are asked anew
			if p.rand.IntN(3) > 0 {
				s.Cost = nano(p.rand.Int64N(100))
			}
		}
		return p.do(func(st *store.Store) error {
			defer b.hold(c.job.LeaseToken)()
			return st.SettleCall(ctx, s)
		})
	case k < 73:
		j, ok := some(p, &b.leases)
		if !ok {
			return nil
		}
		var keep *jobs.Keep
		if p.rand.IntN(3) > 0 && p.child(j) == nil { // the worker leaves the cache out where a step follows
			key := jobs.CacheKey{byte(p.rand.IntN(answered + 2))}
			release := b.hold(j.LeaseToken)
			found, err := p.store.LookUp(ctx, jobs.Look{Key: key, JobID: j.ID, LeaseToken: j.LeaseToken, Account: "default", Provider: "mock", Model: "m", For: 24 * time.Hour})
			release()
			if err != nil || found == jobs.CacheHit || found == jobs.CacheFollow {
				return err
			}
			if keep = (&jobs.Keep{Key: key, For: []time.Duration{50 * time.Millisecond, time.Hour}[p.rand.IntN(2)]}); p.rand.IntN(3) == 0 {
				return p.store.Release(ctx, key, j.LeaseToken)
			}
		}
		// A call that nobody else knows of, so that it has not failed before.
		c := callOf(j, nano(50))
		worker, _ := some(p, &b.workers)
		release := b.hold(c.LeaseToken)
		err := p.store.BeginCall(ctx, worker, c)
		release()
		if err != nil {
			return err
		}
		done := success(j, c, nano(p.rand.Int64N(100)))
		done.Settlement.Units = p.rand.Int64N(10)
		done.Artifacts = []jobs.Artifact{{MIME: "image/png", Size: 1, URL: "file:///x"}}
		done.Child = p.child(j)
		done.Cache = keep
		return p.do(func(s *store.Store) error {
			defer b.hold(c.LeaseToken)()
			return s.Succeed(ctx, done)
		})
	case k < 82:
		j, ok := some(p, &b.leases)
		if !ok {
			return nil
		}
		e := jobs.Completion{
			JobID: j.ID, LeaseToken: j.LeaseToken, Class: "timeout", RefundAttempt: p.rand.IntN(3) == 0,
			State: []jobs.State{jobs.Queued, jobs.Retrying, jobs.Queued, jobs.Retrying, jobs.Failed, jobs.Expired, jobs.Cancelled, jobs.Unknown}[p.rand.IntN(8)],
		}
		return p.do(func(s *store.Store) error {
			defer b.hold(e.LeaseToken)()
			_, err := s.Complete(ctx, e)
			return err
		})
	case k < 84:
		worker, _ := some(p, &b.workers)
		_, err := p.store.TakeOver(ctx, worker)
		return err
	case k < 88:
		// The answer of any call, whatever has become of its job.
		c, ok := some(p, &b.calls)
		if !ok {
			return nil
		}
		done := success(c.job, c.call, nano(p.rand.Int64N(100)))
		done.Settlement.Units = p.rand.Int64N(10)
		done.Child = p.child(c.job)
		return p.do(func(s *store.Store) error {
			defer b.hold(c.job.LeaseToken)()
			return s.Succeed(ctx, done)
		})
	case k < 89:
		id, _ := some(p, &b.ids)
		_, err := p.store.Retry(ctx, id.String(), []jobs.State{jobs.Failed, jobs.Unknown, jobs.Expired}[:1+p.rand.IntN(3)], "")
		return err
	case k < 90:
		id, _ := some(p, &b.ids)
		r := store.Resolution{Billed: p.rand.IntN(2) == 0, Retry: p.rand.IntN(2) == 0}
		if r.Billed && p.rand.IntN(2) == 0 {
			r.Cost = nano(p.rand.Int64N(100))
		}
		_, err := p.store.Resolve(ctx, id.String(), r)
		return err
	case k < 91:
		_, err := p.store.TakeOverdue(ctx, 0)
		return err
	case k < 92:
		id, _ := some(p, &b.ids)
		_, err := p.store.Cancel(ctx, id.String())
		return err
	case k < 94:
		if p.rand.IntN(4) == 0 {
			return p.store.ForgetCached(ctx)
		}
		_, err := p.store.SweepCancelled(ctx)
		if err == nil {
			_, err = p.store.ExpireOverdue(ctx)
		}
		return err
	case k < 95:
		marked, _, err := p.store.TopUp(ctx, jobs.Queue{Provider: "mock", Lane: jobs.Default}, 10)
		if err == nil && p.rand.IntN(3) == 0 {
			err = p.store.Undispatch(ctx, marked)
		}
		if err == nil && p.rand.IntN(3) == 0 {
			_, err = p.store.Redispatch(ctx, marked)
		}
		return err
	}
	if p.rand.IntN(10) == 0 {
		_, err := p.store.EndBatches(ctx)
		return err
	}
	again, ok := some(p, &b.past)
	if !ok {
		return nil
	}
	return again(p.store)
}

// start claims a job with its first call, whatever has become of it since it was looked at.
func (p *player) start(ctx context.Context, worker uuid.UUID, c jobs.Claim) error {
	list, err := p.store.Untouched(ctx, []jobs.Claim{c})
	if err != nil || len(list) == 0 {
		return err
	}
	j := &list[0]
	j.LeaseToken = c.LeaseToken
	call := callOf(j, nano(p.rand.Int64N(100)))
	call.Gen, call.Units = c.Gen, p.rand.Int64N(10)
	return p.do(func(s *store.Store) error {
		defer p.shared.hold(c.LeaseToken)()
		err := s.BeginCall(ctx, worker, call)
		if err == nil {
			p.shared.add(func() {
				p.shared.leases, p.shared.calls = append(p.shared.leases, j), append(p.shared.calls, openedCall{j, call})
			})
		}
		return err
	})
}

// child returns the next step of a job that succeeds: each time another job, of which one
// counts, or one that failed, or none. Of the jobs of the pipeline b1 alone.
func (p *player) child(j *jobs.Job) *jobs.Child {
	if j.BatchID != "b1" {
		return nil
	}
	c := &jobs.Child{Batch: "b1.2.next"}
	row := jobs.New{
		ID: jobs.NewID(), Provider: "mock", Lane: jobs.Default, Request: providers.Request{Task: providers.Text, Model: "m", Prompt: "next"},
	}
	if err := jobs.NewKeys().Assign(&row); err != nil {
		return nil
	}
	row.Key = jobs.ChildKey(j.ID, "")
	switch p.rand.IntN(4) {
	case 0: // left out
	case 1:
		c.New, c.Class, c.Message = &row, "refused", "no template"
	default:
		c.New = &row
		p.shared.add(func() { p.shared.ids = append(p.shared.ids, row.ID) })
	}
	return c
}

// answered is the number of requests that the cache has an answer to from the beginning; of two
// more it has none.
const answered = 4

func TestNoOrderOfOperationsBreaksTheStateMachineOrTheBill(t *testing.T) {
	t.Parallel()
	t.Run("jobs", func(t *testing.T) {
		t.Parallel()
		playing(t, false)
	})
	t.Run("jobs, budgets and wallets", func(t *testing.T) {
		t.Parallel()
		playing(t, true)
	})
}

// noFoul fails with what the referee has noted.
func (w *database) noFoul(t *testing.T) {
	t.Helper()
	for _, foul := range list[string](t, w, `SELECT to_jsonb(what || ', ' || count(*) || ' times') FROM foul GROUP BY what`) {
		t.Error(foul)
	}
}

// playing lets many players do legal and illegal things at once.
func playing(t *testing.T, money bool) {
	t.Helper()
	w := newDatabase(t)
	ctx := t.Context()
	w.exec(t, referee)
	// A zombie's settlement and a take-over may lock the same rows in another
	// order: Postgres' own second would make this slow.
	w.exec(t, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''20ms''', current_database()); END $$`)
	const players, moves = 16, 220
	stores := []*store.Store{openStore(t, w.url), openStore(t, w.url)}
	b := &board{workers: []uuid.UUID{jobs.NewID(), jobs.NewID(), jobs.NewID()}}
	for _, id := range b.workers {
		w.register(t, id)
	}
	err := w.OpenBatch(ctx, jobs.Batch{ID: "b1", Account: "default", Webhook: "https://example.com", PerJob: true, Steps: []jobs.Step{
		{Batch: "b1", Name: "first", Definition: []byte("{}")}, {Batch: "b1.2.next", Name: "next", Definition: []byte("{}")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		for _, d := range w.batch(t, fmt.Sprint("b", i), 40) {
			b.ids = append(b.ids, d.ID)
		}
	}
	if err := w.SealBatch(ctx, "b1"); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `UPDATE jobs SET on_unknown = 'fail' WHERE seq % 3 = 0`)
	w.exec(t, `UPDATE jobs SET max_provider_calls = 4 WHERE seq % 4 = 0`)
	w.exec(t, `UPDATE job_states SET deadline = now() + interval '1 second' WHERE job_id IN (SELECT id FROM jobs WHERE seq % 10 = 0)`)
	w.exec(t, `
		UPDATE job_states SET state = 'scheduled' WHERE job_id IN (SELECT id FROM jobs WHERE seq % 7 = 0);
		UPDATE job_queue SET run_at = now() + interval '500 milliseconds' WHERE seq % 7 = 0;
		UPDATE jobs j SET run_at = q.run_at FROM job_queue q WHERE q.job_id = j.id AND j.seq % 7 = 0`)
	for key := range answered {
		j := w.running(t, nil)
		c := callOf(j, nano(50))
		_, err := w.LookUp(ctx, jobs.Look{
			Key: jobs.CacheKey{byte(key)}, JobID: j.ID, LeaseToken: j.LeaseToken, Account: "default", Provider: "mock", Model: "m", For: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.BeginCall(ctx, w.worker, c); err != nil {
			t.Fatal(err)
		}
		done := success(j, c, nano(20))
		done.Cache = &jobs.Keep{Key: jobs.CacheKey{byte(key)}, For: time.Hour}
		if err := w.Succeed(ctx, done); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	together(players, func(i int) {
		p := &player{w: w, store: stores[i%2], rand: rand.New(rand.NewPCG(seed, uint64(i))), shared: b, money: money}
		for move := range moves {
			err := p.move(ctx)
			known := func(want error) bool { return errors.Is(err, want) }
			_, refused := errors.AsType[*jobs.BudgetError](err)
			_, parted := errors.AsType[*jobs.PackError](err)
			if err != nil && !refused && !parted && !slices.ContainsFunc([]error{
				jobs.ErrLeaseLost, jobs.ErrCancelled, jobs.ErrTooManyCalls, jobs.ErrExpired, jobs.ErrBatchCancelled,
				billing.ErrNoBudget, billing.ErrOverdrawn, billing.ErrNoWallet,
				jobs.ErrNotFound, // of a child that another answer has made
			}, known) {
				t.Errorf("an error that no worker knows: %v", err)
			}
			if i == 0 && move == moves/2 {
				if _, err := p.store.Cancel(ctx, "b3"); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if _, err := w.SweepCancelled(ctx); err != nil {
		t.Fatal(err)
	}
	w.holds(t)
	w.noFoul(t)
	states := list[string](t, w, `SELECT to_jsonb(state || ' ' || count(*)) FROM job_states GROUP BY state ORDER BY state`)
	hits := w.count(t, `SELECT count(*) FROM results WHERE cached`)
	t.Logf("%v after %d calls, %d answers from the cache", states, w.count(t, `SELECT count(*) FROM calls`), hits)
	packed := w.count(t, `SELECT count(*) FROM calls c WHERE state = 'succeeded' AND (SELECT count(*) FROM call_jobs WHERE call_id = c.id) > 1`)
	t.Logf("%d calls answered several jobs", packed)
	if hits == 0 {
		t.Errorf("%d answers from the cache: this shows little", hits)
	}
	if len(states) < 6 {
		t.Errorf("only the states %v were reached: this shows little", states)
	}
	// Whatever happened, nothing is lost: what is not finished can still run.
	for _, id := range b.workers {
		if _, err := w.TakeOver(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	w.holds(t)
	untold := w.count(t, `
		SELECT count(*)
		FROM job_states s
		WHERE finished_at IS NOT NULL AND batch_id LIKE 'b1%'
		AND NOT EXISTS (SELECT FROM webhook_events e WHERE e.subject = s.job_id::text AND e.type = 'job.' || s.state)`)
	t.Logf("%d jobs have a child, %d were left out", w.count(t, `SELECT count(child_id) FROM step_links`), w.count(t, `SELECT count(*) FROM step_links WHERE child_id IS NULL`))
	if untold != 0 {
		t.Errorf("%d jobs have ended and nobody is told", untold)
	}
	if n := w.count(t, `SELECT count(*) FROM job_states WHERE finished_at IS NULL AND (state NOT IN ('scheduled', 'queued', 'retrying') OR lease_token IS NOT NULL)`); n != 0 {
		t.Errorf("%d jobs can neither run nor have they ended", n)
	}
}
