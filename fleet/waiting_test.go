package fleet_test

import (
	"strings"
	"testing"
	"time"

	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/providers"
)

func TestEveryWaitSaysWhatForAndUntilWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	soon, tomorrow := now.Add(65*time.Second), now.Add(30*time.Hour)
	served := func(change func(*fleet.Health)) fleet.Health {
		h := fleet.Health{Name: "openai", Workers: 1, Standing: fleet.Standing{Status: fleet.Available, Limits: providers.Limits{RPM: 60}}}
		if change != nil {
			change(&h)
		}
		return h
	}
	byModel := func(h *fleet.Health) { h.ModelLimits = map[string]providers.Limits{"slow": {RPM: 30}, "fast": {}} }
	queued := fleet.WaitingJobs{Provider: "openai", State: jobs.Queued, Jobs: 3}
	with := func(change func(*fleet.WaitingJobs)) fleet.WaitingJobs {
		w := queued
		change(&w)
		return w
	}
	other := fleet.Health{Name: "mock", Workers: 1}
	for name, c := range map[string]struct {
		jobs   fleet.WaitingJobs
		health []fleet.Health
		reason fleet.WaitReason
		text   string
	}{
		"paused": {with(func(w *fleet.WaitingJobs) { w.Paused = true }), nil, fleet.WaitForResume, "paused by an operator"},
		"scheduled": {
			with(func(w *fleet.WaitingJobs) { w.State, w.RunAt = jobs.Scheduled, tomorrow }), nil,
			fleet.WaitForTime, "scheduled for 2026-11-24 18:00 UTC",
		},
		"nobody at all": {queued, nil, fleet.WaitForWorker, "no worker is running: start one with `worker run`"},
		"nobody for it": {queued, []fleet.Health{other}, fleet.WaitForWorker, "no live worker serves openai"},
		"no key": {
			with(func(w *fleet.WaitingJobs) { w.Reason = "no_key" }),
			[]fleet.Health{served(nil)},
			fleet.WaitForKey, "openai has no API key: `worker keys set openai`",
		},
		"a budget": {
			with(func(w *fleet.WaitingJobs) {
				w.Reason, w.NotBefore, w.Raise = "budget: daily budget of $5.00 for all calls", soon, "monitor budget set --daily AMOUNT"
			}), nil,
			fleet.WaitForBudget, "the daily budget of $5.00 for all calls is used up: `monitor budget set --daily AMOUNT` raises it; looked at again at 12:01:05 UTC",
		},
		"a budget in which the next call does not fit": {
			with(func(w *fleet.WaitingJobs) {
				w.Reason, w.NotBefore, w.Raise = "budget: total budget of $0.05 for batch b1", soon, "monitor budget set --total AMOUNT --batch b1"
				w.Short = "$0.05 is left, and the next call may cost $0.064"
			}), nil,
			fleet.WaitForBudget, "the total budget of $0.05 for batch b1 does not reach: $0.05 is left, and the next call may cost $0.064: " +
				"`monitor budget set --total AMOUNT --batch b1` raises it; looked at again at 12:01:05 UTC",
		},
		"a wallet in which the next call does not fit": {
			with(func(w *fleet.WaitingJobs) {
				w.Reason, w.Raise, w.Short = "budget: wallet of account alpha", "monitor wallet deposit alpha AMOUNT", "$0.01 is left, and the next call may cost $0.02"
			}), nil,
			fleet.WaitForBudget, "out of funds: in the wallet of account alpha $0.01 is left, and the next call may cost $0.02: `monitor wallet deposit alpha AMOUNT` raises it",
		},
		"a budget of a period": {
			with(func(w *fleet.WaitingJobs) {
				w.Reason, w.NotBefore, w.Anew = "budget: daily budget of $5.00 for all calls", soon, tomorrow
				w.Raise = "monitor budget set --daily AMOUNT"
			}), nil,
			fleet.WaitForBudget, "the daily budget of $5.00 for all calls is used up: `monitor budget set --daily AMOUNT` raises it; " +
				"else they go on when it begins anew, at 2026-11-24 18:00 UTC",
		},
		"a wallet": {
			with(func(w *fleet.WaitingJobs) {
				w.Reason, w.Raise = "budget: wallet of account alpha", "monitor wallet deposit alpha AMOUNT"
			}), nil,
			fleet.WaitForBudget, "out of funds: what is free in the wallet of account alpha does not reach: `monitor wallet deposit alpha AMOUNT` raises it",
		},
		"a retry": {
			with(func(w *fleet.WaitingJobs) { w.State, w.ErrorClass, w.NotBefore = jobs.Retrying, "server_error", soon }),
			[]fleet.Health{served(nil)},
			fleet.WaitForRetry, "retrying after server_error, at 12:01:05 UTC",
		},
		"disabled": {
			queued,
			[]fleet.Health{served(func(h *fleet.Health) { h.Status, h.Reason, h.By = fleet.Unavailable, "too dear", "ada@alpha" })},
			fleet.WaitForOperator, "openai is unavailable: too dear, says ada@alpha",
		},
		"an open breaker": {
			with(func(w *fleet.WaitingJobs) { w.Reason, w.NotBefore = "breaker", soon }),
			[]fleet.Health{served(func(h *fleet.Health) {
				h.Breaker = fleet.Breaker{State: fleet.BreakerOpen, Since: now.Add(-time.Minute), Reason: "overloaded"}
			})},
			fleet.WaitForBreaker, "the breaker of openai is open since 11:59:00 UTC: overloaded; next probe at 12:01:05 UTC",
		},
		"a block": {
			queued,
			[]fleet.Health{served(func(h *fleet.Health) { h.BlockedUntil, h.BlockedReason = soon, "rate_limited" })},
			fleet.WaitForBlock, "openai asked to be left alone until 12:01:05 UTC: rate_limited",
		},
		"the limit": {
			with(func(w *fleet.WaitingJobs) { w.Reason, w.NotBefore = "limit", soon }),
			[]fleet.Health{served(nil)},
			fleet.WaitForLimit, "waiting for the limit of openai (60 requests/min), until 12:01:05 UTC",
		},
		"its turn": {queued, []fleet.Health{served(nil)}, fleet.WaitForTurn, "waiting for a turn at openai, which takes 60 requests/min"},
		"the limit of a model": {
			with(func(w *fleet.WaitingJobs) { w.Model, w.Reason, w.NotBefore = "slow", "limit", soon }),
			[]fleet.Health{served(byModel)},
			fleet.WaitForLimit, "waiting for the limit of openai for slow (30 requests/min), until 12:01:05 UTC",
		},
		"its turn for a model": {
			with(func(w *fleet.WaitingJobs) { w.Model = "slow" }),
			[]fleet.Health{served(byModel)},
			fleet.WaitForTurn, "waiting for a turn at openai, which takes 30 requests/min for slow",
		},
		"its turn for a model without limits": {
			with(func(w *fleet.WaitingJobs) { w.Model = "fast" }),
			[]fleet.Health{served(byModel)},
			fleet.WaitForTurn, "waiting for a turn at openai, which takes 60 requests/min",
		},
		"a past stop": {with(func(w *fleet.WaitingJobs) { w.Reason = "breaker" }), []fleet.Health{served(nil)}, fleet.WaitForBreaker, "the breaker of openai was open"},
		"no Redis":    {with(func(w *fleet.WaitingJobs) { w.Reason = "redis" }), []fleet.Health{served(nil)}, fleet.WaitForService, "redis did not answer a worker"},
		"the account": {
			with(func(w *fleet.WaitingJobs) { w.Reason = "out_of_money" }),
			[]fleet.Health{served(nil)},
			fleet.WaitForOperator, "openai refused the account or the key: out_of_money",
		},
	} {
		got := fleet.WaitsOf([]fleet.WaitingJobs{c.jobs}, c.health, now)
		if len(got) != 1 || got[0].Reason != c.reason || !strings.HasPrefix(got[0].Text, c.text) || got[0].Jobs != 3 {
			t.Errorf("%s: %+v, want %s: %s", name, got, c.reason, c.text)
		}
	}
}

