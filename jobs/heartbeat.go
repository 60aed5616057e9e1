package jobs

import (
	"context"
	"sync"

	"github.com/google/uuid"
)

// beat renews the heartbeat until ctx ends, and gives jobs back that Postgres
// says this worker runs, but that no handler has in hand.
func (w *Worker) beat(ctx context.Context, held *sync.Map) {
	var missed map[uuid.UUID]bool
	for wait(ctx, w.cfg.pace.heartbeat) == nil {
		err := w.cfg.Store.Heartbeat(ctx, w.cfg.ID)
		if err == nil {
			missed, err = w.takeBack(ctx, held, missed)
		}
		if err != nil && ctx.Err() == nil {
			w.cfg.Log.Warn().Err(err).Msg("heartbeat failed")
		}
	}
}

// takeBack gives back what nobody has had in hand for two heartbeats: a handler
// that could not record its end has left it behind. It returns what to look at
// the next time.
func (w *Worker) takeBack(ctx context.Context, held *sync.Map, missed map[uuid.UUID]bool) (map[uuid.UUID]bool, error) {
	leases, err := w.cfg.Store.Leases(ctx, w.cfg.ID)
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
	n, err := w.cfg.Store.TakeBack(ctx, w.cfg.ID, lost)
	w.cfg.Log.Warn().Int("jobs", n).Msg("took back jobs whose end could not be recorded")
	return unheld, err
}
