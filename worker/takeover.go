package worker

import "context"

// takeOverDead takes over the jobs of workers that have been silent for too long.
func (t *term) takeOverDead(ctx context.Context) (more bool, err error) {
	for _, h := range t.heartbeats {
		if h.Silent < t.cfg.pace.silence || h.Worker == t.cfg.ID {
			continue
		}
		n, err := t.cfg.Store.Recovery.TakeOver(ctx, h.Worker)
		if err != nil {
			return false, err
		}
		t.did("worker_taken_over", 1)
		t.did("job_taken_over", n)
		t.cfg.Log.Warn().Stringer("dead_worker", h.Worker).Int("jobs", n).Msg("worker is silent: its jobs were taken over")
	}
	return false, nil
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
