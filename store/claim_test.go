package store_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/jobs"
	"oneflow/providers"
)

func TestOnlyOneOfManyClaimsWins(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	others := []*database{w, {Store: openStore(t, w.url)}} // two processes
	for range 20 {
		d := w.accept(t, 1, nil)[0]
		var won atomic.Int64
		together(16, func(i int) {
			got, err := others[i%2].Claim(t.Context(), jobs.NewID(), jobs.Claim{ID: d.ID, Gen: 1, LeaseToken: jobs.NewID()})
			if err != nil || got.Wait != 0 {
				t.Errorf("%+v, %v", got, err)
			}
			if got.Job != nil {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			t.Fatalf("%d claims won", won.Load())
		}
		if got := w.job(t, d.ID); got.Attempt != 1 || got.State != jobs.Running {
			t.Errorf("%+v", got)
		}
	}
}

func TestAClaimHandsOutTheWholeJob(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	temperature := 0.5
	request := providers.Request{Task: providers.Text, Model: "m", Prompt: "nul \x00 and ü", Temperature: &temperature}
	d := w.accept(t, 1, func(r *jobs.New) {
		r.Request, r.Lane, r.OnUnknown, r.MaxAttempts = request, jobs.High, jobs.FailUnknown, 3
	})[0]
	got := w.mustClaim(t, d)
	want := &jobs.Job{
		ID: d.ID, Account: jobs.DefaultAccount, Gen: 1, Attempt: 1, MaxAttempts: 3, MaxProviderCalls: 20, Provider: "mock", Lane: jobs.High,
		Request: request, OnUnknown: jobs.FailUnknown, Fallback: providers.FallbackAuto, Deadline: got.Deadline, LeaseToken: got.LeaseToken,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if left := time.Until(got.Deadline); left < jobs.DefaultDeadline-time.Minute || left > jobs.DefaultDeadline {
		t.Errorf("its deadline is in %s", left)
	}
}

func TestAStaleDeliveryClaimsNothing(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	waiting := w.accept(t, 1, nil)[0]
	held := w.running(t, nil)
	done := w.running(t, nil)
	if err := w.Succeed(t.Context(), success(done, w.sent(t, done, nil), nil)); err != nil {
		t.Fatal(err)
	}
	w.unchanged(t, "a stale delivery", func() {
		for what, d := range map[string]jobs.Delivery{
			"an older generation": {ID: waiting.ID, Gen: 0},
			"a later generation":  {ID: waiting.ID, Gen: 2},
			"a running job":       {ID: held.ID, Gen: 1},
			"a finished job":      {ID: done.ID, Gen: 1},
			"no job":              {ID: jobs.NewID(), Gen: 1},
		} {
			if got := w.claim(t, d); got.Job != nil || got.Wait != 0 {
				t.Errorf("%s: %+v", what, got)
			}
		}
	})
}

func TestAJobIsClaimedOnlyWhenItIsDue(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	scheduled := w.accept(t, 1, func(r *jobs.New) { r.RunAt = time.Now().Add(time.Hour) })[0]
	j := w.running(t, nil)
	if _, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Retrying, After: time.Hour, Class: "timeout"}); err != nil {
		t.Fatal(err)
	}
	retrying := jobs.Delivery{ID: j.ID, Gen: 1}
	w.unchanged(t, "a claim before its time", func() {
		for _, d := range []jobs.Delivery{scheduled, retrying} {
			if got := w.claim(t, d); got.Job != nil || got.Wait < 59*time.Minute || got.Wait > time.Hour+time.Second {
				t.Errorf("%+v, want to wait an hour", got)
			}
		}
	})
	w.exec(t, `
		UPDATE jobs SET run_at = run_at - interval '1 hour';
		UPDATE job_queue SET run_at = run_at - interval '1 hour';
		UPDATE job_states SET not_before = not_before - interval '1 hour'`)
	for _, d := range []jobs.Delivery{scheduled, retrying} {
		w.mustClaim(t, d)
	}
	if got := w.job(t, j.ID); got.Attempt != 2 || got.NotBefore != nil {
		t.Errorf("%+v", got)
	}
}

func TestAWaitIsAsLongAsItTakesAndNotLonger(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 1, func(r *jobs.New) { r.RunAt = time.Now().Add(300 * time.Millisecond) })[0]
	eventually(t, "it is claimed", func() bool {
		got := w.claim(t, d)
		if got.Job == nil && (got.Wait <= 0 || got.Wait > 300*time.Millisecond) {
			t.Fatalf("%+v", got)
		}
		return got.Job != nil
	})
	if n := w.count(t, `SELECT count(*) FROM jobs JOIN job_states ON job_id = id WHERE started_at < run_at`); n != 0 {
		t.Error("started before its time")
	}
}

