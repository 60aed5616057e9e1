package worker

import (
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

func TestOnlyAJobThatWouldBeRefusedTooTakesNoSlot(t *testing.T) {
	t.Parallel()
	now := time.Now()
	job := jobs.Job{Account: "a", BatchID: "b", Provider: "p", Request: providers.Request{Model: "m"}}
	for name, c := range map[string]struct {
		err       jobs.BudgetError
		amount    billing.NanoUSD
		simulated bool
		at        time.Time
		want      bool
	}{
		"the same need":          {jobs.BudgetError{Needs: 10}, 10, false, now, true},
		"a smaller need":         {jobs.BudgetError{Needs: 10}, 9, false, now, false},
		"later":                  {jobs.BudgetError{Needs: 10}, 10, false, now.Add(rememberRefusal), false},
		"its account, and batch": {jobs.BudgetError{Budget: billing.Budget{Scope: billing.Scope{Account: "a", Batch: "b"}}}, 1, false, now, true},
		"another account":        {jobs.BudgetError{Budget: billing.Budget{Scope: billing.Scope{Account: "other"}}}, 1, false, now, false},
		"another batch":          {jobs.BudgetError{Budget: billing.Budget{Scope: billing.Scope{Batch: "other"}}}, 1, false, now, false},
		"another provider":       {jobs.BudgetError{Budget: billing.Budget{Scope: billing.Scope{Provider: "other"}}}, 1, false, now, false},
		"another model":          {jobs.BudgetError{Budget: billing.Budget{Scope: billing.Scope{Model: "other"}}}, 1, false, now, false},
		"a tag":                  {jobs.BudgetError{Budget: billing.Budget{Scope: billing.Scope{Tag: "x=y"}}}, 1, false, now, false},
		"simulated money":        {jobs.BudgetError{}, 1, true, now, false},
		"no price":               {jobs.BudgetError{Unpriced: true}, 1, false, now, false},
		"the bound of its model": {jobs.BudgetError{Needs: 10, Bound: &billing.Bound{Provider: "p", Model: "m"}}, 1, false, now, true},
		"the bound of another":   {jobs.BudgetError{Bound: &billing.Bound{Provider: "p", Model: "other"}}, 100, false, now, false},
	} {
		var r refusals
		r.note(&c.err, now)
		if got := r.of(job, c.amount, c.simulated, c.at); (got != nil) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
