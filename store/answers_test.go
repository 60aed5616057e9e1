package store_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"oneflow/jobs"
)

// One answer of a group that is not like the others must be recorded as it is when it comes
// alone, and change nothing for them.
func TestAnAnswerThatIsOffChangesNothingForItsGroup(t *testing.T) {
	t.Parallel()
	type round struct {
		w      *database
		job    *jobs.Job
		call   jobs.Call
		answer jobs.Success
	}
	for what, tc := range map[string]struct {
		// before makes the first of the jobs, or its answer, another than the rest are.
		before func(t *testing.T, r *round)
		state  string
		err    error
	}{
		"like the others": {func(*testing.T, *round) {}, "succeeded 7", nil},
		"taken over": {func(t *testing.T, r *round) {
			t.Helper()
			if n, err := r.w.TakeBack(t.Context(), r.w.worker, []uuid.UUID{r.job.LeaseToken}); err != nil || n != 1 {
				t.Fatal(n, err)
			}
		}, "succeeded 7", nil},
		"ended meanwhile": {func(t *testing.T, r *round) {
			t.Helper()
			_, err := r.w.Complete(t.Context(), jobs.Completion{JobID: r.job.ID, LeaseToken: r.job.LeaseToken, State: jobs.Cancelled})
			must(t, err)
		}, "cancelled 7", jobs.ErrLeaseLost},
		"settled before": {func(t *testing.T, r *round) {
			t.Helper()
			must(t, r.w.SettleCall(t.Context(), jobs.Settlement{CallID: r.call.CallID, Outcome: jobs.CallUnknown}))
		}, "succeeded 7", nil},
		"recorded before": {func(t *testing.T, r *round) {
			t.Helper()
			must(t, r.w.Succeed(t.Context(), r.answer))
		}, "succeeded 7", nil},
		"unpriced": {func(_ *testing.T, r *round) { r.answer.Settlement.Cost = nil }, "succeeded 0", nil},
		"for several jobs": {func(t *testing.T, r *round) {
			t.Helper()
			other := r.w.running(t, nil)
			r.w.exec(t, `INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token) VALUES ($1, $2, 1, 1, $3)`, r.call.CallID, other.ID, other.LeaseToken)
			r.w.exec(t, `UPDATE calls SET jobs = 2 WHERE id = $1`, r.call.CallID)
		}, "succeeded 4", nil},
		"of a wallet": {func(t *testing.T, r *round) {
			t.Helper()
			r.w.exec(t, `
				WITH b AS (
					INSERT INTO budgets (account, period, limit_nano, began_at, reserved_nano) VALUES ('default', 'total', 100, '-infinity', 50) RETURNING id
				)
				INSERT INTO charges (call_id, budget_id, wallet, began_at, reserved_nano) SELECT $1, id, false, '-infinity', 50 FROM b`, r.call.CallID)
		}, "succeeded 7", nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			const group = 20
			rounds := make([]*round, group)
			for i, d := range w.accept(t, group, nil) {
				j := w.mustClaim(t, d)
				c := w.sent(t, j, nano(50))
				rounds[i] = &round{w, j, c, success(j, c, nano(7))}
			}
			tc.before(t, rounds[0])
			together(group, func(i int) {
				var want error
				if i == 0 {
					want = tc.err
				}
				if err := w.Succeed(t.Context(), rounds[i].answer); !errors.Is(err, want) {
					t.Errorf("answer %d: %v, want %v", i, err, want)
				}
			})
			for i, r := range rounds {
				want := "succeeded 7"
				if i == 0 {
					want = tc.state
				}
				var got string
				w.one(t, &got, `SELECT to_jsonb(state || ' ' || cost_nano) FROM job_states WHERE job_id = $1`, r.job.ID)
				if got != want {
					t.Errorf("job %d: %s, want %s", i, got, want)
				}
			}
			if n := w.count(t, `SELECT count(*) FROM budgets WHERE reserved_nano <> 0 OR spent_nano <> 7`); n != 0 {
				t.Error("the budget holds what the call reserved")
			}
			if what == "taken over" || what == "settled before" {
				if n := w.count(t, `SELECT count(*) FROM calls WHERE corrected_at IS NOT NULL`); n != 1 {
					t.Errorf("%d calls are marked as corrected, want 1", n)
				}
			}
			w.holds(t)
		})
	}
}
