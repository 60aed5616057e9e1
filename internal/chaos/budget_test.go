//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"oneflow/billing"
	"oneflow/store"
)

// exhaustBudget has four workers, of which one is killed, spend a budget and a wallet
// with a rate card that do not last for all jobs, at a provider that fails a fifth of the calls. Whatever
// happens, nothing is spent or reserved beyond them, and what fits is sent.
func exhaustBudget(x *experiment) {
	ctx := context.WithoutCancel(x.t.Context())
	db, err := store.Open(ctx, x.DatabaseURL)
	if err != nil {
		x.t.Fatal(err)
	}
	defer db.Close()
	money := billing.NewMoney(db, "chaos")
	limit := billing.USD / 200
	scope := billing.Scope{Provider: "openai"}
	if _, err := money.Set(ctx, billing.Budget{Scope: scope, Period: billing.Total, Limit: limit, Blocks: true}); err != nil {
		x.t.Fatal(err)
	}
	if _, err := money.Deposit(ctx, "default", 2*limit, ""); err != nil {
		x.t.Fatal(err)
	}
	if _, err := money.SetCard(ctx, "default", &billing.Card{Name: "resale", Markup: "1.333333"}); err != nil {
		x.t.Fatal(err)
	}
	defer x.watchBudgets(ctx, db)()

	for range 4 {
		x.worker()
	}
	x.halves(1500)
	x.loseOneOf(4)
	used := func(b billing.Budget) bool { return b.Stopped && b.Reserved == 0 }
	x.spent(ctx, db, 1, false, used)
	x.phase("the budget is used up")
	if n := x.count(`SELECT count(*) FROM job_states WHERE finished_at IS NULL`); n == 0 {
		x.t.Error("all jobs ended within a budget that should not last for them: this shows nothing")
	}
	// What is left is less than one call needs.
	if left, needs := x.count(`SELECT limit_nano - spent_nano FROM budgets WHERE NOT wallet`), x.count(`
		SELECT min(reserved_nano) FROM calls`); left >= needs {
		x.t.Errorf("%d nano-dollars are left, and a call needs %d: not all that fits was sent", left, needs)
	}
	if _, err := money.Set(ctx, billing.Budget{Scope: scope, Period: billing.Total, Limit: billing.USD, Blocks: true}); err != nil {
		x.t.Fatal(err)
	}
	x.spent(ctx, db, 1, true, used)
	x.phase("the wallet is empty")
	if _, err := money.Deposit(ctx, "default", billing.USD, ""); err != nil {
		x.t.Fatal(err)
	}
	x.drained(2 * time.Minute)
}

// loseOneOf kills one of n workers once they are at it, and waits until its jobs are taken over.
func (x *experiment) loseOneOf(n int) {
	x.t.Helper()
	x.progressed(time.Minute, 60)
	victim := x.alive()[x.intn(n)]
	x.hurt(x.plan.slots)
	victim.Kill()
	died := time.Now()
	x.recovered(x.takenOver(victim, died))
}

// watchBudgets looks all the time, until stop, whether more is spent and reserved than there is.
func (x *experiment) watchBudgets(ctx context.Context, db *store.Store) (stop func()) {
	watch, end := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for watch.Err() == nil {
			x.noOverdraft(ctx, db)
			x.pass(50 * time.Millisecond)
		}
	})
	return func() {
		end()
		watching.Wait()
	}
}

// noOverdraft looks whether more is spent and reserved than there is.
func (x *experiment) noOverdraft(ctx context.Context, db *store.Store) {
	list, err := db.Budgets(ctx)
	if err != nil {
		x.t.Error(err)
	}
	for _, b := range list {
		if b.Left() < 0 {
			x.t.Errorf("the %s is exceeded: %d spent and %d reserved of %d", b, b.Spent, b.Reserved, b.Limit)
		}
	}
}

// spent waits until n budgets, or wallets, are as wanted, and stay so for 3 s.
func (x *experiment) spent(ctx context.Context, db *store.Store, n int, wallet bool, as func(billing.Budget) bool) {
	x.t.Helper()
	since := time.Time{}
	x.until(2*time.Minute, "a budget to be used up", func() bool {
		list, err := db.Budgets(ctx)
		there := 0
		for _, b := range list {
			if b.Wallet == wallet && as(b) {
				there++
			}
		}
		switch {
		case err != nil || there < n:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) > 3*time.Second
	})
}

