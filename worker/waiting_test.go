package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

func TestAnEmptyAccountUsesUpNoAttempt(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker(t, serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if n <= 2 {
			return providers.Response{}, failure(providers.OutOfMoney, providers.Unbilled)
		}
		return answers(ctx, n, req)
	}), nil)
	id := f.enqueue(t, 1, func(r *jobs.New) { r.MaxAttempts = 1 })[0]
	want := row{State: jobs.Succeeded, Gen: 1, Attempt: 1, Cost: 10, Outcomes: []string{"failed_unbilled", "failed_unbilled", "succeeded"}, Text: "answer to secret prompt 0"}
	if diff := cmp.Diff(want, f.await(t, id, jobs.Succeeded)); diff != "" {
		t.Error(diff)
	}
	f.drained(t)
}

func TestWhatWaitsWithoutEndHasAnEndInTimeAndCallsNobody(t *testing.T) {
	t.Parallel()
	for _, reason := range []providers.WaitReason{providers.WaitForOperator, providers.WaitForBreaker, providers.WaitForBlock, providers.WaitForKey} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.worker(t, serve(answers), func(c *worker.Config) {
				c.Generator = refusing{&providers.Error{
					Provider: "svc", Kind: providers.NotAsked, Billing: providers.Unbilled, RetryAfter: time.Second, Waiting: &providers.WaitError{For: reason},
				}}
			})
			id := f.enqueue(t, 1, nil)[0]
			eventually(t, "it waits again", func() bool {
				return f.count(t, `SELECT count(*) FROM job_states WHERE state = 'queued' AND not_before > now()`) == 1
			})
			if got := f.job(t, id); got.Attempt != 0 || got.Class != "" {
				t.Errorf("%+v, want no attempt and no error", got)
			}
			f.exec(t, `UPDATE job_states SET deadline = now() + interval '1 second'`)
			if got := f.await(t, id, jobs.Expired); len(got.Outcomes) != 0 {
				t.Errorf("%+v, want no call", got)
			}
		})
	}
}

// refusing is a generator that asks nobody.
type refusing struct{ err error }

func (refusing) Resume(context.Context, string, providers.Request, string, providers.Call) error {
	return nil
}

func (r refusing) Generate(context.Context, providers.Route, providers.Request, providers.Journal) (providers.Response, error) {
	return providers.Response{}, r.err
}

func TestARateLimitIsWaitedForAndUsesUpNoAttempt(t *testing.T) {
	t.Parallel()
	limited := func(after time.Duration) func(context.Context, int, providers.Request) (providers.Response, error) {
		return func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
			if n == 1 {
				return providers.Response{}, &providers.Error{Provider: "svc", Kind: providers.RateLimited, Billing: providers.Unbilled, Status: 429, RetryAfter: after}
			}
			return answers(ctx, n, req)
		}
	}
	t.Run("a short one by the handler", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t)
		f.worker(t, serve(limited(time.Second)), func(c *worker.Config) { c.Providers[0].Concurrency = 1 })
		id := f.enqueue(t, 1, func(r *jobs.New) { r.MaxAttempts = 1 })[0]
		want := row{State: jobs.Succeeded, Gen: 1, Attempt: 1, Cost: 10, Outcomes: []string{"failed_unbilled", "succeeded"}, Text: "answer to secret prompt 0"}
		if diff := cmp.Diff(want, f.await(t, id, jobs.Succeeded)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a long one by the queue", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t)
		f.worker(t, serve(limited(time.Hour)), func(c *worker.Config) { c.Providers[0].Concurrency = 1 })
		id := f.enqueue(t, 1, func(r *jobs.New) { r.MaxAttempts = 1 })[0]
		eventually(t, "it waits again", func() bool { return f.count(t, `SELECT count(*) FROM job_states WHERE not_before > now()`) == 1 })
		if got := f.job(t, id); got.State != jobs.Queued || got.Attempt != 0 || got.Cost != 0 || got.Class != "" {
			t.Errorf("%+v, want it queued with its attempt back and without an error", got)
		}
		if n := f.count(t, `SELECT count(*) FROM job_states WHERE not_before BETWEEN now() + interval '30 seconds' AND now() + interval '1 minute'`); n != 1 {
			t.Error("it does not look again within a minute: the block may be lifted")
		}
		eventually(t, "its task waits", func() bool {
			info, err := f.inspector.GetTaskInfo(jobs.QueueName("svc", jobs.Default), jobs.TaskID(id, 1))
			return err == nil && info.State == asynq.TaskStateRetry && info.Retried == 0 && time.Until(info.NextProcessAt) > 30*time.Second
		})
		// The slot is free for others meanwhile, and the job runs in its time.
		f.await(t, f.enqueue(t, 1, nil)[0], jobs.Succeeded)
		f.exec(t, `UPDATE job_states SET not_before = now() WHERE state = 'queued'`)
		if err := f.inspector.RunTask(jobs.QueueName("svc", jobs.Default), jobs.TaskID(id, 1)); err != nil {
			t.Fatal(err)
		}
		if got := f.await(t, id, jobs.Succeeded); got.Attempt != 1 {
			t.Errorf("%+v", got)
		}
	})
}
