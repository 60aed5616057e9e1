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
// found empty. asynq takes one task at a time, and asks lane by lane, each by a script: with a full
// bulk lane, most of what it asks for is not there, and the next task waits for
// that. So it looks first at how long the lanes are, at all in one round trip.
//
// It does not ask for chunks either while it has enough of them in hand, and for nothing
// while it rests.
type skipEmpty struct {
	asynq.RedisConnOpt
	lanes []string // their queues
	in    *concurrency
}

func (o skipEmpty) MakeRedisClient() any {
	client := o.RedisConnOpt.MakeRedisClient()
	if c, ok := client.(redis.UniversalClient); ok {
		e := &emptyLanes{redis: c, found: map[string]time.Time{}, in: o.in}
		for _, queue := range o.lanes {
			e.lanes = append(e.lanes, "asynq:{"+queue+"}"+pending)
		}
		c.AddHook(e)
	}
	return client
}

// pending ends the key of the list of a lane's tasks, in all versions of asynq.
const pending = ":pending"

// emptyLanes answers in place of Redis that there is no task in a lane.
type emptyLanes struct {
	redis redis.UniversalClient
	lanes []string // by their keys in Redis

	mu     sync.Mutex
	looked time.Time            // when it was asked for the length of all
	found  map[string]time.Time // when they were found empty

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
		if e.in.rests(time.Now()) || e.hasChunks(lane) {
			cmd.SetErr(redis.Nil)
			return redis.Nil
		}
		if err := e.empty(ctx, lane); err != nil {
			cmd.SetErr(err)
			return err
		}
		err := next(ctx, cmd)
		if err == redis.Nil { //nolint:errorlint // as asynq compares it
			e.foundEmpty(lane)
		}
		return err
	}
}

// hasChunks reports whether a lane is one of chunks, and enough of these are in hand.
func (e *emptyLanes) hasChunks(lane string) bool {
	return strings.HasSuffix(lane, "."+string(jobs.Bulk)+"}"+pending) && e.in.hasWork()
}

// empty fails with redis.Nil where a lane was empty just now. Where that is not known it looks at all,
// and fails where Redis does not answer.
func (e *emptyLanes) empty(ctx context.Context, lane string) error {
	e.mu.Lock()
	looks := time.Since(e.looked) >= emptyFor && time.Since(e.found[lane]) >= emptyFor
	if looks {
		e.looked = time.Now()
	}
	e.mu.Unlock()
	if looks {
		if err := e.look(ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.found[lane]) < emptyFor {
		return redis.Nil
	}
	return nil
}

// look asks Redis for the lengths of the lanes.
func (e *emptyLanes) look(ctx context.Context) error {
	var p []*redis.IntCmd
	_, err := e.redis.Pipelined(ctx, func(all redis.Pipeliner) error {
		for _, lane := range e.lanes {
			p = append(p, all.LLen(ctx, lane))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, length := range p {
		if length.Val() == 0 {
			e.foundEmpty(e.lanes[i])
		}
	}
	return nil
}

func (e *emptyLanes) foundEmpty(lane string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.found[lane] = time.Now()
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
	return lane, ok && strings.HasSuffix(lane, pending)
}