func TestWaitsOfABatchAreGroupedByReasonTheCommonestFirst(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	health := []fleet.Health{{Name: "openai", Workers: 1}, {Name: "stability", Workers: 1}}
	group := func(provider, reason string, n int64, wait time.Duration) fleet.WaitingJobs {
		return fleet.WaitingJobs{Provider: provider, State: jobs.Queued, Reason: reason, Jobs: n, NotBefore: now.Add(wait)}
	}
	got := fleet.WaitsOf([]fleet.WaitingJobs{
		group("openai", "limit", 2, 20*time.Second), group("stability", "", 3, 0), group("openai", "limit", 5, 10*time.Second),
	}, health, now)
	models := fleet.WaitsOf([]fleet.WaitingJobs{
		{Provider: "openai", Model: "slow", State: jobs.Queued, Jobs: 4}, {Provider: "openai", Model: "fast", State: jobs.Queued, Jobs: 2}, {Provider: "openai", Model: "other", State: jobs.Queued, Jobs: 1},
	}, []fleet.Health{{Name: "openai", Workers: 1, Standing: fleet.Standing{ModelLimits: map[string]providers.Limits{"slow": {RPM: 30}}}}}, now)
	if len(models) != 2 || models[0].Model != "slow" || models[0].Jobs != 4 || models[1].Jobs != 3 {
		t.Errorf("%+v, want the jobs of the slow model by themselves", models)
	}
	if len(got) != 2 || got[0].Jobs != 7 || got[0].Reason != fleet.WaitForLimit || !got[0].Until.Equal(now.Add(10*time.Second)) ||
		!strings.HasSuffix(got[0].Text, "until 12:00:10 UTC") || got[1].Provider != "stability" {
		t.Errorf("%+v", got)
	}
	budgets := fleet.WaitsOf([]fleet.WaitingJobs{
		group("openai", "budget: daily budget of $5.00 for all calls", 2, 20*time.Second), group("openai", "budget: wallet of account alpha", 3, 10*time.Second),
		group("openai", "budget: wallet of account alpha", 1, 5*time.Second),
	}, health, now)
	if len(budgets) != 2 || budgets[0].Jobs != 4 || !strings.Contains(budgets[0].Text, "wallet of account alpha") || !strings.HasSuffix(budgets[0].Text, "12:00:05 UTC") ||
		budgets[1].Jobs != 2 || !strings.Contains(budgets[1].Text, "daily budget") {
		t.Errorf("%+v, want the jobs of each budget by themselves", budgets)
	}
	idle := fleet.WaitsOf([]fleet.WaitingJobs{group("openai", "", 2, 0), group("stability", "", 3, 0)}, nil, now)
	if len(idle) != 1 || idle[0].Jobs != 5 || idle[0].Provider != "" || idle[0].Reason != fleet.WaitForWorker {
		t.Errorf("%+v, want that no worker runs to be said once", idle)
	}
	if got := fleet.WaitsOf(nil, health, now); got != nil {
		t.Errorf("nothing waits, and %+v", got)
	}
}
