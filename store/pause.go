package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"oneflow/jobs"
)

// Pause holds a job or a batch back, also one whose rows are still coming in. A call
// that is under way, or being begun at that moment, may finish; no other follows.
// It may be called any number of times, and fails with jobs.ErrNotFound. What Redis
// holds of it is put aside when it is delivered.
func (s *Store) Pause(ctx context.Context, id string) error {
	return s.setPaused(ctx, id, `coalesce(paused_at, now())`)
}

// Resume lets a job or a batch go on that Pause has held back. It fails with
// jobs.ErrNotFound, and with jobs.ErrBatchCancelled where nothing will go on.
func (s *Store) Resume(ctx context.Context, id string) error {
	if _, _, err := s.selection(ctx, id); err != nil {
		return fmt.Errorf("resume %s: %w", id, err)
	}
	return s.setPaused(ctx, id, `NULL`)
}

func (s *Store) setPaused(ctx context.Context, id, value string) error {
	if jobID, err := uuid.Parse(id); err == nil {
		tag, err := s.pool.Exec(ctx, `UPDATE job_states SET paused_at = `+value+` WHERE job_id = $1 AND finished_at IS NULL`, jobID)
		if err != nil {
			return fmt.Errorf("pause or resume job %s: %w", id, err)
		}
		if tag.RowsAffected() == 1 {
			return nil
		}
	}
	tag, err := s.pool.Exec(ctx, `UPDATE batches SET paused_at = `+value+` WHERE id = ANY (`+allSteps+`) AND removed_at IS NULL`, id)
	if err != nil {
		return fmt.Errorf("pause or resume batch %s: %w", id, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%s: %w, or it has finished", id, jobs.ErrNotFound)
	}
	return nil
}
