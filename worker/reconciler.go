package worker

import (
	"context"
	"time"

	"github.com/hibiken/asynq"

	"oneflow/jobs"
)

const (
	// leaderTTL and a round of somebody else's are how long nobody leads after the
	// leader has died: less than 10 s.
	leaderTTL  = 7 * time.Second
	leaderRole = "reconciler"
	// topUpEvery is how long a window may run down while there is more to do.
	topUpEvery = 200 * time.Millisecond
	// dispatchChunk is how many deliveries are marked and pushed at once.
	dispatchChunk = 2000
	// dispatchBudget is how long one round may push: the leader has to renew its
	// lease in time, and to look after the living.
	dispatchBudget = leaderTTL / 2
)

// reconciler puts right what crashes and outages leave behind. One runs in every
// worker; one of them leads at a time.
type reconciler struct {
	cfg   Config
	rolls time.Time
	// last is when this leader's last round succeeded; zero: the last one failed, or
	// was another's. steady is how long all of them have: as long as Postgres was
	// there for living workers to record what they know.
	last   time.Time
	steady time.Duration
}

func newReconciler(cfg Config) *reconciler { return &reconciler{cfg: cfg} }

// run makes rounds until ctx ends.
func (r *reconciler) run(ctx context.Context) {
	audit, err := newAuditor(r.cfg)
	if err != nil {
		r.cfg.Log.Error().Err(err).Msg("reconciler not started")
		return
	}
	defer func() {
		if err := audit.close(); err != nil {
			r.cfg.Log.Warn().Err(err).Msg("close the reconciler's Redis client")
		}
	}()
	dispatch := jobs.NewDispatcher(asynq.NewClientFromRedisClient(audit.redis), r.cfg.Store)
	for ctx.Err() == nil {
		next := time.Now().Add(r.cfg.pace.reconcile)
		left, err := r.round(ctx, dispatch, audit)
		if err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn().Err(err).Msg("reconciler round failed")
			r.last = time.Time{}
		}
		for left.backlog && !left.audit && time.Now().Before(next) && wait(ctx, topUpEvery) == nil {
			left.backlog = r.topUp(ctx, dispatch)
		}
		if !left.audit {
			_ = wait(ctx, time.Until(next))
		}
	}
	resign, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := r.cfg.Store.Resign(resign, leaderRole, r.cfg.ID); err != nil {
		r.cfg.Log.Debug().Err(err).Msg("resign")
	}
}

// leftover is what a round left to do: jobs that their windows had no room for,
// and the rest of an audit.
type leftover struct{ backlog, audit bool }

// round does what a leader has to do.
func (r *reconciler) round(ctx context.Context, dispatch *jobs.Dispatcher, audit *auditor) (left leftover, err error) {
	leads, beats, err := r.lead(ctx)
	if err != nil {
		return left, err
	}
	if !leads {
		r.last = time.Time{}
		audit.forget()
		return left, nil
	}
	r.updateUptime()
	if err := r.takeOverDead(ctx, beats); err != nil {
		return left, err
	}
	if grace := 2 * r.cfg.pace.silence; r.steady >= grace {
		if n, err := r.cfg.Store.TakeOverdue(ctx, grace); err != nil {
			return left, err
		} else if n > 0 {
			r.cfg.Log.Warn().Int("calls", n).Msg("no outcome was recorded by their deadlines: given up as unknown")
		}
	}
	if n, err := r.cfg.Store.ExpireOverdue(ctx); err != nil {
		return left, err
	} else if n > 0 {
		r.cfg.Log.Warn().Int("jobs", n).Msg("deadline passed: expired")
	}
	if n, err := r.cfg.Store.SweepCancelled(ctx); err != nil {
		return left, err
	} else if n > 0 {
		r.cfg.Log.Info().Int("jobs", n).Msg("swept jobs of cancelled batches")
	}
	// A Redis that is away fails these two, and must not keep the dead from being
	// buried: only what Postgres refuses fails a round.
	if err := audit.round(ctx); err != nil {
		r.warn(ctx, err)
	} else {
		left = leftover{backlog: r.topUp(ctx, dispatch), audit: audit.underway}
	}
	if time.Since(r.rolls) >= 10*time.Second {
		if err := r.cfg.Store.RollUpMetrics(ctx); err != nil {
			return left, err
		}
		r.rolls = time.Now()
	}
	return left, nil
}

func (r *reconciler) warn(ctx context.Context, err error) {
	if ctx.Err() == nil {
		r.cfg.Log.Warn().Err(err).Msg("deliveries not looked after")
	}
}

// lead takes or renews the lease, and looks at the fleet, which those who do not
// lead do too: so silence is counted whoever leads, and however briefly.
func (r *reconciler) lead(ctx context.Context) (leads bool, beats []Heartbeat, err error) {
	// A connection that has gone silent must not keep this worker from it for ever.
	ctx, cancel := context.WithTimeout(ctx, leaderTTL/2)
	defer cancel()
	if leads, err = r.cfg.Store.Lead(ctx, leaderRole, r.cfg.ID, leaderTTL); err != nil {
		return false, nil, err
	}
	beats, err = r.cfg.Store.Heartbeats(ctx, 2*r.cfg.pace.reconcile, leads)
	return leads, beats, err
}

// updateUptime counts how long all has been well.
func (r *reconciler) updateUptime() {
	now := time.Now()
	if r.last.IsZero() {
		r.steady = 0
	} else {
		r.steady += min(now.Sub(r.last), 2*r.cfg.pace.reconcile)
	}
	r.last = now
}

// takeOverDead takes over the jobs of workers that have been silent for too long.
func (r *reconciler) takeOverDead(ctx context.Context, beats []Heartbeat) error {
	for _, b := range beats {
		if b.Silent < r.cfg.pace.silence || b.Worker == r.cfg.ID {
			continue
		}
		n, err := r.cfg.Store.TakeOver(ctx, b.Worker)
		if err != nil {
			return err
		}
		r.cfg.Log.Warn().Stringer("dead_worker", b.Worker).Int("jobs", n).Msg("worker is silent: its jobs were taken over")
	}
	return nil
}

// topUp fills the windows of the queues that have a backlog. It tells whether
// there is more.
func (r *reconciler) topUp(ctx context.Context, d *jobs.Dispatcher) (more bool) {
	queues, err := r.cfg.Store.Backlogs(ctx)
	began := time.Now()
	for _, q := range queues {
		for err == nil && time.Since(began) < dispatchBudget {
			var marked []jobs.Delivery
			var full bool
			if marked, full, err = r.cfg.Store.TopUp(ctx, q, dispatchChunk); len(marked) > 0 {
				_, err = d.Push(ctx, marked)
				r.cfg.Log.Debug().Str("queue", jobs.QueueName(q.Provider, q.Lane)).Int("jobs", len(marked)).Msg("topped up")
			}
			more = more || full || len(marked) > 0
			if len(marked) < dispatchChunk {
				break
			}
		}
	}
	if err != nil {
		r.warn(ctx, err)
		return false
	}
	return more
}
