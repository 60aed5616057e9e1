package app

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"oneflow/fleet"
)

const (
	// waitedEvery is the time between two notes of how long calls have waited, and waitedWithin
	// bounds one.
	waitedEvery  = 10 * time.Second
	waitedWithin = 5 * time.Second
)

// waited counts how long a worker's calls have waited for their slots, and tells it to the store
// now and then. What a worker that is killed has not told is lost: nothing but a metric stands on
// it.
type waited struct {
	add func(context.Context, map[string]fleet.LimiterWaits) error
	log zerolog.Logger

	mu    sync.Mutex
	calls map[string]fleet.LimiterWaits // by provider, since the last note
}

// note counts a call.
func (w *waited) note(provider string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum, ok := w.calls[provider]
	if !ok {
		sum = fleet.LimiterWaits{}.Plus(sum)
	}
	sum.Calls[fleet.WaitBucket(d)]++
	sum.Seconds += d.Seconds()
	if w.calls == nil {
		w.calls = map[string]fleet.LimiterWaits{}
	}
	w.calls[provider] = sum
}

// tell tells the store what was counted; what it does not take is told the next time.
func (w *waited) tell(ctx context.Context) {
	w.mu.Lock()
	calls := w.calls
	w.calls = nil
	w.mu.Unlock()
	if len(calls) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, waitedWithin)
	defer cancel()
	err := w.add(ctx, calls)
	if err == nil {
		return
	}
	w.log.Debug().Err(err).Msg("waiting times of calls not recorded yet")
	w.mu.Lock()
	defer w.mu.Unlock()
	for provider, more := range w.calls {
		calls[provider] = calls[provider].Plus(more)
	}
	w.calls = calls
}

// run tells the store again and again, and once more when ctx has ended.
func (w *waited) run(ctx context.Context) {
	tick := time.NewTicker(waitedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			w.tell(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			w.tell(ctx)
		}
	}
}
