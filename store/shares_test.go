package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"oneflow/jobs"
)

// sharedCall begins a call for the first of n running jobs, and lets it serve the
// others too.
func (w *database) sharedCall(t *testing.T, n int, reserved int64, simulated bool) ([]*jobs.Job, jobs.Call) {
	t.Helper()
	served := make([]*jobs.Job, n)
	for i := range served {
		served[i] = w.running(t, nil)
	}
	c := callOf(served[0], nano(reserved))
	c.Simulated = simulated
	if err := w.BeginCall(t.Context(), w.worker, c); err != nil {
		t.Fatal(err)
	}
	for _, j := range served[1:] {
		w.exec(t, `INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token) VALUES ($1, $2, $3, $4, $5)`,
			c.CallID, j.ID, j.Gen, j.Attempt, j.LeaseToken)
	}
	w.exec(t, `UPDATE calls SET jobs = $2 WHERE id = $1`, c.CallID, n)
	return served, c
}

func (w *database) costs(t *testing.T, column string, served []*jobs.Job) []int {
	t.Helper()
	out := make([]int, len(served))
	for i, j := range served {
		out[i] = w.count(t, `SELECT `+column+` FROM job_states WHERE job_id = $1`, j.ID)
	}
	return out
}

func TestTheSharesOfACallSumUpToItsCost(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	served, c := w.sharedCall(t, 3, 1000, false)
	check := func(what string, want ...int) {
		t.Helper()
		if diff := cmp.Diff(want, w.costs(t, "cost_nano", served)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		w.holds(t)
	}
	must(t, w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallUnknown, Latency: time.Second}))
	check("unknown: at its reserved price", 334, 333, 333)
	done := success(served[1], c, nano(101))
	done.Settlement.Latency = time.Second
	must(t, w.Succeed(t.Context(), done))
	check("the answer came after all", 34, 34, 33)
	if got := w.job(t, served[1].ID); got.State != jobs.Succeeded {
		t.Errorf("the job that it answers is %s", got.State)
	}
	if got := w.job(t, served[0].ID); got.State != jobs.Running {
		t.Errorf("another that it serves is %s, want it still held", got.State)
	}
	must(t, w.Succeed(t.Context(), done))
	check("said again", 34, 34, 33)
}

func TestATakeOverChargesEveryJobThatALostCallServes(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	served, _ := w.sharedCall(t, 2, 7, false)
	if n, err := w.TakeBack(t.Context(), w.worker, []uuid.UUID{served[1].LeaseToken}); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if diff := cmp.Diff([]int{4, 3}, w.costs(t, "cost_nano", served)); diff != "" {
		t.Error(diff)
	}
	state, err := w.Complete(t.Context(), jobs.Completion{JobID: served[0].ID, LeaseToken: served[0].LeaseToken, State: jobs.Failed, Class: "x"})
	if err != nil || state != jobs.Failed {
		t.Errorf("%s, %v", state, err)
	}
	w.holds(t)
}

func TestSimulatedMoneyStandsApart(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	served, c := w.sharedCall(t, 1, 1000, true)
	done := success(served[0], c, nano(100))
	must(t, w.Succeed(t.Context(), done))
	if paid, simulated := w.costs(t, "cost_nano", served), w.costs(t, "simulated_nano", served); paid[0] != 0 || simulated[0] != 100 {
		t.Errorf("real %v, simulated %v, want 0 and 100", paid, simulated)
	}
	f, err := w.Fleet(t.Context())
	if err != nil || f.Totals.Day.Cost != 0 || f.Totals.Day.Simulated != 100 {
		t.Errorf("%+v, %v", f.Totals.Day, err)
	}
	p, err := w.Progress(t.Context(), served[0].ID.String())
	if err != nil || p.Cost != 0 || p.Simulated != 100 {
		t.Errorf("%+v, %v", p, err)
	}
	bill, err := w.Expenses(t.Context(), served[0].ID.String())
	if err != nil || len(bill) != 1 || bill[0].Cost != 0 || bill[0].Simulated != 100 {
		t.Errorf("%+v, %v", bill, err)
	}
	w.holds(t)
}

func TestAJobThatOnlyWaitsIsQueuedAndSaysForWhat(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 1, nil)[0]
	j := w.mustClaim(t, d)
	end := jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Queued, RefundAttempt: true, After: time.Hour, WaitReason: "limit", Class: "not_asked", Message: "no"}
	if state, err := w.Complete(t.Context(), end); state != jobs.Queued || err != nil {
		t.Fatalf("%s, %v", state, err)
	}
	reason := func() string {
		var s string
		w.one(t, &s, `SELECT to_jsonb(wait_reason) FROM job_states WHERE job_id = $1`, j.ID)
		return s
	}
	if got := w.job(t, j.ID); got.State != jobs.Queued || got.ErrorClass != "" || got.NotBefore == nil || got.Attempt != 0 || reason() != "limit" {
		t.Errorf("%+v waits for %q", got, reason())
	}
	if got := w.claim(t, d); got.Job != nil || got.Wait < 59*time.Minute {
		t.Errorf("claimed before its time: %+v", got)
	}
	w.exec(t, `UPDATE job_states SET not_before = now()`)
	w.mustClaim(t, d)
	if got := reason(); got != "" {
		t.Errorf("a running job waits for %q", got)
	}
	w.holds(t)
}
