package worker

import (
	"sync"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
)

// rememberRefusal is the time for which jobs that need as much as a call that a budget has
// refused are handed back before they take a slot of their provider's limit, which they
// would take in vain. Then one of them looks again.
const rememberRefusal = time.Second

// refusals are the budgets that have just refused a call to this worker.
type refusals struct {
	mu   sync.Mutex
	last map[refusal]refused
}

// refusal names what refused: a budget, or a model's bound.
type refusal struct {
	budget          int64
	provider, model string // of a bound
}

type refused struct {
	err   *jobs.BudgetError
	until time.Time
}

// note remembers a refusal. What a job fails for, or what depends on tags or rate cards,
// which a worker does not know, is not remembered.
func (r *refusals) note(e *jobs.BudgetError, now time.Time) {
	if e.Unpriced || e.Bound == nil && (e.Budget.Tag != "" || e.Budget.Card != nil) {
		return
	}
	key := refusal{budget: e.Budget.ID}
	if e.Bound != nil {
		key.provider, key.model = e.Bound.Provider, e.Bound.Model
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[refusal]refused{}
	}
	for k, old := range r.last {
		if !now.Before(old.until) {
			delete(r.last, k)
		}
	}
	r.last[key] = refused{e, now.Add(rememberRefusal)}
}

// of returns the refusal that a job would meet at its first provider, whose call may cost
// amount; nil: none is known.
func (r *refusals) of(job jobs.Job, amount billing.NanoUSD, simulated bool, now time.Time) *jobs.BudgetError {
	r.mu.Lock()
	defer r.mu.Unlock()
	matches := func(scope, value string) bool { return scope == "" || scope == value }
	for _, last := range r.last {
		b := last.err.Budget
		switch {
		case !now.Before(last.until), b.Simulated != simulated, b.Tag != "":
		case !matches(b.Account, job.Account), !matches(b.Batch, job.BatchID), !matches(b.Provider, job.Provider), !matches(b.Model, job.Request.Model):
		case last.err.Bound != nil && (last.err.Bound.Provider != job.Provider || last.err.Bound.Model != job.Request.Model):
		case last.err.Bound == nil && amount < last.err.Needs:
		default:
			return last.err
		}
	}
	return nil
}
