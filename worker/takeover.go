package worker

import "context"

// takeOverDead takes over the jobs of workers that have been silent for too long. That is for the
// leader to do; another worker does it where none has for as long as it takes to elect one: leaders
// may die one after the other.
func (r *reconciler) takeOverDead(ctx context.Context) error {
	silence := r.cfg.pace.silence
	if r.term == nil {
		silence += leaderTTL
	}
	for _, h := range r.heartbeats {
		if h.Silent < silence || h.Worker == r.cfg.ID {
			continue
		}
		n, err := r.cfg.Store.Recovery.TakeOver(ctx, h.Worker)
		if err != nil {
			return err
		}
		if n == 0 && r.term == nil {
			continue // several may see it at once: another was faster
		}
		r.actions.did("worker_taken_over", 1)
		r.actions.did("job_taken_over", n)
		r.cfg.Log.Warn().Stringer("dead_worker", h.Worker).Int("jobs", n).Msg("worker is silent: its jobs were taken over")
	}
	return nil
}

// giveUpOverdue gives up the calls of living workers that nobody has settled long
// after their deadlines, once Postgres has been there for long enough.
func (t *term) giveUpOverdue(ctx context.Context) (more bool, err error) {
	grace := 2 * t.cfg.pace.silence
	if t.uptime < grace {
		return false, nil
	}
	n, err := t.cfg.Store.Recovery.TakeOverdue(ctx, grace)
	t.did("call_given_up", n)
	if n > 0 {
		t.cfg.Log.Warn().Int("calls", n).Msg("no outcome was recorded by their deadlines: given up as unknown")
	}
	return false, err
}
