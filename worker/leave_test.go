package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

func TestDrainingRepeatsNoCallAndLosesNone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	gate := make(chan struct{})
	var inFlight atomic.Int64
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		inFlight.Add(1)
		select {
		case <-gate:
		case <-ctx.Done():
			return providers.Response{}, failure(providers.Cancelled, providers.BillingUnknown)
		}
		return answers(ctx, n, req)
	})
	const n = 40
	f.enqueue(t, n, nil)
	w := f.worker(t, s, nil)
	eventually(t, "8 calls are in flight", func() bool { return inFlight.Load() == 8 })
	w.stop()
	// It takes no more work, and does not leave before its calls have ended.
	next := f.worker(t, serve(answers), func(c *worker.Config) { c.Providers[0].Concurrency = 1 })
	eventually(t, "another worker does the rest", func() bool {
		return f.count(t, `SELECT count(*) FROM job_states WHERE state = 'succeeded'`) == n-8
	})
	select {
	case <-w.done:
		t.Error("the worker has left, although calls are in flight")
	default:
	}
	close(gate)
	w.wait(t)
	f.awaitAll(t, jobs.Succeeded)
	if made := len(s.made()); made != 8 {
		t.Errorf("%d calls by the worker that was asked to stop, want 8", made)
	}
	if n := f.count(t, `SELECT count(*) FROM job_states WHERE cost_nano <> 10 OR attempt <> 1 OR gen <> 1 OR crashes > 0`); n != 0 {
		t.Errorf("%d jobs were repeated", n)
	}
	f.drained(t)
	next.stop()
	next.wait(t)
	if left := f.count(t, `SELECT count(*) FROM workers WHERE stopped_at IS NULL`); left != 0 {
		t.Errorf("%d workers are gone and not deregistered", left)
	}
}

func TestARollingRestartUnderLoadLosesNothingAndRepeatsNoCall(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		select {
		case <-time.After(20 * time.Millisecond): // a call takes its time
		case <-ctx.Done():
			return providers.Response{}, failure(providers.Cancelled, providers.BillingUnknown)
		}
		return answers(ctx, n, req)
	})
	var workers [3]*running
	for i := range workers {
		workers[i] = f.worker(t, s, (*worker.Config).Patient)
	}
	n := 0
	feed := func() { // there is always work
		if f.count(t, `SELECT count(*) FROM job_states WHERE finished_at IS NULL`) < 300 {
			f.enqueue(t, 300, func(r *jobs.New) {
				r.Lane, r.Request.Prompt = jobs.Lanes()[r.Seq%3], fmt.Sprint(r.Request.Prompt, " after ", n)
			})
			n += 300
		}
	}
	for i, old := range workers {
		// Each is stopped in the middle of its work, and its successor starts
		// meanwhile.
		begun := len(s.made()) + 60
		eventually(t, "there is work under way", func() bool {
			feed()
			return len(s.made()) >= begun
		})
		old.stop()
		workers[i] = f.worker(t, s, (*worker.Config).Patient)
		eventually(t, "it has left", func() bool {
			feed()
			return len(old.done) > 0
		})
		old.wait(t)
	}
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	f.onceEach(t, s, n)
}

func TestCallsThatAreCutOffAreRecordedAsUnknown(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	calling := make(chan struct{}, 10)
	cut := serve(func(ctx context.Context, _ int, _ providers.Request) (providers.Response, error) {
		calling <- struct{}{}
		<-ctx.Done()
		return providers.Response{}, failure(providers.Cancelled, providers.BillingUnknown)
	})
	w := f.worker(t, cut, func(c *worker.Config) { c.Drain = 200 * time.Millisecond })
	ids := f.enqueue(t, 2, func(r *jobs.New) {
		if r.Seq == 2 {
			r.OnUnknown = jobs.FailUnknown
		}
	})
	<-calling
	<-calling
	w.stop()
	w.wait(t)
	if got := f.job(t, ids[0]); got.State != jobs.Queued || got.Attempt != 0 || got.Cost != 100 || !slices.Equal(got.Outcomes, []string{"unknown"}) {
		t.Errorf("%+v, want it handed back with its unknown call on the bill", got)
	}
	if got := f.job(t, ids[1]); got.State != jobs.Unknown || got.Cost != 100 || !slices.Equal(got.Outcomes, []string{"unknown"}) {
		t.Errorf("%+v, want it unknown and not repeated", got)
	}
	s := serve(answers)
	f.worker(t, s, nil)
	if got := f.await(t, ids[0], jobs.Succeeded); got.Cost != 110 || got.Crashes != 0 {
		t.Errorf("%+v, want both calls on the bill", got)
	}
	f.drained(t)
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls after the restart, want 1", n)
	}
}

