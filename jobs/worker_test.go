package jobs_test

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
	"oneflow/store"
)

func TestAJobSucceedsAndItsTaskIsGone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	ids := f.enqueue(t, 20, func(r *jobs.New) { r.Lane = jobs.Lanes()[r.Seq%3] })
	for _, key := range f.redis.Keys(t.Context(), "asynq:{*}:t:*").Val() {
		if body := f.redis.HGet(t.Context(), key, "msg").Val(); body == "" || strings.Contains(body, "secret") {
			t.Errorf("%s holds %q", key, body)
		}
	}
	f.worker(t, s, nil)
	for i, id := range ids {
		want := row{State: jobs.Succeeded, Gen: 1, Attempt: 1, Cost: 10, Outcomes: []string{"succeeded"}, Text: fmt.Sprint("answer to secret prompt ", i)}
		if diff := cmp.Diff(want, f.await(t, id, jobs.Succeeded)); diff != "" {
			t.Error(diff)
		}
	}
	f.drained(t)
	if got := len(s.made()); got != len(ids) {
		t.Errorf("%d calls for %d jobs", got, len(ids))
	}
}

func TestAFailureThatPassesIsTriedAgainByTheQueue(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if n <= 5 { // the four tries of the first attempt, and the first of the second
			return providers.Response{}, failure(providers.Overloaded, providers.Unbilled)
		}
		return answers(ctx, n, req)
	})
	f.worker(t, s, nil)
	id := f.enqueue(t, 1, nil)[0]
	got := f.await(t, id, jobs.Succeeded)
	if got.Attempt != 2 || got.Cost != 10 || len(got.Outcomes) != 6 || got.Class != "" {
		t.Errorf("%+v, want two attempts of six calls in all, of which one is charged", got)
	}
	f.drained(t)
}

