package worker_test

import (
	"strings"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// Each call reserves 100 and costs 10.
func TestJobsThatDoNotFitInABudgetWaitAndGoOnOnceItIsRaised(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	money := billing.NewMoney(f.store, "test")
	b, err := money.Set(t.Context(), billing.Budget{Scope: billing.Scope{Provider: "svc"}, Period: billing.Total, Limit: 350, Blocks: true})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(answers)
	for range 2 {
		f.worker(t, s, func(c *worker.Config) { c.Hasten(time.Second, 100*time.Millisecond, time.Minute) })
	}
	f.enqueue(t, 40, nil)
	// 26 calls: after them 260 are spent, and 90 are left.
	rest := func() int { return f.count(t, `SELECT count(*) FROM job_states WHERE state <> 'succeeded'`) }
	eventually(t, "all that fits was called, and the others wait for money", func() bool {
		return rest() == 14 && f.count(t, `
			SELECT count(*) FROM job_states WHERE state = 'queued' AND attempt = 0 AND starts_with(wait_reason, 'budget: total budget of')`) == 14
	})
	if n := len(s.made()); n != 26 {
		t.Errorf("%d calls were made, want the 26 that fit", n)
	}
	eventually(t, "an alert says what is left, what the next call needs, and how to raise it", func() bool {
		return f.count(t, `SELECT count(*) FROM alerts WHERE kind = 'budget' AND closed_at IS NULL AND level = 100
			AND text LIKE '%does not reach: $0.00000009 is left, and the next call may cost $0.0000001: `+"`monitor budget set --total AMOUNT --provider svc`"+`%'`) == 1
	})
	if b, err = money.Set(t.Context(), billing.Budget{Scope: b.Scope, Period: billing.Total, Limit: 1000, Blocks: true}); err != nil {
		t.Fatal(err)
	}
	f.awaitAll(t, jobs.Succeeded)
	if n := len(s.made()); n != 40 || b.Spent != 260 {
		t.Errorf("%d calls, %d spent when it was raised", n, b.Spent)
	}
	storetest.Invariants(t, f.sql)
}

func TestAnAccountOutOfFundsKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	money := billing.NewMoney(f.store, "test")
	if _, err := money.Deposit(t.Context(), "poor", 0, ""); err != nil {
		t.Fatal(err)
	}
	f.worker(t, serve(answers), func(c *worker.Config) { c.Providers[0].Window = 50 })
	eventually(t, "the worker is there, and its window", func() bool {
		return f.count(t, `SELECT count(*) FROM providers WHERE dispatch_window = 50`) == 1
	})
	f.enqueue(t, 300, func(r *jobs.New) { r.Account = "poor" })
	f.enqueue(t, 20, func(r *jobs.New) { r.Account, r.Request.Prompt = "rich", r.Request.Prompt+" of the rich" })
	eventually(t, "the others are served", func() bool {
		return f.count(t, `SELECT count(*) FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE state = 'succeeded' AND account = 'rich'`) == 20
	})
	if n := f.count(t, `SELECT count(*) FROM calls`); n != 20 {
		t.Errorf("%d calls, want none of the account without funds", n)
	}
	// Redis holds no more of those that cannot run than a window of them.
	if n := f.count(t, `SELECT count(*) FROM job_queue WHERE account = 'poor' AND dispatched_at IS NOT NULL`); n > 60 {
		t.Errorf("%d jobs without funds were dispatched", n)
	}
	if _, err := money.Deposit(t.Context(), "poor", 300*100, "pay day"); err != nil {
		t.Fatal(err)
	}
	f.awaitAll(t, jobs.Succeeded)
	statement, err := f.store.Statement(t.Context(), "poor", 1000)
	if err != nil || len(statement) != 301 || statement[0].Balance != 300*90 {
		t.Errorf("%d rows, %v", len(statement), err)
	}
	storetest.Invariants(t, f.sql)
}

func TestAJobOfAModelWithoutAPriceFailsUnderABudgetAndSaysTheWayOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	if _, err := billing.NewMoney(f.store, "test").Set(t.Context(), billing.Budget{Period: billing.Day, Limit: 1000, Blocks: true}); err != nil {
		t.Fatal(err)
	}
	s := serve(answers)
	f.worker(t, s, func(c *worker.Config) { c.Prices = noPrices{} })
	got := f.await(t, f.enqueue(t, 1, nil)[0], jobs.Failed)
	if got.Class != "unpriced" || !strings.Contains(got.Message, "`worker prices import`") || len(s.made()) != 0 {
		t.Errorf("%+v after %d calls", got, len(s.made()))
	}
}

// An answer may have used what has no price, such as sound: then the call costs what was
// reserved for it, and gives nothing back to its budget.
func TestACallWhoseUsageHasNoPriceCostsWhatItReserved(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	money := billing.NewMoney(f.store, "test")
	b, err := money.Set(t.Context(), billing.Budget{Period: billing.Total, Limit: 350, Blocks: true})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(answers)
	f.worker(t, s, func(c *worker.Config) { c.Prices = onlyBounds{} })
	f.enqueue(t, 5, nil)
	eventually(t, "three calls use the budget up", func() bool {
		return f.count(t, `SELECT count(*) FROM job_states WHERE state = 'succeeded'`) == 3 && f.count(t, `SELECT count(*) FROM job_states WHERE wait_reason <> ''`) == 2
	})
	list, err := f.store.Budgets(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != b.ID || list[0].Spent != 300 || list[0].Reserved != 0 || len(s.made()) != 3 {
		t.Errorf("%+v after %d calls: %v", list, len(s.made()), err)
	}
	if n := f.count(t, `SELECT count(*) FROM calls WHERE cost_nano = 100`); n != 3 {
		t.Errorf("%d calls cost what they reserved", n)
	}
	storetest.Invariants(t, f.sql)
}

// onlyBounds knows what a call can cost, and not what one did.
type onlyBounds struct{ prices }

func (onlyBounds) Cost(string, string, providers.Usage, time.Time) (billing.NanoUSD, []string, bool) {
	return 0, nil, false
}

// noPrices knows what nothing costs.
type noPrices struct{ prices }

func (noPrices) LongestAnswer(string, string) int64 { return 1000 }

func (noPrices) Reserve(string, providers.Request, time.Time) (billing.NanoUSD, int64, bool) {
	return 0, 1000, false
}
