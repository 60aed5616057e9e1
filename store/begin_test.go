package store_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/jobs"
)

// firstCall looks at a job that nobody has claimed, and returns its first call, which
// claims it; nil: it is not to be claimed so.
func (d *database) firstCall(t *testing.T, of jobs.Delivery) (*jobs.Job, jobs.Call) {
	t.Helper()
	list, err := d.Untouched(t.Context(), []jobs.Claim{{ID: of.ID, Gen: of.Gen}})
	must(t, err)
	if len(list) == 0 {
		return nil, jobs.Call{}
	}
	j := &list[0]
	j.LeaseToken = jobs.NewID()
	c := callOf(j, nano(50))
	c.Gen = j.Gen
	return j, c
}

func TestAJobIsClaimedTogetherWithItsFirstCall(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 1, nil)[0]
	j, c := w.firstCall(t, d)
	if j == nil || j.Attempt != 1 || j.Request.Prompt == "" || j.Unknowns != 0 {
		t.Fatalf("%+v is what a claim would return", j)
	}
	if n := w.count(t, `SELECT count(*) FROM job_states WHERE state = 'running'`); n != 0 {
		t.Fatal("looking at it claims it")
	}
	must(t, w.BeginCall(t.Context(), w.worker, c))
	const claimed = `
		SELECT count(*) FROM job_states s JOIN call_jobs cj USING (job_id, lease_token) JOIN calls c ON c.id = cj.call_id
		WHERE s.state = 'running' AND s.attempt = 1 AND s.started_at IS NOT NULL AND cj.attempt = 1 AND cj.gen = s.gen AND c.state = 'running' AND c.reserved_nano = 50`
	if w.count(t, claimed) != 1 {
		t.Error("the job is not claimed with its call")
	}
	// A commit that was not heard of.
	must(t, w.BeginCall(t.Context(), w.worker, c))
	if n := w.count(t, `SELECT count(*) FROM calls`); n != 1 || w.count(t, claimed) != 1 {
		t.Errorf("a repeated write made %d calls", n)
	}
	another := c
	another.CallID, another.LeaseToken = jobs.NewID(), jobs.NewID()
	if err := w.BeginCall(t.Context(), w.worker, another); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("somebody else claims it, too: %v", err)
	}
	must(t, w.Succeed(t.Context(), success(j, c, nano(7))))
	w.holds(t)
	if _, err := w.TakeOver(t.Context(), w.worker); err != nil {
		t.Fatal(err)
	}
	if err := w.BeginCall(t.Context(), w.worker, c); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("a call whose job has ended begins: %v", err)
	}
}

func TestWhatMayNotRunIsNotClaimedWithACall(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	must(t, w.OpenBatch(t.Context(), jobs.Batch{ID: "paused", Account: "default"}))
	for what, change := range map[string]string{
		"of another generation": `UPDATE job_states SET gen = gen + 1 WHERE job_id = $1`,
		"cancelled":             `UPDATE job_states SET cancel_requested_at = now() WHERE job_id = $1`,
		"paused":                `UPDATE job_states SET paused_at = now() WHERE job_id = $1`,
		"of a paused batch":     `WITH b AS (UPDATE batches SET paused_at = now() WHERE id = 'paused') UPDATE job_states SET batch_id = 'paused' WHERE job_id = $1`,
		"past its deadline":     `UPDATE job_states SET deadline = now() WHERE job_id = $1`,
		"not due":               `UPDATE jobs SET run_at = now() + interval '1 hour' WHERE id = $1`,
		"held back":             `UPDATE job_states SET not_before = now() + interval '1 hour' WHERE job_id = $1`,
		"claimed before":        `UPDATE job_states SET started_at = now() WHERE job_id = $1`,
		"ended":                 `UPDATE job_states SET state = 'cancelled', finished_at = now() WHERE job_id = $1`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := w.accept(t, 1, nil)[0]
			_, c := w.firstCall(t, d)
			w.exec(t, change, d.ID)
			if j, _ := w.firstCall(t, d); j != nil {
				t.Error("it is taken for one that may be claimed with its call")
			}
			if err := w.BeginCall(t.Context(), w.worker, c); !errors.Is(err, jobs.ErrLeaseLost) {
				t.Errorf("it begins: %v", err)
			}
			if n := w.count(t, `SELECT count(*) FROM job_states WHERE job_id = $1 AND (attempt > 0 OR lease_token IS NOT NULL)`, d.ID); n != 0 {
				t.Error("it is claimed")
			}
			if n := w.count(t, `SELECT count(*) FROM call_jobs WHERE job_id = $1`, d.ID); n != 0 {
				t.Errorf("%d calls were begun", n)
			}
		})
	}
}

func TestAClaimWithACallTakesFromBudgets(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	money := billing.NewMoney(w.Store, "test")
	_, err := money.Set(t.Context(), billing.Budget{Period: billing.Total, Limit: 120, Blocks: true})
	must(t, err)
	list := w.accept(t, 4, nil)
	var fits, refused int
	ends := make(chan error, len(list))
	calls := map[uuid.UUID]jobs.Call{}
	for _, d := range list {
		_, c := w.firstCall(t, d)
		calls[c.CallID] = c
	}
	for _, c := range calls {
		go func() { ends <- w.BeginCall(t.Context(), w.worker, c) }()
	}
	for range list {
		err := <-ends
		if e, ok := errors.AsType[*jobs.BudgetError](err); ok && e.Needs == 50 {
			refused++
		} else if err == nil {
			fits++
		} else {
			t.Error(err)
		}
	}
	if fits != 2 || refused != 2 {
		t.Errorf("%d of 50 each fit into 120, and %d were refused", fits, refused)
	}
	if n := w.count(t, `SELECT count(*) FROM job_states WHERE lease_token IS NOT NULL`); n != 2 {
		t.Errorf("%d jobs are claimed, want those whose calls fit", n)
	}
	if n := w.count(t, `SELECT reserved_nano FROM budgets`); n != 100 {
		t.Errorf("%d are reserved, want 100", n)
	}
	// The same of a commit that was not heard of.
	for _, c := range calls {
		if err := w.BeginCall(t.Context(), w.worker, c); err == nil {
			fits--
		}
	}
	if n := w.count(t, `SELECT reserved_nano FROM budgets`); fits != 0 || n != 100 {
		t.Errorf("repeated writes reserve %d", n)
	}
	w.holds(t)
}
