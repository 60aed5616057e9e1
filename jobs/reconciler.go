package jobs

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
)

const (
	leaderTTL  = 10 * time.Second
	leaderRole = "reconciler"
	// dispatchChunk is how many deliveries are marked and pushed at once.
	dispatchChunk = 2000
)

// reconciler puts right what crashes and outages leave behind. One runs in every
// worker; one of them leads at a time.
type reconciler struct {
	cfg   WorkerConfig
	seen  map[uuid.UUID]*pulse
	last  time.Time
	rolls time.Time
}

// pulse is what the leader knows of one worker. Silence is counted over the
// leader's own successful rounds, so that a Postgres that was away does not look
// like a dead fleet.
type pulse struct {
	at     time.Time
	silent time.Duration
}

func newReconciler(cfg WorkerConfig) *reconciler {
	return &reconciler{cfg: cfg, seen: map[uuid.UUID]*pulse{}}
}

// run makes rounds until ctx ends.
func (r *reconciler) run(ctx context.Context) {
	client := asynq.NewClient(r.cfg.Redis)
	defer func() {
		if err := client.Close(); err != nil {
			r.cfg.Log.Warn().Err(err).Msg("close the reconciler's Redis client")
		}
	}()
	dispatch := NewDispatcher(client, r.cfg.Store)
	for {
		if err := r.round(ctx, dispatch); err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn().Err(err).Msg("reconciler round failed")
			r.last = time.Time{}
		}
		if wait(ctx, r.cfg.pace.reconcile) != nil {
			break
		}
	}
	resign, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := r.cfg.Store.Resign(resign, leaderRole, r.cfg.ID); err != nil {
		r.cfg.Log.Debug().Err(err).Msg("resign")
	}
}

func (r *reconciler) round(ctx context.Context, dispatch *Dispatcher) error {
	leads, err := r.cfg.Store.Lead(ctx, leaderRole, r.cfg.ID, leaderTTL)
	if err != nil {
		return err
	}
	if !leads {
		r.last = time.Time{}
		return nil
	}
	if err := r.bury(ctx); err != nil {
		return err
	}
	if n, err := r.cfg.Store.ExpireOverdue(ctx); err != nil {
		return err
	} else if n > 0 {
		r.cfg.Log.Warn().Int("jobs", n).Msg("deadline passed: expired")
	}
	if n, err := r.cfg.Store.SweepCancelled(ctx); err != nil {
		return err
	} else if n > 0 {
		r.cfg.Log.Info().Int("jobs", n).Msg("swept jobs of cancelled batches")
	}
	if err := r.dispatch(ctx, dispatch); err != nil {
		return err
	}
	if time.Since(r.rolls) >= 10*time.Second {
		if err := r.cfg.Store.RollUpMetrics(ctx); err != nil {
			return err
		}
		r.rolls = time.Now()
	}
	return nil
}

// bury takes over the jobs of workers that have been silent for too long.
func (r *reconciler) bury(ctx context.Context) error {
	beats, err := r.cfg.Store.Beats(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	var passed time.Duration
	if !r.last.IsZero() {
		passed = min(now.Sub(r.last), 2*r.cfg.pace.reconcile)
	}
	r.last = now
	live := make(map[uuid.UUID]*pulse, len(beats))
	for _, b := range beats {
		p := r.seen[b.Worker]
		switch {
		case p == nil || !p.at.Equal(b.At):
			p = &pulse{at: b.At}
		default:
			p.silent += passed
		}
		live[b.Worker] = p
		if p.silent < r.cfg.pace.silence || b.Worker == r.cfg.ID {
			continue
		}
		n, err := r.cfg.Store.TakeOver(ctx, b.Worker)
		if err != nil {
			return err
		}
		r.cfg.Log.Warn().Stringer("dead_worker", b.Worker).Int("jobs", n).Msg("worker is silent: its jobs were taken over")
		delete(live, b.Worker)
	}
	r.seen = live
	return nil
}

// dispatch pushes what has no delivery.
func (r *reconciler) dispatch(ctx context.Context, d *Dispatcher) error {
	for {
		marked, err := r.cfg.Store.MarkUndispatched(ctx, dispatchChunk)
		if err != nil || len(marked) == 0 {
			return err
		}
		n, err := d.Push(ctx, marked)
		if n > 0 {
			r.cfg.Log.Info().Int("jobs", n).Msg("dispatched jobs that had no delivery")
		}
		if err != nil {
			return err
		}
	}
}
