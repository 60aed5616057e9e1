package worker

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"oneflow/internal/sleep"
)

// beat renews the heartbeat until ctx ends, and gives jobs back that Postgres
// says this worker runs, but that no handler has in hand. One that fails, or that
// Postgres does not answer in the time between two, is made up for soon: whoever is
// not heard of for too long counts as dead.
func (w *Worker) beat(ctx context.Context, held *sync.Map) {
	var missed map[uuid.UUID]bool
	every := w.cfg.pace.heartbeat
	for pause := every; sleep.For(ctx, pause) == nil; {
		var err error
		if missed, err = w.beatOnce(ctx, held, missed); err == nil {
			pause = every
			continue
		}
		pause = every / 5
		if ctx.Err() == nil {
			w.cfg.Log.Warn().Err(err).Msg("heartbeat failed")
		}
	}
}

func (w *Worker) beatOnce(ctx context.Context, held *sync.Map, missed map[uuid.UUID]bool) (map[uuid.UUID]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatEvery)
	defer cancel()
	if err := w.cfg.Store.Presence.Heartbeat(ctx, w.cfg.ID); err != nil {
		return missed, err
	}
	return w.takeBack(ctx, held, missed)
}

// takeBack gives back what nobody has had in hand for two heartbeats: a handler
// that could not record its end has left it behind. It returns what to look at
// the next time.
func (w *Worker) takeBack(ctx context.Context, held *sync.Map, missed map[uuid.UUID]bool) (map[uuid.UUID]bool, error) {
	leases, err := w.cfg.Store.Presence.Leases(ctx, w.cfg.ID)
	if err != nil {
		return nil, err
	}
	unheld := map[uuid.UUID]bool{}
	var lost []uuid.UUID
	for _, l := range leases {
		if _, ok := held.Load(l); ok {
			continue
		}
		unheld[l] = true
		if missed[l] {
			lost = append(lost, l)
		}
	}
	if len(lost) == 0 {
		return unheld, nil
	}
	n, err := w.cfg.Store.Presence.TakeBack(ctx, w.cfg.ID, lost)
	w.cfg.Log.Warn().Int("jobs", n).Msg("took back jobs whose end could not be recorded")
	return unheld, err
}
