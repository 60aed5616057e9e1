package store_test

import (
	"errors"
	"testing"
	"time"

	"oneflow/jobs"
)

func TestNoCallIsSentAfterTheDeadline(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	j := w.running(t, nil)
	w.exec(t, `UPDATE job_states SET deadline = now() - interval '1 second' WHERE job_id = $1`, j.ID)
	if err := w.BeginCall(t.Context(), w.worker, callOf(j, nil)); !errors.Is(err, jobs.ErrExpired) {
		t.Errorf("BeginCall: %v", err)
	}
	if n := w.count(t, `SELECT count(*) FROM calls`); n != 0 {
		t.Errorf("%d calls are in the ledger", n)
	}
}

func TestAJobWhoseCallWasNotSettledIsNotSentAgainAgainstItsWill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		onUnknown jobs.OnUnknown
		want      []jobs.State // of the claims' ends, in turn
	}{
		"fail":  {jobs.FailUnknown, []jobs.State{jobs.Unknown}},
		"retry": {jobs.RetryUnknown, []jobs.State{jobs.Retrying, jobs.Unknown}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			d := w.accept(t, 1, func(r *jobs.New) { r.OnUnknown = c.onUnknown })[0]
			for i, want := range c.want {
				w.exec(t, `UPDATE job_states SET not_before = NULL, state = 'queued' WHERE state = 'retrying'`)
				j := w.mustClaim(t, d)
				w.sent(t, j, nano(70))
				state, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Retrying, After: time.Minute, Class: "internal"})
				if err != nil || state != want {
					t.Fatalf("end %d: %s, %v, want %s", i+1, state, err, want)
				}
			}
			if n := w.count(t, `SELECT count(*) FROM calls WHERE state = 'unknown' AND cost_nano = 70`); n != len(c.want) {
				t.Errorf("%d calls are on the bill as unknown, want %d", n, len(c.want))
			}
			w.holds(t)
		})
	}
}

func TestALivingWorkerTakesBackOnlyTheLeasesItNames(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	lost, kept := w.running(t, nil), w.running(t, nil)
	leases, err := w.Leases(t.Context(), w.worker)
	if err != nil || len(leases) != 2 {
		t.Fatalf("%v, %v", leases, err)
	}
	n, err := w.TakeBack(t.Context(), w.worker, leases[:0:0])
	if n != 0 || err != nil {
		t.Errorf("no leases took back %d jobs, %v", n, err)
	}
	if n, err = w.TakeBack(t.Context(), w.worker, append(leases[:0:0], lost.LeaseToken)); n != 1 || err != nil {
		t.Errorf("took back %d jobs, %v", n, err)
	}
	if got := w.job(t, lost.ID); got.State != jobs.Queued || got.Gen != 2 {
		t.Errorf("the lost job: %+v", got)
	}
	if got := w.job(t, kept.ID); got.State != jobs.Running || got.Gen != 1 {
		t.Errorf("the kept job: %+v", got)
	}
	w.holds(t)
}
