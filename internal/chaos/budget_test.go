//go:build chaos

package chaos

import (
	"context"
	"sync"
	"time"

	"oneflow/billing"
	"oneflow/store"
)

// exhaustBudget has four workers, of which one is killed, spend a budget and a wallet
// that do not last for all jobs, at a provider that fails a fifth of the calls. Whatever
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
	watch, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for watch.Err() == nil {
			x.noOverdraft(ctx, db)
			x.pass(50 * time.Millisecond)
		}
	})
	defer watching.Wait()
	defer stop()

	for range 4 {
		x.worker()
	}
	x.halves(1500)
	x.progressed(time.Minute, 60)
	victim := x.alive()[x.intn(4)]
	x.hurt(x.plan.slots)
	victim.Kill()
	died := time.Now()
	x.recovered(x.takenOver(victim, died))
	used := func(b billing.Budget) bool { return b.Stopped && b.Reserved == 0 }
	x.spent(ctx, db, false, used)
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
	x.spent(ctx, db, true, used)
	x.phase("the wallet is empty")
	if _, err := money.Deposit(ctx, "default", billing.USD, ""); err != nil {
		x.t.Fatal(err)
	}
	x.drained(2 * time.Minute)
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

// spent waits until the budget, or the wallet, is as wanted, and stays so for 3 s.
func (x *experiment) spent(ctx context.Context, db *store.Store, wallet bool, as func(billing.Budget) bool) {
	x.t.Helper()
	since := time.Time{}
	x.until(2*time.Minute, "a budget to be used up", func() bool {
		list, err := db.Budgets(ctx)
		for _, b := range list {
			if err == nil && b.Wallet == wallet && !as(b) {
				since = time.Time{}
			} else if b.Wallet == wallet && since.IsZero() {
				since = time.Now()
			}
		}
		return !since.IsZero() && time.Since(since) > 3*time.Second
	})
}
