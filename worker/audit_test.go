package worker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

func (f *fleet) flush(t *testing.T) {
	t.Helper()
	if err := f.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// watched waits until a leader knows this Redis.
func (f *fleet) watched(t *testing.T) {
	t.Helper()
	eventually(t, "the leader has seen Redis", func() bool {
		return f.redis.Exists(t.Context(), "oneflow:epoch").Val() == 1
	})
}

// auditor makes an auditor that looks at 10 jobs a round.
func (f *fleet) auditor(t *testing.T, change func(*worker.Config)) *worker.Auditor {
	t.Helper()
	cfg := worker.Config{Providers: []worker.Served{{Name: "svc"}}, Redis: f.opt, Store: parts(f.store), Serves: func(string) bool { return true }}
	cfg.Hasten(time.Second, time.Hour, time.Hour) // no audit but the first
	if change != nil {
		change(&cfg)
	}
	a := worker.NewAuditor(cfg, 10)
	t.Cleanup(func() { a.Close() })
	return a
}

// audit goes on for one round.
func audit(t *testing.T, a *worker.Auditor, wantMore bool) {
	t.Helper()
	if more, err := a.Round(t.Context()); err != nil || more != wantMore {
		t.Errorf("more %t, %v, want %t", more, err, wantMore)
	}
}

func (f *fleet) sentOnce(t *testing.T, s *service, n int) {
	t.Helper()
	sent := s.perPrompt()
	if len(sent) != n {
		t.Errorf("%d prompts were sent, want %d", len(sent), n)
	}
	for prompt, times := range sent {
		if times != 1 {
			t.Errorf("%q was sent %d times", prompt, times)
		}
	}
}

func TestAFleetAtWorkNoticesThatRedisWasEmptied(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	calling, gate := make(chan struct{}, 1000), make(chan struct{})
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		calling <- struct{}{}
		<-gate
		return answers(ctx, n, req)
	})
	f.worker(t, s, nil)
	f.worker(t, s, nil)
	const n = 200
	soon := time.Now().Add(3 * time.Second)
	ids := f.enqueue(t, n, func(r *jobs.New) {
		r.Lane = jobs.Lanes()[r.Seq%3]
		if r.Seq%10 == 0 {
			r.RunAt = soon
		}
	})
	later := time.Now().Add(time.Hour)
	far := f.enqueue(t, 1, func(r *jobs.New) { r.RunAt = later })[0]
	for range 16 { // all slots are taken
		<-calling
	}
	f.watched(t)
	f.flush(t)
	close(gate)
	for _, id := range ids {
		f.await(t, id, jobs.Succeeded)
	}
	f.sentOnce(t, s, n)
	if n := f.count(t, `SELECT count(*) FROM job_states WHERE cost_nano <> 10 AND state = 'succeeded' OR attempt > 1 OR gen > 2`); n != 0 {
		t.Errorf("%d jobs were repeated, or dispatched more than twice", n)
	}
	late := 0
	for _, c := range s.made() {
		if !c.at.Before(soon.Add(-time.Millisecond)) {
			late++
		}
	}
	if late < n/10 {
		t.Errorf("%d calls were made after the scheduled time, want those of %d jobs", late, n/10)
	}
	if got := f.job(t, far); got.State != jobs.Scheduled || got.Gen != 1 {
		t.Errorf("%+v, want what is for later to wait in Postgres", got)
	}
	queues, err := f.inspector.Queues()
	slices.Sort(queues)
	if want := []string{"svc.bulk", "svc.default", "svc.high"}; err != nil || !slices.Equal(queues, want) {
		t.Errorf("queues %q, %v, want %q", queues, err, want)
	}
}

