package store_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/store"
)

// What is sent at the same time from many places never exceeds a budget, and each call that
// fits is made: 200 calls at once over four connections, of which a fifth fails for nothing and a few are
// left behind by a worker that dies, whatever the money is kept in and however many jobs
// share a call.
func TestManyAtOnceUseABudgetUpAndNeverExceedIt(t *testing.T) {
	t.Parallel()
	tagged := func(t *testing.T, w *database) {
		t.Helper()
		must(t, w.OpenBatch(t.Context(), jobs.Batch{ID: "b", Account: "default", Tags: map[string]string{"tëam": `it's "us"`}}))
	}
	const fit, price = 100, 7
	const spare = price - 1 // one nano-dollar less than one more needs
	scoped := func(scope billing.Scope, spare billing.NanoUSD) func(*testing.T, *database) billing.Budget {
		return func(t *testing.T, w *database) billing.Budget {
			t.Helper()
			return w.budget(t, billing.Budget{Scope: scope, Period: billing.Total, Limit: fit*price + spare, Blocks: true})
		}
	}
	carded := func(t *testing.T, w *database) billing.Budget {
		t.Helper()
		const due = 11 // 10.5, halves up
		w.credited(t, "default", fit*due, &billing.Card{Name: "resale", Markup: "1.5"})
		return w.wallet(t, "default")
	}
	for name, c := range map[string]struct {
		budget func(*testing.T, *database) billing.Budget
		pack   int
	}{
		"a budget":                            {scoped(billing.Scope{Provider: "mock"}, 0), 1},
		"a budget, packed calls":              {scoped(billing.Scope{Account: "default"}, spare), 3},
		"a tag":                               {scoped(billing.Scope{Tag: `tëam=it's "us"`}, spare), 1},
		"a tag, packed calls":                 {scoped(billing.Scope{Tag: `tëam=it's "us"`}, 0), 3},
		"a batch":                             {scoped(billing.Scope{Batch: "b"}, spare), 1},
		"a wallet with a rate card":           {carded, 1},
		"a wallet with a rate card, combined": {carded, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			w.exec(t, referee)
			tagged(t, w)
			b := c.budget(t, w)
			used := manyAtOnce(t, w, b.ID, c.pack, 2*fit, price)
			if got := w.money(t, b.ID); used != fit || b.Limit-got.Spent > spare || got.Reserved != 0 {
				t.Errorf("%d calls were paid, spent %d, reserved %d: want %d, nearly %d and 0", used, got.Spent, got.Reserved, fit, b.Limit)
			}
			w.noFoul(t)
			w.holds(t)
		})
	}
}

// manyAtOnce has n goroutines make calls of a price for so many jobs each of the batch b until the budget is used up, and
// returns how many have cost something.
func manyAtOnce(t *testing.T, w *database, budget int64, pack, n int, price billing.NanoUSD) int {
	t.Helper()
	in := rows(t, n*pack, nil)
	if acc, err := w.AcceptJobs(t.Context(), "b", in, true); err != nil || acc.New != len(in) {
		t.Fatal(acc, err)
	}
	dead := jobs.NewID()
	w.register(t, dead)
	workers := []uuid.UUID{w.worker, w.worker, w.worker, dead}
	stores := []*store.Store{w.Store, openStore(t, w.url), openStore(t, w.url), openStore(t, w.url)}
	held := make([][]*jobs.Job, n)
	for i, d := range deliveries(in, "b") {
		got, err := w.Claim(t.Context(), workers[i/pack%4], jobs.Claim{ID: d.ID, Gen: 1, LeaseToken: jobs.NewID()})
		if err != nil || got.Job == nil {
			t.Fatal(got, err)
		}
		held[i/pack] = append(held[i/pack], got.Job)
	}
	var mu sync.Mutex
	used := 0
	middle := make(chan struct{}) // closed when a fifth of the budget is used
	freed := make(chan struct{})  // closed, and replaced, when the budget may have got room
	pay := func() {
		mu.Lock()
		defer mu.Unlock()
		if used++; used == 20 {
			close(middle)
		}
	}
	room := func() <-chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		return freed
	}
	free := func() {
		mu.Lock()
		defer mu.Unlock()
		close(freed)
		freed = make(chan struct{})
	}
	call := func(i int) (jobs.Call, error) {
		c, _ := packOf(held[i], nano(int64(price)), nil, func(int) int { return 1 })
		return c, stores[i%4].BeginCall(t.Context(), workers[i%4], c)
	}
	for _, i := range []int{3, 7, 11} { // which a worker that dies leaves behind: nobody knows what came of them, so that they are charged
		if _, err := call(i); err != nil {
			t.Fatal(err)
		}
		pay()
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		<-middle
		for i, of := range held {
			if i%4 != 3 {
				continue
			}
			for _, j := range of {
				w.exec(t, `UPDATE job_states SET cancel_requested_at = now() WHERE job_id = $1`, j.ID) // it makes no other call
			}
		}
		if _, err := w.TakeOver(t.Context(), dead); err != nil {
			t.Error(err)
		}
		free()
	}()
	var late atomic.Int64 // those of the dead worker that may still give back what the takeover charged
	late.Store(int64(n/4 - 3))
	together(n, func(i int) {
		if i == 3 || i == 7 || i == 11 {
			return
		}
		s, fails, dies := stores[i%4], rand.N(5) == 0, i%4 == 3
		if dies {
			defer func() {
				late.Add(-1)
				free()
			}()
		}
		for {
			again := room()
			final := dies || late.Load() == 0
			call, err := call(i)
			_, ended := errors.AsType[*jobs.PackError](err)
			switch refused, ok := errors.AsType[*jobs.BudgetError](err); {
			case ok && refused.Budget.Reserved == 0 && final:
				return // nothing under way gives anything back
			case ok:
				<-again
				continue
			case ended || errors.Is(err, jobs.ErrCancelled) || errors.Is(err, jobs.ErrLeaseLost):
				return
			case err != nil:
				t.Error(err)
				return
			}
			done := jobs.Settlement{CallID: call.CallID, Outcome: jobs.CallFailedBilled, Cost: &price, Latency: 1, Packed: len(held[i]) > 1}
			if fails {
				if dies {
					<-over // it answers after all, when the takeover has charged the call
				}
				done.Outcome, done.Cost, fails = jobs.CallFailedUnbilled, nano(0), false
			}
			if err := s.SettleCall(t.Context(), done); err != nil {
				t.Error(err)
				return
			}
			free()
			if done.Outcome == jobs.CallFailedBilled {
				pay()
				return
			}
		}
	})
	<-over
	return used
}
