package chaos

import (
	"context"
	"syscall"
	"time"
)

// killRedis kills Redis under load and starts it again after the pause, so many
// times.
func killRedis(w *world, times int, pause time.Duration) {
	for i := range times {
		w.progressed(time.Minute, int64(20+i*60))
		w.pass(w.between(0, 500*time.Millisecond))
		w.breakRedis(func() {
			w.end(w.redis, syscall.SIGKILL)
			w.pass(pause)
			w.begin(w.redis)
		})
	}
}

// flushRedis is FLUSHALL, as somebody types it into the wrong window.
func flushRedis(w *world, times, between int) {
	client := w.client()
	defer func() { _ = client.Close() }()
	for i := range times {
		w.progressed(2*time.Minute, int64(20+i*between))
		w.pass(w.between(0, 500*time.Millisecond))
		w.breakRedis(func() {
			if err := client.FlushAll(context.WithoutCancel(w.t.Context())).Err(); err != nil {
				w.t.Fatal(err)
			}
		})
	}
}

// breakRedis does something to Redis and waits for the next result. No call may be
// repeated for it.
func (w *world) breakRedis(how func()) {
	w.t.Helper()
	w.hurt(0)
	how()
	mended := time.Now()
	w.recovered(w.workFrom(mended))
}
