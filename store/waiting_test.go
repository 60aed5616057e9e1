package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"oneflow/fleet"
	"oneflow/jobs"
)

func TestWaitingJobsAreGroupedByWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	at := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	plain := w.accept(t, 2, nil)
	later := w.accept(t, 1, func(j *jobs.New) { j.RunAt = at })
	held := w.accept(t, 3, nil)
	w.exec(t, `UPDATE job_states SET paused_at = now() WHERE job_id = $1`, plain[0].ID)
	w.exec(t, `UPDATE job_states SET wait_reason = 'limit', not_before = $2 WHERE job_id = ANY($1)`, []uuid.UUID{held[0].ID, held[1].ID}, at)
	w.exec(t, `UPDATE job_states SET state = 'retrying', error_class = 'overloaded', error_message = 'm', not_before = $2 WHERE job_id = $1`, held[2].ID, at)
	w.mustClaim(t, plain[1]) // it runs: it does not wait

	got, err := w.Waiting(t.Context(), "", "")
	must(t, err)
	want := []fleet.WaitingJobs{
		{Provider: "mock", State: jobs.Queued, Reason: "limit", Jobs: 2, NotBefore: at},
		{Provider: "mock", State: jobs.Queued, Paused: true, Jobs: 1},
		{Provider: "mock", State: jobs.Retrying, ErrorClass: "overloaded", Jobs: 1, NotBefore: at},
		{Provider: "mock", State: jobs.Scheduled, Jobs: 1, RunAt: at},
	}
	byKind := cmp.Transformer("byKind", func(list []fleet.WaitingJobs) map[fleet.WaitingJobs]int {
		all := map[fleet.WaitingJobs]int{}
		for _, g := range list {
			g.RunAt, g.NotBefore = g.RunAt.UTC(), g.NotBefore.UTC()
			all[g]++
		}
		return all
	})
	if diff := cmp.Diff(want, got, byKind); diff != "" || got[0].Jobs != 2 {
		t.Errorf("-want +got:\n%s", diff)
	}
	one, err := w.Waiting(t.Context(), "", later[0].ID.String())
	if err != nil || len(one) != 1 || one[0].State != jobs.Scheduled {
		t.Errorf("one job: %+v, %v", one, err)
	}
	for _, id := range []string{plain[1].ID.String(), jobs.NewID().String(), "no id"} {
		if none, err := w.Waiting(t.Context(), "", id); err != nil || len(none) != 0 {
			t.Errorf("%s: %+v, %v", id, none, err)
		}
	}
	if none, err := w.Waiting(t.Context(), "another", ""); err != nil || len(none) != 0 {
		t.Errorf("another batch: %+v, %v", none, err)
	}
}