// A client of asynq lists a queue the first time it pushes to it, and never again.
func TestQueuesAreListedAgain(t *testing.T) {
	t.Parallel()
	t.Run("one that is idle when Redis is emptied", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t)
		f.worker(t, serve(answers), nil)
		f.enqueue(t, 1, nil)
		f.awaitAll(t, jobs.Succeeded)
		f.drained(t)
		f.watched(t)
		f.flush(t)
		f.watched(t)
		f.enqueue(t, 1, nil)
		f.awaitAll(t, jobs.Succeeded)
		eventually(t, "it is listed", func() bool {
			queues, err := f.inspector.Queues()
			return err == nil && slices.Contains(queues, jobs.QueueName("svc", jobs.Default))
		})
	})
	t.Run("one that this fleet does not serve", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t)
		id := f.enqueue(t, 1, func(r *jobs.New) { r.Provider = "elsewhere" })[0]
		f.worker(t, serve(answers), nil)
		for gen := 2; gen <= 3; gen++ { // the second time the leader's client has listed it
			f.watched(t)
			f.flush(t)
			eventually(t, "its queue is listed and holds the job", func() bool {
				info, err := f.inspector.GetTaskInfo(jobs.QueueName("elsewhere", jobs.Default), jobs.TaskID(id, gen))
				return err == nil && info.State == asynq.TaskStatePending
			})
		}
	})
}

// An older dump of Redis lacks some deliveries, and its epoch is the same.
func TestADeliveryThatWillNotArriveIsReplaced(t *testing.T) {
	t.Parallel()
	queue := jobs.QueueName("svc", jobs.Default)
	for name, lose := range map[string]func(*fleet, string) error{
		"deleted":  func(f *fleet, id string) error { return f.inspector.DeleteTask(queue, id) },
		"archived": func(f *fleet, id string) error { return f.inspector.ArchiveTask(queue, id) },
		"active, with nobody at it": func(f *fleet, id string) error {
			_, err := f.redis.Pipelined(context.Background(), func(p redis.Pipeliner) error {
				p.LRem(context.Background(), "asynq:{"+queue+"}:pending", 0, id)
				p.HSet(context.Background(), "asynq:{"+queue+"}:t:"+id, "state", "active")
				return nil
			})
			return err
		},
		"taken by a worker that died before its claim": func(f *fleet, id string) error {
			_, err := f.redis.Pipelined(context.Background(), func(p redis.Pipeliner) error {
				p.LRem(context.Background(), "asynq:{"+queue+"}:pending", 0, id)
				p.LPush(context.Background(), "asynq:{"+queue+"}:active", id)
				p.ZAdd(context.Background(), "asynq:{"+queue+"}:lease", redis.Z{Member: id, Score: float64(time.Now().Add(10 * time.Minute).Unix())})
				p.HSet(context.Background(), "asynq:{"+queue+"}:t:"+id, "state", "active")
				return nil
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			ids := f.enqueue(t, 3, nil)
			if err := f.inspector.PauseQueue(queue); err != nil { // so that nobody takes them
				t.Fatal(err)
			}
			f.worker(t, serve(answers), nil)
			f.watched(t)
			if err := lose(f, jobs.TaskID(ids[1], 1)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is dispatched again", func() bool {
				info, err := f.inspector.GetTaskInfo(queue, jobs.TaskID(ids[1], 2))
				return err == nil && info.State == asynq.TaskStatePending
			})
			for _, i := range []int{0, 2} {
				if got := f.job(t, ids[i]); got.Gen != 1 {
					t.Errorf("%+v, want it left alone", got)
				}
			}
		})
	}
}

func TestALongAuditGoesOnInTheNextRoundAndBeginsAnewAfterALoss(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.enqueue(t, 25, nil)
	again := func() int {
		return f.count(t, `SELECT count(*) FROM job_queue WHERE gen = 2 AND dispatched_at IS NULL`)
	}
	a := f.auditor(t, nil)
	audit(t, a, true)
	audit(t, a, true)
	if n := again(); n != 0 {
		t.Fatalf("%d deliveries that are in Redis were taken back", n)
	}
	f.flush(t)
	for i, want := range []int{10, 20, 25} {
		audit(t, a, i < 2)
		if n := again(); n != want {
			t.Errorf("round %d: %d taken back, want %d", i, n, want)
		}
	}
	audit(t, a, false)
	a.NextLeader() // the next leader finds nothing left to do
	audit(t, a, false)
	if n := f.count(t, `SELECT count(*) FROM job_states WHERE gen <> 2`); n != 0 {
		t.Errorf("%d jobs were taken back twice", n)
	}
}

// silent is a Redis that knows its epoch and then says nothing more.
type silent struct{ asynq.RedisClientOpt }

