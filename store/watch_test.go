package store_test

import (
	"testing"
	"time"

	"oneflow/jobs"
)

func TestProvidersThatNobodyWantedDownAreTold(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for name, set := range map[string]string{
		"well":     "",
		"poor":     "out_of_money_at = now() - interval '1 minute'",
		"rich":     "out_of_money_at = now() - interval '1 hour'",
		"broken":   "breaker = 'open', breaker_at = now() - interval '2 minutes', breaker_reason = 'overloaded'",
		"hiccup":   "breaker = 'open', breaker_at = now() - interval '5 seconds'",
		"held":     "breaker = 'open', breaker_at = now() - interval '1 hour', breaker_override = 'open'",
		"disabled": "status = 'unavailable', out_of_money_at = now()",
		"alone":    "blocked_until = now() + interval '1 hour'",
		"soon":     "blocked_until = now() + interval '1 minute'",
	} {
		w.exec(t, `INSERT INTO providers (name, kind, concurrency, limits_configured) VALUES ($1, 'mock', 1, '{}')`, name)
		if set != "" {
			w.exec(t, `UPDATE providers SET `+set+` WHERE name = $1`, name)
		}
	}
	down, err := w.ProvidersDown(t.Context(), time.Minute)
	must(t, err)
	why := map[string]string{}
	for _, d := range down {
		why[d.Provider] = d.Why
	}
	if len(why) != 3 || why["poor"] == "" || why["broken"] == "" || why["alone"] == "" {
		t.Errorf("down: %v", why)
	}
}

func TestDeadLettersOfTheLastHourAreCountedByProvider(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for _, state := range []jobs.State{jobs.Failed, jobs.Failed, jobs.Cancelled} {
		j := w.running(t, nil)
		_, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: state, Class: "x", Message: "y"})
		must(t, err)
	}
	w.exec(t, `INSERT INTO job_ends VALUES (now() - interval '2 hours', 'mock', 'bulk', 'failed', 1, 50, 0), ('-infinity', 'mock', 'bulk', 'failed', 1, 50, 0),
		(now(), 'other', 'bulk', 'expired', 1, 3, 0), (now(), 'other', 'bulk', 'unknown', 1, 4, 0), (now(), 'other', 'bulk', 'succeeded', 1, 50, 0)`)
	dead, err := w.DeadLetters(t.Context())
	must(t, err)
	if len(dead) != 2 || dead["mock"] != 2 || dead["other"] != 7 {
		t.Errorf("%v", dead)
	}
}

func TestAQueueInWhichNothingMovesIsStuck(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	stuck := func(what string, want int64) {
		t.Helper()
		list, err := w.StuckQueues(t.Context(), 15*time.Minute)
		must(t, err)
		switch {
		case want == 0 && len(list) != 0, want > 0 && (len(list) != 1 || list[0].Jobs != want || list[0].Provider != "mock" || list[0].Lane != jobs.Default):
			t.Errorf("%s: %+v, want %d jobs", what, list, want)
		}
	}
	d := w.accept(t, 2, nil)
	stuck("fresh jobs", 0)
	w.exec(t, `UPDATE job_queue SET run_at = now() - interval '20 minutes'`)
	stuck("jobs that are due for long", 2)
	w.exec(t, `UPDATE providers SET status = 'unavailable'`)
	stuck("of a provider that is disabled", 0)
	w.exec(t, `UPDATE providers SET status = 'available'`)
	w.exec(t, `UPDATE job_queue SET not_before = now() + interval '1 hour' WHERE job_id = $1`, d[0].ID)
	stuck("one of which is to be tried later", 1)
	w.exec(t, `UPDATE job_queue SET paused = true WHERE job_id = $1`, d[1].ID)
	stuck("the other paused", 0)
	w.exec(t, `UPDATE job_queue SET paused = false, not_before = NULL`)
	j := w.mustClaim(t, d[0])
	stuck("one of which runs", 0)
	_, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Failed, Class: "x", Message: "y"})
	must(t, err)
	stuck("one of which has ended just now", 0)
	w.exec(t, `UPDATE job_ends SET minute = now() - interval '1 hour'`)
	stuck("one of which has ended long ago", 1)
}