// exhaustExactly has four workers, of which one is killed, spend a budget of exactly 1,000 calls that all cost the
// same, at a provider that fails a fifth of them: 1,000 are paid for, and not a nano-dollar is left.
func exhaustExactly(x *experiment) {
	ctx := context.WithoutCancel(x.t.Context())
	prices := filepath.Join(x.Dir, "prices.json")
	const calls, each = 1000, billing.NanoUSD(5000)
	// What is counted of an answer costs nothing, so that each call costs the same.
	row := func(unit, rate string) string {
		return fmt.Sprintf(`{"id": "openai/flat/%s", "provider": "openai", "match": ["flat"], "unit": %q, "rate": %q, "from": "2026-01-01", "checked": "2026-01-01", "source": "made up"}`, unit, unit, rate)
	}
	list := fmt.Sprintf(`{"prices": [%s, %s, %s, %s]}`, row("calls", "5"), row("input_tokens", "0"), row("cached_input_tokens", "0"), row("output_tokens", "0"))
	if err := os.WriteFile(prices, []byte(list), 0o600); err != nil {
		x.t.Fatal(err)
	}
	x.flat = int64(each)
	x.configure("flat", "prices: "+prices+"\n")
	db, err := store.Open(ctx, x.DatabaseURL)
	if err != nil {
		x.t.Fatal(err)
	}
	defer db.Close()
	money := billing.NewMoney(db, "chaos")
	budget := billing.Budget{Scope: billing.Scope{Provider: "openai"}, Period: billing.Total, Limit: calls * each, Blocks: true}
	if _, err := money.Set(ctx, budget); err != nil {
		x.t.Fatal(err)
	}
	defer x.watchBudgets(ctx, db)()

	for range 4 {
		x.worker()
	}
	x.halves(calls * 3 / 2)
	x.loseOneOf(4)
	x.spent(ctx, db, 1, false, func(b billing.Budget) bool { return b.Stopped && b.Reserved == 0 })
	x.phase("the budget is used up")
	if n := x.count(`SELECT count(*) FROM calls WHERE cost_nano = 5000`); n != calls {
		x.t.Errorf("%d calls were paid for, want %d", n, calls)
	}
	if left := x.count(`SELECT limit_nano - spent_nano FROM budgets`); left != 0 {
		x.t.Errorf("%d nano-dollars are left, want none", left)
	}
	budget.Limit = billing.USD
	if _, err := money.Set(ctx, budget); err != nil {
		x.t.Fatal(err)
	}
	x.drained(2 * time.Minute)
}

// exhaustCaps has four workers, of which one is killed, spend a tag's budget, a batch's
// --max-cost and a batch's --budget, none of which lasts for all of its jobs, at a provider that
// fails a fifth of the calls. None is exceeded at any moment, and what fits is sent.
func exhaustCaps(x *experiment) {
	ctx := context.WithoutCancel(x.t.Context())
	db, err := store.Open(ctx, x.DatabaseURL)
	if err != nil {
		x.t.Fatal(err)
	}
	defer db.Close()
	money := billing.NewMoney(db, "chaos")
	const limit = billing.USD / 500
	scopes := []billing.Scope{{Tag: "kind=tagged"}, {Batch: "most"}, {Batch: "paused"}}
	if _, err := money.Set(ctx, billing.Budget{Scope: scopes[0], Period: billing.Total, Limit: limit, Blocks: true}); err != nil {
		x.t.Fatal(err)
	}
	defer x.watchBudgets(ctx, db)()

	for range 4 {
		x.worker()
	}
	const rows = 500
	x.enqueue("tagged", rows, "retry", "--tag", "kind=tagged")
	// It is refused if it is expected to cost more, so that rows are added afterwards.
	x.enqueue("most", 50, "retry", "--max-cost", limit.String())
	if rep, err := x.tryEnqueue(release, "most", rows, "retry"); err != nil || rep.Accepted != rows-50 {
		x.t.Fatalf("%d of %d further rows were accepted: %v", rep.Accepted, rows-50, err)
	}
	x.enqueue("paused", rows, "fail", "--budget", limit.String())
	x.loseOneOf(4)
	x.spent(ctx, db, len(scopes), false, func(b billing.Budget) bool { return !b.Simulated && b.Stopped && b.Reserved == 0 })
	x.phase("all three are used up")
	needs := x.count(`SELECT min(reserved_nano) FROM calls`)
	list, err := db.Budgets(ctx)
	if err != nil {
		x.t.Fatal(err)
	}
	checked := 0
	for _, b := range list {
		if b.Simulated {
			continue
		}
		checked++
		if left := int64(b.Left()); left < 0 || left >= needs || b.Spent == 0 {
			x.t.Errorf("the %s has %d nano-dollars left, and a call needs %d: not all that fits was sent, or more", b, left, needs)
		}
	}
	if checked != len(scopes) {
		x.t.Errorf("%d budgets, want %d", checked, len(scopes))
	}
	for _, scope := range scopes {
		for _, simulated := range []bool{false, true} {
			scope.Simulated = simulated
			if _, err := money.Set(ctx, billing.Budget{Scope: scope, Period: billing.Total, Limit: billing.USD, Blocks: true}); err != nil {
				x.t.Fatal(err)
			}
		}
	}
	x.drained(2 * time.Minute)
}
