package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"oneflow/internal/storetest"
	"oneflow/jobs"
)

// passing counts what a Server really asks Redis for.
type passing struct {
	asynq.RedisConnOpt
	asked *atomic.Int64
}

func (p passing) MakeRedisClient() any {
	client := p.RedisConnOpt.MakeRedisClient()
	client.(redis.UniversalClient).AddHook(p)
	return client
}

func (passing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (passing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (p passing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if _, ok := dequeues(cmd); ok {
			p.asked.Add(1)
		}
		return next(ctx, cmd)
	}
}

func TestAServerHardlyAsksForLanesThatAreEmptyAndSeesWhatComesIn(t *testing.T) {
	t.Parallel()
	const tasks = 2000
	o := storetest.Client(t, storetest.Redis(t)).Options()
	opt := asynq.RedisClientOpt{Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB}
	client := asynq.NewClient(opt)
	t.Cleanup(func() { client.Close() })
	put := func(lane jobs.Lane, n int) {
		for i := range n {
			if _, err := client.Enqueue(asynq.NewTask(string(lane), fmt.Append(nil, i)), asynq.Queue(jobs.QueueName("svc", lane))); err != nil {
				t.Error(err)
			}
		}
	}
	put(jobs.Bulk, tasks)

	var lanes []string
	for _, lane := range jobs.Lanes() {
		lanes = append(lanes, jobs.QueueName("svc", lane))
	}
	var asked, bulk, before atomic.Int64
	ended := make(chan struct{})
	server := asynq.NewServer(passing{skipEmpty{opt, lanes, newConcurrency(1, 1)}, &asked}, asynq.Config{
		Concurrency: 1, LogLevel: asynq.FatalLevel,
		Queues: map[string]int{jobs.QueueName("svc", jobs.High): 6, jobs.QueueName("svc", jobs.Default): 3, jobs.QueueName("svc", jobs.Bulk): 1},
	})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		if task.Type() == string(jobs.High) {
			before.Store(bulk.Load())
			return nil
		}
		switch bulk.Add(1) {
		case tasks / 4:
			put(jobs.High, 1)
		case tasks:
			close(ended)
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	if most := int64(tasks + 1 + tasks/100); asked.Load() > most {
		t.Errorf("%d tasks took %d questions, want one for each, and hardly any for an empty lane", tasks, asked.Load())
	}
	server.Shutdown()
	if n := before.Load(); n == 0 || n > tasks*9/10 {
		t.Errorf("the urgent task was handled after %d of %d others, %d of which were before it", n, tasks, tasks/4)
	}
}

func TestAServerHasAsMuchInHandAsItDoesWhileItRests(t *testing.T) {
	t.Parallel()
	fast, slow := newConcurrency(400, 8000), newConcurrency(4, 8)
	fast.took(200)
	if fast.hasWork() {
		t.Error("it asks for no more with 200 jobs in hand, which it does in 25 ms")
	}
	fast.took(800)
	if !fast.hasWork() {
		t.Error("it asks for more with 1,000 jobs in hand, an eighth of a second's work")
	}
	fast.began(1)
	if fast.hasWork() {
		t.Error("it asks for no more with less than an eighth of a second's work in hand")
	}
	slow.took(2)
	if !slow.hasWork() {
		t.Error("it asks for more with a quarter of a second's work in hand")
	}
}

func TestAServerWithoutRoomLeavesTasksToThoseThatRest(t *testing.T) {
	t.Parallel()
	const tasks = 300
	o := storetest.Client(t, storetest.Redis(t)).Options()
	opt := asynq.RedisClientOpt{Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB}
	client := asynq.NewClient(opt)
	t.Cleanup(func() { client.Close() })
	queue := jobs.QueueName("svc", jobs.Bulk)
	for i := range tasks {
		if _, err := client.Enqueue(asynq.NewTask("text", fmt.Append(nil, i)), asynq.Queue(queue)); err != nil {
			t.Fatal(err)
		}
	}
	in := newConcurrency(1, 1)
	var looks, row, most int // of the one handler
	ended := make(chan struct{})
	server := asynq.NewServer(skipEmpty{opt, []string{queue}, in}, asynq.Config{
		Concurrency: 1, LogLevel: asynq.FatalLevel, Queues: map[string]int{queue: 1}, TaskCheckInterval: 50 * time.Millisecond,
	})
	var last time.Time
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		now := time.Now()
		if now.Sub(last) >= emptyFor {
			row = 0
		}
		looks, row, last = looks+1, row+1, now
		most = max(most, row)
		in.looked(looks == tasks/2, now)
		if looks == tasks {
			close(ended)
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	server.Shutdown()
	if most > 2*looksInARow {
		t.Errorf("it looked at %d tasks in a row without a place for one, want it to rest after %d", most, looksInARow)
	}
}

func TestAServerRestsAfterLookingInVain(t *testing.T) {
	t.Parallel()
	in, now := newConcurrency(1, 1), time.Now()
	look := func(n int, hadPlace bool) {
		for range n {
			in.looked(hadPlace, now)
		}
	}
	look(looksInARow-1, false)
	look(1, true)
	look(looksInARow-1, false)
	if in.rests(now) {
		t.Error("it rests, though it had a place for one of those tasks")
	}
	look(1, false)
	if !in.rests(now) {
		t.Error("it goes on to look, though it had no place for any of those tasks")
	}
	if now = now.Add(emptyFor); in.rests(now) {
		t.Error("it still rests")
	}
	look(looksInARow-1, false)
	if in.rests(now) {
		t.Error("it rests at once after its rest")
	}
}
