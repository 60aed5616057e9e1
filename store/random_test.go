package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/store"
)

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
			turn := p.move
			switch { // so that there are some of either, whatever chance brings
			case move < 2:
				turn = p.pack
			case move == 2:
				turn = p.lookUp
			}
			err := turn(ctx)
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
	if hits == 0 || packed == 0 {
		t.Errorf("%d answers from the cache, %d calls that answered several jobs: this shows little", hits, packed)
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