func TestAJobThatKeepsFailingFailsAndIsArchived(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind  providers.Kind
		class string
		calls int
	}{
		"refused":         {providers.InvalidRequest, "invalid_request", 1},
		"out of attempts": {providers.Overloaded, "overloaded", 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			s := serve(func(context.Context, int, providers.Request) (providers.Response, error) {
				return providers.Response{}, failure(c.kind, providers.Unbilled)
			})
			f.worker(t, s, nil)
			id := f.enqueue(t, 1, func(r *jobs.New) { r.MaxAttempts = 2 })[0]
			got := f.await(t, id, jobs.Failed)
			if got.Class != c.class || got.Message == "" || got.Cost != 0 || len(got.Outcomes) != c.calls {
				t.Errorf("%+v, want %s after %d calls", got, c.class, c.calls)
			}
			eventually(t, "its task is archived", func() bool {
				live, archived := f.tasks(t)
				return live == 0 && archived == 1
			})
			list, err := f.inspector.ListArchivedTasks(jobs.QueueName("svc", jobs.Default))
			if err != nil || len(list) != 1 || list[0].ID != jobs.TaskID(id, 1) || !strings.Contains(list[0].LastErr, c.class) {
				t.Errorf("%+v, %v", list, err)
			}
		})
	}
}

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
		f.worker(t, serve(limited(time.Second)), func(c *jobs.WorkerConfig) { c.Providers[0].Concurrency = 1 })
		id := f.enqueue(t, 1, func(r *jobs.New) { r.MaxAttempts = 1 })[0]
		want := row{State: jobs.Succeeded, Gen: 1, Attempt: 1, Cost: 10, Outcomes: []string{"failed_unbilled", "succeeded"}, Text: "answer to secret prompt 0"}
		if diff := cmp.Diff(want, f.await(t, id, jobs.Succeeded)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a long one by the queue", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t)
		f.worker(t, serve(limited(time.Hour)), func(c *jobs.WorkerConfig) { c.Providers[0].Concurrency = 1 })
		id := f.enqueue(t, 1, func(r *jobs.New) { r.MaxAttempts = 1 })[0]
		got := f.await(t, id, jobs.Retrying)
		if got.Attempt != 0 || got.Cost != 0 {
			t.Errorf("%+v, want its attempt back", got)
		}
		if n := f.count(t, `SELECT count(*) FROM jobs WHERE not_before BETWEEN now() + interval '59 minutes' AND now() + interval '61 minutes'`); n != 1 {
			t.Error("it does not wait an hour")
		}
		eventually(t, "its task waits", func() bool {
			info, err := f.inspector.GetTaskInfo(jobs.QueueName("svc", jobs.Default), jobs.TaskID(id, 1))
			return err == nil && info.State == asynq.TaskStateRetry && info.Retried == 0 && time.Until(info.NextProcessAt) > 58*time.Minute
		})
		// The slot is free for others meanwhile, and the job runs in its time.
		f.await(t, f.enqueue(t, 1, nil)[0], jobs.Succeeded)
		f.exec(t, `UPDATE jobs SET not_before = now() WHERE state = 'retrying'`)
		if err := f.inspector.RunTask(jobs.QueueName("svc", jobs.Default), jobs.TaskID(id, 1)); err != nil {
			t.Fatal(err)
		}
		if got := f.await(t, id, jobs.Succeeded); got.Attempt != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestAScheduledJobIsNotRunEarly(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	f.worker(t, s, nil)
	at := time.Now().Add(1800 * time.Millisecond)
	ids := f.enqueue(t, 5, func(r *jobs.New) { r.RunAt = at })
	for _, id := range ids {
		f.await(t, id, jobs.Succeeded)
	}
	for _, c := range s.made() {
		if early := at.Sub(c.at); early > time.Millisecond {
			t.Errorf("called %s early", early)
		} else if early < -5*time.Second {
			t.Errorf("called %s late", -early)
		}
	}
}

func TestAStaleOrForeignDeliveryCallsNobody(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	id := f.enqueue(t, 1, nil)[0]
	f.worker(t, s, nil)
	f.await(t, id, jobs.Succeeded)
	f.drained(t)

	stale := []jobs.Delivery{
		{ID: id, Gen: 2, Provider: "svc", Lane: jobs.Default, Task: "text"},
		{ID: id, Gen: 7, Provider: "svc", Lane: jobs.Default, Task: "text"},
		{ID: jobs.NewID(), Gen: 1, Provider: "svc", Lane: jobs.Default, Task: "text"},
	}
	if n, err := f.dispatch.Push(t.Context(), stale); n != len(stale) || err != nil {
		t.Fatal(n, err)
	}
	f.drained(t)
	if _, archived := f.tasks(t); archived != 0 {
		t.Errorf("%d stale deliveries became dead letters", archived)
	}
	client := asynq.NewClient(f.opt)
	defer client.Close()
	if _, err := client.EnqueueContext(t.Context(), asynq.NewTask("email", []byte(`{"to":"me"}`)), asynq.Queue(jobs.QueueName("svc", jobs.Default))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the foreign task is archived", func() bool {
		live, archived := f.tasks(t)
		return live == 0 && archived == 1
	})
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestADuplicateDeliveryIsSentOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	ids := f.enqueue(t, 10, nil)
	client := asynq.NewClient(f.opt)
	defer client.Close()
	for _, id := range ids {
		task, err := jobs.EncodeTask(jobs.Delivery{ID: id, Gen: 1, Provider: "svc", Lane: jobs.Default, Task: "text"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 { // under other ids, as after a crash of Redis
			if _, err := client.EnqueueContext(t.Context(), task, asynq.TaskID(fmt.Sprint(id, "-again-", i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.worker(t, s, nil)
	f.worker(t, s, nil)
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	for prompt, n := range s.perPrompt() {
		if n != 1 {
			t.Errorf("%q was sent %d times", prompt, n)
		}
	}
}

func TestAJobThatIsCancelledWhileItWaitsIsNotSent(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	ids := f.enqueue(t, 4, nil)
	for _, id := range ids[:3] {
		if _, err := f.store.Cancel(t.Context(), id.String()); err != nil {
			t.Fatal(err)
		}
	}
	f.worker(t, s, nil)
	f.await(t, ids[3], jobs.Succeeded)
	f.drained(t)
	for _, id := range ids[:3] {
		if got := f.job(t, id); got.State != jobs.Cancelled || got.Attempt != 0 || len(got.Outcomes) != 0 {
			t.Errorf("%+v", got)
		}
	}
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestAJobThatIsCancelledDuringAFailingCallIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	calling, gate := make(chan struct{}, 10), make(chan struct{})
	s := serve(func(context.Context, int, providers.Request) (providers.Response, error) {
		calling <- struct{}{}
		<-gate
		return providers.Response{}, failure(providers.Overloaded, providers.Unbilled)
	})
	f.worker(t, s, nil)
	id := f.enqueue(t, 1, nil)[0]
	<-calling
	if c, err := f.store.Cancel(t.Context(), id.String()); err != nil || c.Running != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	close(gate)
	f.await(t, id, jobs.Cancelled)
	f.drained(t)
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestAPanicFailsItsJobAndNothingElse(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if req.Prompt == "secret prompt 1" {
			panic(req.Prompt)
		}
		return answers(ctx, n, req)
	})
	f.worker(t, s, nil)
	ids := f.enqueue(t, 4, nil)
	got := f.await(t, ids[1], jobs.Failed)
	if got.Class != "panic" || strings.Contains(got.Message, "secret") || !slices.Equal(got.Outcomes, []string{"unknown"}) || got.Cost != 100 {
		t.Errorf("%+v", got)
	}
	for _, i := range []int{0, 2, 3} {
		f.await(t, ids[i], jobs.Succeeded)
	}
}

func TestAnUnknownOutcomeIsRepeatedOnceByDefaultAndNeverWhereForbidden(t *testing.T) {
	t.Parallel()
	for policy, want := range map[jobs.OnUnknown]row{
		jobs.RetryUnknown: {State: jobs.Unknown, Gen: 1, Attempt: 1, Class: "timeout", Cost: 200, Outcomes: []string{"unknown", "unknown"}},
		jobs.FailUnknown:  {State: jobs.Unknown, Gen: 1, Attempt: 1, Class: "timeout", Cost: 100, Outcomes: []string{"unknown"}},
	} {
		for name, billing := range map[string]providers.Billing{"said so": providers.BillingUnknown, "said nothing": ""} {
			t.Run(fmt.Sprint(policy, ", the client ", name), func(t *testing.T) {
				t.Parallel()
				f := newFleet(t)
				f.worker(t, serve(func(context.Context, int, providers.Request) (providers.Response, error) {
					return providers.Response{}, failure(providers.Timeout, billing)
				}), nil)
				got := f.await(t, f.enqueue(t, 1, func(r *jobs.New) { r.OnUnknown = policy })[0], jobs.Unknown)
				got.Message = ""
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestAnAnswerThatCannotBeKeptIsPaidForAtMostTwice(t *testing.T) {
	t.Parallel()
	picture := func(data string) func(context.Context, int, providers.Request) (providers.Response, error) {
		return func(context.Context, int, providers.Request) (providers.Response, error) {
			return providers.Response{Provider: "svc", Model: "m", Blobs: []providers.Blob{{MIME: "image/png", Data: []byte(data)}}}, nil
		}
	}
	for name, c := range map[string]struct {
		shelf shelf
		data  string
	}{
		"the shelf is full":         {shelf{errors.New("no space left")}, "png"},
		"Postgres refuses the file": {shelf{}, ""},
	} {
		for policy, calls := range map[jobs.OnUnknown]int{jobs.RetryUnknown: 2, jobs.FailUnknown: 1} {
			t.Run(fmt.Sprint(name, ", on_unknown ", policy), func(t *testing.T) {
				t.Parallel()
				f := newFleet(t)
				f.worker(t, serve(picture(c.data)), func(cfg *jobs.WorkerConfig) { cfg.Artifacts = c.shelf })
				got := f.await(t, f.enqueue(t, 1, func(r *jobs.New) { r.OnUnknown = policy })[0], jobs.Failed)
				if len(got.Outcomes) != calls || got.Cost != int64(10*calls) || got.Class == "" {
					t.Errorf("%+v, want %d calls, each on the bill", got, calls)
				}
				for _, outcome := range got.Outcomes {
					if outcome != "failed_billed" {
						t.Errorf("a call is %s", outcome)
					}
				}
			})
		}
	}
}

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
	next := f.worker(t, serve(answers), func(c *jobs.WorkerConfig) { c.Providers[0].Concurrency = 1 })
	eventually(t, "another worker does the rest", func() bool {
		return f.count(t, `SELECT count(*) FROM jobs WHERE state = 'succeeded'`) == n-8
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
	if n := f.count(t, `SELECT count(*) FROM jobs WHERE cost_nano <> 10 OR attempt <> 1 OR gen <> 1 OR crashes > 0`); n != 0 {
		t.Errorf("%d jobs were repeated", n)
	}
	f.drained(t)
	next.stop()
	next.wait(t)
	if left := f.count(t, `SELECT count(*) FROM workers WHERE stopped_at IS NULL`); left != 0 {
		t.Errorf("%d workers have left without saying so", left)
	}
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
	w := f.worker(t, cut, func(c *jobs.WorkerConfig) { c.Drain = 200 * time.Millisecond })
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

func TestJobsOutliveAnEmptiedRedis(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.enqueue(t, 50, func(r *jobs.New) {
		if r.Seq%5 == 0 {
			r.RunAt = time.Now().Add(time.Second)
		}
	})
	if err := f.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s := serve(answers)
	f.worker(t, s, nil)
	f.worker(t, s, nil)
	f.awaitAll(t, jobs.Succeeded)
	for prompt, n := range s.perPrompt() {
		if n != 1 {
			t.Errorf("%q was sent %d times", prompt, n)
		}
	}
	if n := f.count(t, `SELECT count(*) FROM jobs WHERE dispatched_at IS NULL`); n != 0 {
		t.Errorf("%d jobs have run and are not marked as dispatched", n)
	}
}

func TestARedisThatIsDownLosesNothingThatWasAccepted(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: "127.0.0.1:1", DialTimeout: time.Second})
	defer client.Close()
	p := jobs.NewProducer(f.store, jobs.NewDispatcher(client, f.store))
	acc, dispatchErr, err := p.Enqueue(t.Context(), "", rows(t, 3, nil))
	if err != nil || dispatchErr == nil || acc.New != 3 {
		t.Fatalf("%d accepted, %v, %v, want 3 accepted and not dispatched", acc.New, dispatchErr, err)
	}
	f.worker(t, serve(answers), nil)
	f.awaitAll(t, jobs.Succeeded)
}

// deaf is a store that hears no heartbeats of one worker: to the fleet it is
// silent, while it goes on.
type deaf struct {
	*store.Store
	worker uuid.UUID
}

func (d deaf) Heartbeat(ctx context.Context, worker uuid.UUID) error {
	if worker == d.worker {
		return errors.New("the line to Postgres is cut")
	}
	return d.Store.Heartbeat(ctx, worker)
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
	silent := f.worker(t, zombie, func(c *jobs.WorkerConfig) {
		c.Store = deaf{f.store, c.ID}
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
	f.exec(t, `INSERT INTO leases (role, holder, expires_at) VALUES ('reconciler', '`+other.String()+`', now() + interval '1 hour')
		ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at`)
	heir := serve(answers)
	f.worker(t, heir, func(c *jobs.WorkerConfig) {
		c.ID = other
		c.Hasten(50*time.Millisecond, 50*time.Millisecond, time.Second)
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
		return f.count(t, `SELECT count(*) FROM attempts WHERE state = 'succeeded'`) == 3
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

func TestEveryJobOfAFlakyServiceEndsOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		switch n % 7 {
		case 1:
			return providers.Response{}, failure(providers.Overloaded, providers.Unbilled)
		case 3:
			return providers.Response{}, failure(providers.Timeout, providers.BillingUnknown)
		case 5:
			if n%3 == 0 {
				panic("now and then")
			}
		}
		return answers(ctx, n, req)
	})
	const n = 150
	f.enqueue(t, n, nil)
	for range 3 {
		f.worker(t, s, nil)
	}
	eventually(t, "all jobs have ended", func() bool { return f.count(t, `SELECT count(*) FROM jobs WHERE finished_at IS NULL`) == 0 })
	f.drained(t)
	for what, sql := range map[string]string{
		"jobs":                                  `SELECT count(*) - 150 FROM jobs`,
		"succeeded jobs without a result":       `SELECT count(*) FROM jobs j WHERE state = 'succeeded' AND NOT EXISTS (SELECT FROM results r WHERE r.job_id = j.id)`,
		"results without a succeeded job":       `SELECT count(*) FROM results r JOIN jobs j ON j.id = r.job_id WHERE state <> 'succeeded'`,
		"calls that nobody settled":             `SELECT count(*) FROM attempts WHERE state = 'running'`,
		"jobs with a wrong bill":                `SELECT count(*) FROM jobs j WHERE cost_nano <> (SELECT coalesce(sum(cost_nano), 0) FROM attempts a WHERE a.job_id = j.id)`,
		"jobs with more than two unknown calls": `SELECT count(*) FROM jobs j WHERE (SELECT count(*) FROM attempts a WHERE a.job_id = j.id AND a.state = 'unknown') > 2`,
	} {
		if n := f.count(t, sql); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	if sent, noted := len(s.made()), f.count(t, `SELECT count(*) FROM attempts`); sent != noted {
		t.Errorf("%d calls were sent and %d stand in the ledger", sent, noted)
	}
}

func TestAWorkerSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*jobs.WorkerConfig){
		"ID":          func(c *jobs.WorkerConfig) { c.ID = uuid.Nil },
		"Providers":   func(c *jobs.WorkerConfig) { c.Providers = nil },
		"CallTimeout": func(c *jobs.WorkerConfig) { c.CallTimeout = 0 },
		"Drain":       func(c *jobs.WorkerConfig) { c.Drain = -1 },
		"Concurrency": func(c *jobs.WorkerConfig) { c.Providers = []jobs.Served{{Name: "x"}} },
		"CutOff":      func(c *jobs.WorkerConfig) { c.CutOff = nil },
	} {
		cfg := jobs.WorkerConfig{
			ID: jobs.NewID(), Providers: []jobs.Served{{Name: "x", Concurrency: 1}}, Redis: asynq.RedisClientOpt{}, Store: &store.Store{},
			Generator: generator{}, Artifacts: shelf{}, Prices: prices{}, CallTimeout: time.Second, CutOff: func() {},
		}
		if _, err := jobs.NewWorker(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := jobs.NewWorker(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error that names %s", err, want)
		}
	}
}

type generator struct{}

func (generator) Generate(context.Context, providers.Route, providers.Request, providers.Journal) (providers.Response, error) {
	return providers.Response{}, nil
}
