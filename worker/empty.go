package worker

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"oneflow/jobs"
)

// emptyFor is for how long a lane that was found empty is not looked at again.
// It is little beside a provider call, and beside the 25 ms at least that asynq
// rests when it finds nothing in any lane.
const emptyFor = 10 * time.Millisecond

// skipEmpty connects a Server so that it does not ask for lanes that it has just
// found empty. asynq takes one task at a time, and asks lane by lane: with a full
// bulk lane, most of what it asks for is not there, and the next task waits for
// that.
//
// It does not ask for chunks either while it has enough of them in hand, and for nothing
// while it rests.
type skipEmpty struct {
	asynq.RedisConnOpt
	in *concurrency
}

func (o skipEmpty) MakeRedisClient() any {
	client := o.RedisConnOpt.MakeRedisClient()
	if c, ok := client.(redis.UniversalClient); ok {
		c.AddHook(&emptyLanes{found: map[string]time.Time{}, in: o.in})
	}
	return client
}

// emptyLanes answers in place of Redis that there is no task in a lane.
type emptyLanes struct {
	mu    sync.Mutex
	found map[string]time.Time // lanes by their key in Redis: when they were found empty

	in *concurrency
}

func (*emptyLanes) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*emptyLanes) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (e *emptyLanes) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		lane, ok := dequeues(cmd)
		if !ok {
			return next(ctx, cmd)
		}
		if e.empty(lane) || e.in.rests(time.Now()) || strings.HasSuffix(lane, "."+string(jobs.Bulk)+"}:pending") && e.in.hasWork() {
			cmd.SetErr(redis.Nil)
			return redis.Nil
		}
		err := next(ctx, cmd)
		if err == redis.Nil { //nolint:errorlint // as asynq compares it
			e.mu.Lock()
			defer e.mu.Unlock()
			e.found[lane] = time.Now()
		}
		return err
	}
}

func (e *emptyLanes) empty(lane string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Since(e.found[lane]) < emptyFor
}

// dequeues reports whether a command is asynq's script that takes a task, and of
// which lane: no other begins with the list of what is pending.
func dequeues(cmd redis.Cmder) (lane string, ok bool) {
	const script, first = 0, 3
	args := cmd.Args()
	if len(args) <= first || args[script] != "evalsha" {
		return "", false
	}
	lane, ok = args[first].(string)
	return lane, ok && strings.HasSuffix(lane, ":pending")
}