func TestAJobPastItsDeadlineExpiresInPlaceOfRunning(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 3, nil)
	w.mustClaim(t, d[2])
	w.exec(t, `UPDATE job_states SET deadline = now() - interval '1 second'`)
	if got := w.claim(t, d[0]); got.Job != nil || got.Wait != 0 {
		t.Errorf("%+v", got)
	}
	if got := w.job(t, d[0].ID); got.State != jobs.Expired || got.Attempt != 0 {
		t.Errorf("%+v", got)
	}
	if n, err := w.ExpireOverdue(t.Context()); n != 1 || err != nil {
		t.Errorf("expired %d, %v, want the one that waits", n, err)
	}
	if n, err := w.ExpireOverdue(t.Context()); n != 0 || err != nil {
		t.Errorf("expired %d more, %v", n, err)
	}
	for i, want := range []jobs.State{jobs.Expired, jobs.Expired, jobs.Running} {
		if got := w.job(t, d[i].ID); got.State != want {
			t.Errorf("job %d is %s, want %s", i, got.State, want)
		}
	}
}

func TestACancelledJobIsNotClaimed(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	single := w.accept(t, 1, nil)[0]
	if c, err := w.Cancel(t.Context(), single.ID.String()); err != nil || c.Jobs != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	// Of a batch that was cancelled while the row was out of sight.
	missed := w.batch(t, "b", 1)[0]
	w.exec(t, `UPDATE batches SET cancelled_at = now()`)
	for _, d := range []jobs.Delivery{single, missed} {
		if got := w.claim(t, d); got.Job != nil || got.Wait != 0 {
			t.Errorf("%+v", got)
		}
		if got := w.job(t, d.ID); got.State != jobs.Cancelled || got.Attempt != 0 {
			t.Errorf("%+v", got)
		}
	}
}

func TestARepeatedClaimIsTheSameClaim(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]string{
		"at once":               `SELECT 1`,
		"cancelled in between":  `UPDATE job_states SET cancel_requested_at = now()`,
		"batch cancelled":       `UPDATE batches SET cancelled_at = now()`,
		"past its deadline now": `UPDATE job_states SET deadline = now()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			d := w.batch(t, "b", 1)[0]
			c := jobs.Claim{ID: d.ID, Gen: 1, LeaseToken: jobs.NewID()}
			first, err := w.Claim(t.Context(), w.worker, c)
			if err != nil || first.Job == nil {
				t.Fatal(first, err)
			}
			w.exec(t, meanwhile)
			// As after a COMMIT that was not heard of: whoever holds the lease must
			// learn of it, or nobody ever gives it back.
			second, err := w.Claim(t.Context(), w.worker, c)
			if err != nil || second.Job == nil {
				t.Fatalf("%+v, %v", second, err)
			}
			second.Job.Deadline = first.Job.Deadline
			if diff := cmp.Diff(first, second); diff != "" {
				t.Error(diff)
			}
			if got := w.job(t, d.ID); got.Attempt != 1 {
				t.Errorf("attempt %d after one claim", got.Attempt)
			}
		})
	}
}

func TestAJobThatCannotBeReadFailsAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 10, nil)
	w.exec(t, `UPDATE jobs SET request = '{"max_tokens": "many"}' WHERE id = $1`, d[4].ID)
	together(len(d), func(i int) {
		got, err := w.Claim(t.Context(), w.worker, jobs.Claim{ID: d[i].ID, Gen: 1, LeaseToken: jobs.NewID()})
		if err != nil || (got.Job != nil) != (i != 4) {
			t.Errorf("job %d: %+v, %v", i, got, err)
		}
	})
	if got := w.job(t, d[4].ID); got.State != jobs.Failed || got.ErrorClass != "invalid_request" {
		t.Errorf("%+v", got)
	}
}
