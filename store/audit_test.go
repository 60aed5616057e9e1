package store_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"oneflow/jobs"
)

func TestDispatchedJobsAreReadPageByPage(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	want := w.accept(t, 25, nil)
	if _, err := w.AcceptJobs(t.Context(), "", rows(t, 3, nil), false); err != nil { // not dispatched
		t.Fatal(err)
	}
	w.exec(t, `UPDATE job_queue SET dispatched_at = dispatched_at - interval '10 seconds'`)
	w.exec(t, `UPDATE job_queue SET dispatched_at = now() WHERE job_id = $1`, w.accept(t, 1, nil)[0].ID) // being pushed
	w.running(t, nil)
	j := w.running(t, nil)
	if err := w.Succeed(t.Context(), success(j, w.sent(t, j, nil), nil)); err != nil {
		t.Fatal(err)
	}
	j = w.running(t, nil)
	w.exec(t, `UPDATE job_queue SET dispatched_at = now() - interval '10 seconds' WHERE job_id = $1`, j.ID)
	if _, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Retrying, After: time.Hour, Class: "timeout"}); err != nil {
		t.Fatal(err)
	}
	var got []jobs.Delivery
	var after jobs.Delivery
	for {
		page, err := w.Dispatched(t.Context(), after, 10*time.Second, 10)
		if err != nil || len(page) > 10 {
			t.Fatal(len(page), err)
		}
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		after = page[len(page)-1]
	}
	waits := slices.IndexFunc(got, func(d jobs.Delivery) bool { return d.ID == j.ID })
	if len(got) != 26 || waits < 0 || !got[waits].At.Equal(*w.job(t, j.ID).NotBefore) {
		t.Fatalf("%d jobs, want 25 and the one that waits for its next try", len(got))
	}
	got = slices.Delete(got, waits, waits+1)
	for i, d := range want {
		if got[i].ID != d.ID || got[i].Gen != 1 || got[i].Provider != d.Provider || got[i].Lane != d.Lane || got[i].Task != d.Task ||
			got[i].Model != d.Model || got[i].BatchID != d.BatchID || got[i].StartTag != int64(i) {
			t.Errorf("%+v, want %+v", got[i], d)
		}
	}
}

func TestALostDeliveryIsTakenBackOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	lost := w.accept(t, 100, nil)
	var total atomic.Int64
	together(8, func(int) {
		n, err := w.Redispatch(t.Context(), lost)
		if err != nil {
			t.Error(err)
		}
		total.Add(int64(n))
	})
	if total.Load() != 100 {
		t.Errorf("%d were taken back, want 100", total.Load())
	}
	marked := w.topUp(t, 200)
	if len(marked) != 100 {
		t.Fatalf("%d to be dispatched at once, want 100", len(marked))
	}
	// Its late failure is of no account, nor is its late arrival.
	if err := w.Undispatch(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	for i, d := range marked {
		if d.Gen != 2 || w.job(t, d.ID).Dispatched == nil {
			t.Fatalf("%+v", d)
		}
		if i < 5 {
			if got := w.claim(t, lost[slices.IndexFunc(lost, func(l jobs.Delivery) bool { return l.ID == d.ID })]); got.Job != nil || got.Wait != 0 {
				t.Errorf("the lost delivery was claimed: %+v", got)
			}
			w.mustClaim(t, d)
		}
	}
	w.holds(t)
}

func TestOnlyWhatStillWaitsForItsLostDeliveryIsTakenBack(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 6, nil)
	w.mustClaim(t, d[0])
	j := w.mustClaim(t, d[1])
	if err := w.Succeed(t.Context(), success(j, w.sent(t, j, nil), nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Cancel(t.Context(), d[2].ID.String()); err != nil {
		t.Fatal(err)
	}
	d[3].Gen = 7
	in := rows(t, 1, nil)
	if _, err := w.AcceptJobs(t.Context(), "", in, false); err != nil { // waits for its dispatch
		t.Fatal(err)
	}
	d = append(d, deliveries(in, "")...)
	// Somebody is at the row of the fifth.
	tx, err := w.sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM job_states WHERE job_id = $1 FOR NO KEY UPDATE`, d[4].ID); err != nil {
		t.Fatal(err)
	}
	n, err := w.Redispatch(t.Context(), d)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err != nil || n != 1 {
		t.Errorf("%d were taken back, %v, want 1", n, err)
	}
	for i, l := range d {
		want := 1
		if i == 5 {
			want = 2
		}
		if got := w.job(t, l.ID); got.Gen != want {
			t.Errorf("job %d: %+v, want generation %d", i, got, want)
		}
	}
	w.holds(t)
}
