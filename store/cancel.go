package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// Cancelled counts what a cancellation did.
type Cancelled struct {
	// Jobs counts the waiting jobs that were ended.
	Jobs int64
	// Running counts those that have a call under way: that call is paid for and may
	// finish, and is not followed by another.
	Running int64
	// Left counts the waiting jobs of a large batch that are not marked yet: none of them
	// is sent any more, and the workers mark them.
	Left int64
}

// cancelFor is the time for which a cancellation marks jobs itself. The batch's own mark,
// which is set first, is what stops them.
const cancelFor = 2 * time.Second

// Cancel cancels a job or a batch, also one whose rows are still coming in. It
// may be called any number of times. It fails with jobs.ErrNotFound.
func (s *Store) Cancel(ctx context.Context, id string) (Cancelled, error) {
	var c Cancelled
	var err error
	if jobID, parseErr := uuid.Parse(id); parseErr == nil {
		c, err = s.cancelJob(ctx, jobID)
		if !errors.Is(err, jobs.ErrNotFound) {
			return c, err
		}
	}
	return s.cancelBatch(ctx, id)
}

func (s *Store) cancelJob(ctx context.Context, id uuid.UUID) (c Cancelled, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		var state jobs.State
		err := tx.QueryRow(ctx, `SELECT state FROM job_states WHERE job_id = $1 FOR NO KEY UPDATE`, id).Scan(&state)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%s: %w", id, jobs.ErrNotFound)
		}
		if err != nil || state.Finished() {
			return err
		}
		c = Cancelled{}
		if state == jobs.Running {
			c.Running = 1
		} else {
			c.Jobs = 1
		}
		_, err = tx.Exec(ctx, `
			UPDATE job_states
			SET cancel_requested_at = coalesce(cancel_requested_at, now()),
				state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
				finished_at = CASE WHEN state = 'running' THEN NULL ELSE now() END
			WHERE job_id = $1`, id)
		return err
	})
	return c, err
}

func (s *Store) cancelBatch(ctx context.Context, id string) (c Cancelled, err error) {
	ids := []string{id}
	rows, err := s.pool.Query(ctx, `SELECT batch_id FROM steps WHERE pipeline = $1 AND place > 0 ORDER BY place`, id)
	if err == nil {
		var later []string
		later, err = pgx.CollectRows(rows, pgx.RowTo[string])
		ids = append(ids, later...)
	}
	if err != nil {
		return c, fmt.Errorf("cancel batch %s: %w", id, err)
	}
	for _, one := range ids {
		n, err := s.cancelOne(ctx, one)
		if err != nil {
			return c, err
		}
		c.Jobs, c.Running, c.Left = c.Jobs+n.Jobs, c.Running+n.Running, c.Left+n.Left
	}
	return c, nil
}

// cancelOne cancels a batch, and not the later steps of its pipeline.
func (s *Store) cancelOne(ctx context.Context, id string) (c Cancelled, err error) {
	// A batch that has finished stays so.
	tag, err := s.pool.Exec(ctx, `
		UPDATE batches b
		SET cancelled_at = CASE
			WHEN sealed_at IS NULL OR (
				SELECT sum(scheduled + queued + running + retrying) FROM batch_counts c WHERE c.batch_id = b.id) > 0
				THEN coalesce(cancelled_at, now())
			ELSE cancelled_at
			END
		WHERE id = $1`, id)
	if err != nil {
		return c, fmt.Errorf("cancel batch %s: %w", id, err)
	}
	if tag.RowsAffected() == 0 {
		return c, fmt.Errorf("%s: %w", id, jobs.ErrNotFound)
	}
	// In chunks, so that no transaction is long. From here on no row comes in and
	// no job is claimed; a job that is being written just now is swept later.
	for began := time.Now(); time.Since(began) < cancelFor; {
		tag, err := s.pool.Exec(ctx, cancelWaiting(`SELECT job_id FROM job_queue WHERE batch_id = $1 AND worker_id IS NULL LIMIT 5000`), id)
		if err != nil {
			return c, fmt.Errorf("cancel batch %s: %w", id, err)
		}
		c.Jobs += tag.RowsAffected()
		if tag.RowsAffected() == 0 {
			break
		}
	}
	err = s.pool.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE worker_id IS NOT NULL), count(*) FILTER (WHERE worker_id IS NULL)
		FROM job_queue
		WHERE batch_id = $1`, id).Scan(&c.Running, &c.Left)
	if err != nil {
		return c, fmt.Errorf("cancel batch %s: %w", id, err)
	}
	return c, nil
}

// cancelWaiting cancels those of the jobs that a query selects that wait and that
// nobody else has locked.
func cancelWaiting(query string) string {
	return `
		UPDATE job_states s
		SET state = 'cancelled', finished_at = now()
		FROM (
			SELECT job_id
			FROM job_states
			WHERE job_id = ANY (ARRAY(` + query + `)) AND state IN ` + waitingStates + `
			FOR NO KEY UPDATE SKIP LOCKED
		) waiting
		WHERE s.job_id = waiting.job_id`
}
