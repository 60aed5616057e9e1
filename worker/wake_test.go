package worker_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"oneflow/jobs"
	"oneflow/worker"
)

// asking counts the commands that a worker sends to Redis.
type asking struct {
	asynq.RedisConnOpt
	asked *atomic.Int64
}

func (a asking) MakeRedisClient() any {
	client := a.RedisConnOpt.MakeRedisClient()
	client.(redis.UniversalClient).AddHook(a)
	return client
}

func (asking) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a asking) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		a.asked.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

func (a asking) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		a.asked.Add(1)
		return next(ctx, cmd)
	}
}

func TestAnIdleWorkerHardlyAsksRedisHoweverManyProvidersItServes(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var asked atomic.Int64
	f.worker(t, serve(answers), func(c *worker.Config) {
		c.Redis = asking{f.opt, &asked}
		for i := range 29 {
			c.Providers = append(c.Providers, worker.Served{Name: "idle" + strconv.Itoa(i), Kind: "test", Concurrency: 8})
		}
		c.Hasten(time.Second, 2*time.Second, time.Minute)
	})
	f.awaitPlanned(t, 8)
	f.awaitAll(t, jobs.Succeeded) // none
	began, before := time.Now(), asked.Load()
	f.exec(t, `CREATE TABLE began AS SELECT now() AS at`)
	eventually(t, "3 s of heartbeats have gone by", func() bool {
		return f.count(t, `SELECT count(*) FROM workers, began WHERE heartbeat_at > began.at + interval '3 seconds'`) == 1
	})
	if rate := float64(asked.Load()-before) / time.Since(began).Seconds(); rate > 50 {
		t.Errorf("an idle worker with 30 providers asked Redis %.0f times a second, want at most 50", rate)
	}
	f.awaitServers(t)

	// A job starts its provider's Servers, and no others.
	f.enqueue(t, 1, nil)
	f.awaitAll(t, jobs.Succeeded)
	f.awaitServers(t, 2, 8)
}

func TestServersLeaveWhenThereIsNoWorkAndComeBackForWhatAPersonRunsAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	var asked atomic.Int64
	f.worker(t, s, func(c *worker.Config) {
		c.Redis = asking{f.opt, &asked}
		c.HastenIdle(50 * time.Millisecond)
	})
	f.enqueue(t, 3, nil)
	f.awaitAll(t, jobs.Succeeded)
	f.awaitServers(t)

	// Nothing starts for a queue that a person has paused.
	if err := f.inspector.PauseQueue(jobs.QueueName("svc", jobs.Default)); err != nil {
		t.Fatal(err)
	}
	f.enqueue(t, 1, nil)
	before := asked.Load()
	eventually(t, "the worker has looked again and again", func() bool { return asked.Load() > before+40 })
	if got := f.servers(t); len(got) != 0 {
		t.Errorf("Servers %v serve a queue that is paused", got)
	}

	// Nothing but the queue says that it goes on, as when a task is run in asynqmon.
	if err := f.inspector.UnpauseQueue(jobs.QueueName("svc", jobs.Default)); err != nil {
		t.Fatal(err)
	}
	f.awaitAll(t, jobs.Succeeded)
	if n := len(s.made()); n != 4 {
		t.Errorf("%d calls, want 4", n)
	}
}