func (o silent) MakeRedisClient() any {
	c := o.RedisClientOpt.MakeRedisClient().(*redis.Client)
	c.AddHook(o)
	return c
}

func (silent) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (silent) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook lets the last of many questions fail, as a Redis does that
// loads its data or has gone away in the middle.
func (silent) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, c := range slices.Backward(cmds) {
			if c.Name() == "hget" {
				c.SetErr(errors.New("LOADING Redis is loading the dataset in memory"))
				break
			}
		}
		return err
	}
}

func TestARedisThatCannotBeAskedChangesNothing(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(asynq.RedisClientOpt) asynq.RedisConnOpt{
		"away": func(asynq.RedisClientOpt) asynq.RedisConnOpt {
			return asynq.RedisClientOpt{Addr: "127.0.0.1:1", DialTimeout: time.Second}
		},
		"silent": func(o asynq.RedisClientOpt) asynq.RedisConnOpt { return silent{o} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.enqueue(t, 5, nil)
			f.flush(t)
			a := f.auditor(t, func(c *worker.Config) { c.Redis = broken(f.opt) })
			if _, err := a.Round(t.Context()); err == nil {
				t.Error("no error")
			}
			if n := f.count(t, `SELECT count(*) FROM job_queue WHERE gen = 1 AND dispatched_at IS NOT NULL`); n != 5 {
				t.Errorf("%d of 5 jobs are as they were", n)
			}
			audit(t, f.auditor(t, nil), false)
			if n := f.count(t, `SELECT count(*) FROM job_queue WHERE gen = 2 AND dispatched_at IS NULL`); n != 5 {
				t.Errorf("%d of 5 deliveries were taken back once Redis could be asked", n)
			}
		})
	}
}

// What is being claimed, ended, waited for or acknowledged at that moment has a
// delivery, or is not looked at.
func TestAuditsLeaveAloneWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if n%5 == 0 { // its handler gives it back to the queue
			return providers.Response{}, failure(providers.OutOfMoney, providers.Unbilled)
		}
		return answers(ctx, n, req)
	})
	// No more than the window takes at once: this audit gives nobody time to push.
	const n = 200
	f.enqueue(t, n/2, nil)
	f.worker(t, s, nil)
	f.worker(t, s, nil)
	f.enqueue(t, n/2, func(r *jobs.New) {
		r.Request.Prompt = strings.Replace(r.Request.Prompt, "secret", "other", 1)
	})
	a := f.auditor(t, nil)
	rounds := 0
	eventually(t, "all jobs have succeeded under audit", func() bool {
		for range 20 {
			a.NextLeader()
			for {
				more, err := a.Round(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				rounds++
				if !more {
					break
				}
			}
		}
		return f.count(t, `SELECT count(*) FROM job_states WHERE state <> 'succeeded'`) == 0
	})
	if n := f.count(t, `SELECT count(*) FROM job_states WHERE gen <> 1`); n != 0 {
		t.Errorf("%d deliveries were taken back in %d rounds, and nothing was lost", n, rounds)
	}
	if got := f.count(t, `SELECT count(*) FROM calls WHERE state = 'succeeded'`); got != n {
		t.Errorf("%d calls succeeded, want %d", got, n)
	}
}

// A stale delivery comes back with an older dump of Redis.
func TestADeliveryThatComesBackAfterItsReplacementIsNotSent(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	ids := f.enqueue(t, 15, nil)
	f.flush(t)
	a := f.auditor(t, nil)
	audit(t, a, true)
	audit(t, a, false)
	old := make([]jobs.Delivery, len(ids))
	for i, id := range ids {
		old[i] = jobs.Delivery{ID: id, Gen: 1, Provider: "svc", Lane: jobs.Default, Task: "text"}
	}
	if n, err := f.dispatch.Push(t.Context(), old); n != len(old) || err != nil {
		t.Fatal(n, err)
	}
	f.worker(t, s, nil)
	f.worker(t, s, nil)
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	f.sentOnce(t, s, len(ids))
	if n := f.count(t, `SELECT count(*) FROM job_states WHERE gen <> 2 OR attempt <> 1`); n != 0 {
		t.Errorf("%d jobs ran on a delivery that was replaced", n)
	}
}
