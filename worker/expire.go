package worker

import "context"

// expire ends jobs whose deadline has passed and that nobody runs.
func (t *term) expire(ctx context.Context) (more bool, err error) {
	n, err := t.cfg.Store.Recovery.ExpireOverdue(ctx)
	t.did("job_expired", n)
	if n > 0 {
		t.cfg.Log.Warn().Int("jobs", n).Msg("deadline passed: expired")
	}
	return false, err
}

// sweepCancelled ends the waiting jobs of cancelled batches.
func (t *term) sweepCancelled(ctx context.Context) (more bool, err error) {
	n, err := t.cfg.Store.Recovery.SweepCancelled(ctx)
	t.did("job_cancelled", n)
	if n > 0 {
		t.cfg.Log.Info().Int("jobs", n).Msg("swept jobs of cancelled batches")
	}
	return false, err
}
