package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"oneflow/jobs"
)

// watchBudgetsEvery is the time by which an alert may be late.
const watchBudgetsEvery = 5 * time.Second

// watchBudgets tells once of each budget that is spent to a half, to four fifths, in
// full, or beyond.
func (t *term) watchBudgets(ctx context.Context) (more bool, err error) {
	alerts, err := t.cfg.Store.Money.MoneyAlerts(ctx)
	for _, a := range alerts {
		msg := "budget spent in part"
		switch {
		case a.Percent > 100:
			msg = "budget exceeded: a bill was above the most that was reserved for it"
		case a.Percent == 100:
			msg = "budget used up"
		}
		t.cfg.Log.Warn().Int("percent", min(a.Percent, 100)).Str("budget", a.Budget.String()).Str("spent", a.Budget.Spent.Human()).
			Str("limit", a.Budget.Limit.Human()).Time("ends", a.Budget.Ends).Msg(msg)
	}
	return false, err
}

// Waits for money. Calls under way give back what they do not use; with none, nothing
// changes before the period ends or a person raises the budget, who wakes what waits.
const (
	moneySoon = 2 * time.Second
	moneyMost = 15 * time.Minute
)

// waitForMoney hands a job back that does not fit in a budget. One of which nobody knows
// what it can cost fails.
func waitForMoney(e *jobs.BudgetError, now time.Time) jobs.Completion {
	if e.Unpriced {
		return jobs.Completion{State: jobs.Failed, Class: "unpriced", Message: e.Error()}
	}
	after := moneyMost
	if !e.Budget.Ends.IsZero() {
		after = min(after, max(e.Budget.Ends.Sub(now), moneySoon))
	}
	if e.Budget.Reserved > 0 {
		after = moneySoon
	}
	return jobs.Completion{
		State: jobs.Queued, RefundAttempt: true, After: after + rand.N(after/4),
		WaitReason: "budget: " + e.Budget.String(), Budget: e.Budget.ID, BudgetAt: e.Budget.At,
	}
}
