package store_test

import (
	"testing"
	"time"

	"oneflow/jobs"
	"oneflow/store"
)

func TestAJobThatIsToRunLaterStaysInPostgresUntilItIsDueAndIsNoticedThen(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	due := func(since time.Time, want bool) time.Time {
		t.Helper()
		wait, now, err := w.Due(t.Context(), since)
		if err != nil || (wait == 0) != want {
			t.Errorf("due in %s, %v, want %t", wait, err, want)
		}
		return now
	}
	seen := due(time.Time{}, false)
	later := w.accept(t, 2, func(r *jobs.New) { r.RunAt = time.Now().Add(time.Hour) })
	w.accept(t, 1, nil) // due when it was accepted: it is in Redis
	if marked := w.topUp(t, 10); len(marked) != 0 {
		t.Errorf("%d were dispatched an hour early", len(marked))
	}
	due(seen, false)

	w.exec(t, `UPDATE jobs SET run_at = now() WHERE id = $1`, later[0].ID)
	w.exec(t, `UPDATE job_queue SET run_at = now(), due_at = now() WHERE job_id = $1`, later[0].ID)
	now := due(seen, true)
	if marked := w.topUp(t, 10); len(marked) != 1 || marked[0].ID != later[0].ID {
		t.Errorf("%+v was dispatched, want the one that has become due", marked)
	}
	due(now, false)
	w.mustClaim(t, later[0])
	if got := w.claim(t, later[1]); got.Job != nil {
		t.Error("a job was claimed an hour early")
	}
}

func TestAJobIsInAWorkersHandALittleBeforeItsTime(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	later := w.accept(t, 2, func(r *jobs.New) { r.RunAt = time.Now().Add(time.Hour) })
	w.exec(t, `UPDATE jobs SET run_at = now() + interval '1 minute'`)
	w.exec(t, `UPDATE job_queue SET run_at = now() + interval '1 minute', due_at = now() + interval '1 minute'`)
	w.exec(t, `UPDATE job_queue SET run_at = now() + interval '140 milliseconds', due_at = now() + interval '140 milliseconds' WHERE job_id = $1`, later[0].ID)
	if wait, _, err := w.Due(t.Context(), time.Now().Add(-time.Minute)); wait != 0 || err != nil {
		t.Errorf("due in %s, %v, want the one that is due at once", wait, err)
	}
	if marked := w.topUp(t, 10); len(marked) != 1 || marked[0].ID != later[0].ID {
		t.Errorf("%+v was dispatched, want the one that is due at once", marked)
	}
	if got := w.claim(t, later[0]); got.Job != nil || got.Wait <= 0 {
		t.Errorf("%+v was claimed before its time", got)
	}
}

func TestTheNextJobThatBecomesDueTellsWhenToLookAgain(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for _, in := range []time.Duration{30 * time.Minute, 20 * time.Minute, time.Hour} {
		w.accept(t, 1, func(r *jobs.New) { r.RunAt = time.Now().Add(in) })
	}
	// What becomes due before the next look is dispatched at once.
	soon := w.accept(t, 1, func(r *jobs.New) { r.RunAt = time.Now().Add(300 * time.Millisecond) })
	if w.count(t, `SELECT count(*) FROM job_queue WHERE job_id = $1 AND dispatched_at IS NOT NULL`, soon[0].ID) != 1 {
		t.Error("a job that is nearly due was left to the next look")
	}
	wait, _, err := w.Due(t.Context(), time.Now())
	if err != nil || wait < 19*time.Minute || wait > 20*time.Minute {
		t.Errorf("due in %s, %v, want 20 minutes, but for the time by which it is dispatched early", wait, err)
	}
}

func TestLookingForDueJobsReadsNoneOfThoseThatAreNot(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	look := func(s *store.Store) {
		if wait, _, err := s.Due(t.Context(), time.Now()); wait < time.Minute || err != nil {
			t.Error(wait, err)
		}
	}
	w.filled(t, 500, 5000)
	w.exec(t, `UPDATE job_queue SET run_at = now() + interval '1 hour', due_at = now() + interval '1 hour' WHERE seq % 2 = 0`)
	w.exec(t, `VACUUM ANALYZE job_queue`)
	if n := w.readBy(t, look); n > 20 {
		t.Errorf("%d rows were read", n)
	}
}