func TestAJobIsNotGivenAwayWhileItsHandlerRunsEvenIfTheWorkerHasToLeave(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	calling, gate := make(chan struct{}, 1), make(chan struct{})
	w := f.worker(t, serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		calling <- struct{}{}
		<-gate // deaf to the cut-off
		return answers(ctx, n, req)
	}), func(c *worker.Config) { c.Drain = 10 * time.Millisecond })
	id := f.enqueue(t, 1, nil)[0]
	<-calling
	w.stop()
	select {
	case err := <-w.done:
		w.done <- nil
		if err == nil || !strings.Contains(err.Error(), "jobs were still running") {
			t.Errorf("it leaves with %v, want it to say that a job was still running", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the worker has not left after a minute")
	}
	info, err := f.inspector.GetTaskInfo(jobs.QueueName("svc", jobs.Default), jobs.TaskID(id, 1))
	if err != nil || info.State != asynq.TaskStateActive {
		t.Errorf("%+v, %v, want its task still in hand", info, err)
	}
	// Who is left alone with it finds that its outcome is not known.
	heir := serve(answers)
	f.worker(t, heir, func(c *worker.Config) { c.Hasten(50*time.Millisecond, 50*time.Millisecond, 3*time.Second) })
	if got := f.await(t, id, jobs.Succeeded); got.Gen != 2 || got.Crashes != 1 || !slices.Equal(got.Outcomes, []string{"unknown", "succeeded"}) {
		t.Errorf("%+v", got)
	}
	close(gate)
}

// deaf is a store that hears no heartbeats of one worker: to the fleet it is
// silent, while it goes on.
type deaf struct {
	worker.PresenceStore
	worker uuid.UUID
}

func (d deaf) Heartbeat(ctx context.Context, worker uuid.UUID) error {
	if worker == d.worker {
		return errors.New("the line to Postgres is cut")
	}
	return d.PresenceStore.Heartbeat(ctx, worker)
}

func TestASilentWorkersJobsAreTakenOverAndItsLateAnswerIsUsedWhereThereIsNone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	calling, gate := make(chan struct{}, 10), make(chan struct{})
	zombie := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		calling <- struct{}{}
		<-gate
		res, err := answers(ctx, n, req)
		res.Text = "too late"
		return res, err
	})
	silent := f.worker(t, zombie, func(c *worker.Config) {
		c.Store.Presence = deaf{f.store, c.ID}
		c.Providers[0].Concurrency = 2                                // both slots are taken: the rest is another's
		c.Hasten(50*time.Millisecond, 50*time.Millisecond, time.Hour) // it would not bury anybody
	})
	ids := f.enqueue(t, 2, func(r *jobs.New) {
		if r.Seq == 2 {
			r.OnUnknown = jobs.FailUnknown
		}
	})
	<-calling
	<-calling
	// The silent one leads, and would for as long as it goes on.
	other := jobs.NewID()
	f.exec(t, `INSERT INTO leaders (role, holder, expires_at) VALUES ('reconciler', '`+other.String()+`', now() + interval '1 hour')
		ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at`)
	heir := serve(answers)
	f.worker(t, heir, func(c *worker.Config) {
		c.ID = other
		c.Hasten(50*time.Millisecond, 50*time.Millisecond, 3*time.Second)
	})
	got := f.await(t, ids[0], jobs.Succeeded)
	want := row{State: jobs.Succeeded, Gen: 2, Attempt: 2, Crashes: 1, Cost: 110, Outcomes: []string{"unknown", "succeeded"}, Text: "answer to secret prompt 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := f.await(t, ids[1], jobs.Unknown); got.Class != "worker_died" || got.Cost != 100 {
		t.Errorf("%+v, want it given up", got)
	}
	close(gate) // the zombie's answers come
	eventually(t, "both late calls are settled", func() bool {
		return f.count(t, `SELECT count(*) FROM calls WHERE state = 'succeeded'`) == 3
	})
	want.Outcomes[0], want.Cost = "succeeded", 20
	if diff := cmp.Diff(want, f.job(t, ids[0])); diff != "" {
		t.Error(diff)
	}
	if got := f.job(t, ids[1]); got.State != jobs.Succeeded || got.Text != "too late" || got.Cost != 10 {
		t.Errorf("%+v", got)
	}
	if n := len(heir.made()); n != 1 {
		t.Errorf("%d calls by the heir, want 1", n)
	}
	silent.stop()
	silent.wait(t)
}
