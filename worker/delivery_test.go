package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"oneflow/jobs"
	"oneflow/providers"
)

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
		} else if early < -30*time.Second {
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
	if n := f.count(t, `SELECT count(*) FROM job_queue WHERE dispatched_at IS NULL`); n != 0 {
		t.Errorf("%d jobs have run and are not marked as dispatched", n)
	}
}

func TestARedisThatIsDownLosesNothingThatWasAccepted(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialTimeout: time.Second, MaxRetries: -1})
	defer client.Close()
	p := jobs.NewProducer(f.store, jobs.NewDispatcher(client, f.store))
	acc, dispatchErr, err := p.Enqueue(t.Context(), "", rows(t, 3, nil))
	if err != nil || dispatchErr == nil || acc.New != 3 {
		t.Fatalf("%d accepted, %v, %v, want 3 accepted and not dispatched", acc.New, dispatchErr, err)
	}
	f.worker(t, serve(answers), nil)
	f.awaitAll(t, jobs.Succeeded)
}
