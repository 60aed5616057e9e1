package chaos

import (
	"context"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// killRedis kills Redis under load and starts it again after the pause, so many
// times.
func killRedis(x *experiment, times int, pause time.Duration) {
	for i := range times {
		x.progressed(time.Minute, int64(20+i*60))
		x.pass(x.between(0, 500*time.Millisecond))
		x.breakRedis(func() {
			x.end(x.redis, syscall.SIGKILL)
			x.pass(pause)
			x.begin(x.redis)
		})
	}
}

// flushRedis is FLUSHALL, as somebody types it into the wrong window.
func flushRedis(x *experiment, times, between int) {
	client := x.client()
	defer func() { _ = client.Close() }()
	for i := range times {
		x.progressed(2*time.Minute, int64(20+i*between))
		x.pass(x.between(0, 500*time.Millisecond))
		x.breakRedis(func() {
			if err := client.FlushAll(context.WithoutCancel(x.t.Context())).Err(); err != nil {
				x.t.Fatal(err)
			}
		})
	}
}

// breakRedis does something to Redis and waits for the next result, and until all
// that waits is queued there again. No call may be repeated for it.
func (x *experiment) breakRedis(how func()) {
	x.t.Helper()
	x.hurt(0)
	how()
	mended := time.Now()
	x.recovered(x.workFrom(mended))
	x.until(time.Minute, "all that waits to be queued again", x.queued)
	if took := time.Since(mended); took > 30*time.Second {
		x.t.Errorf("all that waits was queued again after %s, want 30 s at most", took)
	}
}

// queued reports whether each job that waits has its task in Redis, and asynq lists the
// queue.
func (x *experiment) queued() bool {
	x.t.Helper()
	// What is due, is due: a job that waits for its retry has a task too.
	ids, err := ask[[]string](x, `
		SELECT coalesce(array_agg(CASE WHEN dispatched_at IS NULL THEN 'none' ELSE coalesce(delivery_id, job_id || '-' || gen) END), '{}')
		FROM job_queue
		WHERE worker_id IS NULL`)
	if err != nil {
		return false
	}
	client := x.client()
	defer func() { _ = client.Close() }()
	ctx := context.WithoutCancel(x.t.Context())
	pipe := client.Pipeline()
	listed := pipe.SIsMember(ctx, "asynq:queues", "openai.bulk")
	tasks := make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		tasks[i] = pipe.Exists(ctx, "asynq:{openai.bulk}:t:"+id)
	}
	if _, err := pipe.Exec(ctx); err != nil || !listed.Val() {
		return false
	}
	for _, t := range tasks {
		if t.Val() == 0 {
			return false // or it was claimed just now
		}
	}
	return true
}
