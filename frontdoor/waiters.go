package frontdoor

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
)

// pollEvery is the time between two looks for ends where nobody tells of them.
const pollEvery = time.Second

// waiters tells those who wait for jobs of their ends: any number of them by one question
// to the database.
type waiters struct {
	store CallStore
	wake  chan struct{} // somebody has come

	mu   sync.Mutex
	jobs map[uuid.UUID][]chan struct{}
}

func newWaiters(store CallStore) *waiters {
	return &waiters{store: store, wake: make(chan struct{}, 1), jobs: map[uuid.UUID][]chan struct{}{}}
}

// wait returns a channel that is closed when the job has ended, and a function to call
// when nobody waits any more.
func (w *waiters) wait(id uuid.UUID) (ended <-chan struct{}, leave func()) {
	c := make(chan struct{})
	w.mu.Lock()
	w.jobs[id] = append(w.jobs[id], c)
	w.mu.Unlock()
	// It may have ended already.
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		left := slices.DeleteFunc(w.jobs[id], func(other chan struct{}) bool { return other == c })
		if w.jobs[id] = left; len(left) == 0 {
			delete(w.jobs, id)
		}
	}
}

// run looks for ends until ctx ends.
func (w *waiters) run(ctx context.Context, hints <-chan struct{}, log zerolog.Logger) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hints:
		case <-tick.C:
		case <-w.wake:
		}
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			log.Warn().Err(err).Msg("calls of programs wait for the database")
		}
	}
}

func (w *waiters) look(ctx context.Context) error {
	w.mu.Lock()
	ids := slices.Collect(maps.Keys(w.jobs))
	w.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	ended, err := w.store.EndedOf(ctx, ids)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ended {
		for _, c := range w.jobs[id] {
			close(c)
		}
		delete(w.jobs, id)
	}
	return nil
}

// Waiting returns the number of calls that wait for their jobs' ends.
func (f *FrontDoor) Waiting() int {
	f.ended.mu.Lock()
	defer f.ended.mu.Unlock()
	n := 0
	for _, c := range f.ended.jobs {
		n += len(c)
	}
	return n
}
