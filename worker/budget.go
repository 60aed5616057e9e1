package worker

import (
	"math/rand/v2"
	"time"

	"oneflow/jobs"
)

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
	if e.Bound != nil {
		return jobs.Completion{
			State: jobs.Queued, RefundAttempt: true, After: moneyMost + rand.N(moneyMost/4),
			WaitReason: "bound: " + e.Bound.Provider + " " + e.Bound.Model,
		}
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
