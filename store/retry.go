package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// Retried counts what a retry did.
type Retried struct {
	// Jobs counts those that were brought back.
	Jobs int64
	// Left counts the failed, unknown and expired ones that were not, by state.
	Left map[jobs.State]int64
}

// Retry brings those jobs of a batch, or the one job, back whose end is one of
// states: Failed, Unknown and Expired can be; of those with an error class, where it is
// not empty, only that one; never those that were refused before they were jobs (see
// RefuseSubmission), which have no request to send. They are queued with a new generation,
// all their attempts and calls, and at least jobs.DefaultDeadline of time; a worker
// dispatches them. The ledger stays, and so do crashes: a quarantined job runs
// alone, and the next worker's death quarantines it again. It fails with
// jobs.ErrNotFound and jobs.ErrBatchCancelled.
func (s *Store) Retry(ctx context.Context, id string, states []jobs.State, class string) (Retried, error) {
	r := Retried{Left: map[jobs.State]int64{}}
	of, began, err := s.selection(ctx, id)
	if err != nil {
		return r, fmt.Errorf("retry %s: %w", id, err)
	}
	ended, err := s.selectJobs(ctx, of, `state = ANY ($3) AND ($4 = '' OR error_class = $4) AND error_class <> 'refused' AND finished_at <= $2`, began, states, class)
	if err != nil {
		return r, fmt.Errorf("retry %s: %w", id, err)
	}
	for chunk := range slices.Chunk(ended, manyJobs) {
		var n int64
		err := again(ctx, func() error {
			tag, err := s.pool.Exec(ctx, `
				UPDATE job_states s
				SET `+requeued+`
				WHERE job_id = ANY ($1) AND state = ANY ($3) AND finished_at <= $4`, chunk, jobs.DefaultDeadline.Seconds(), states, began)
			n = tag.RowsAffected()
			return err
		})
		if err != nil {
			return r, fmt.Errorf("retry %s: %w", id, err)
		}
		r.Jobs += n
	}
	rows, err := s.pool.Query(ctx, `
		SELECT state, count(*)
		FROM job_states
		WHERE `+of.states+` AND state IN ('failed', 'unknown', 'expired')
		GROUP BY state`, of.id)
	if err != nil {
		return r, fmt.Errorf("retry %s: %w", id, err)
	}
	var state jobs.State
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&state, &n}, func() error { r.Left[state] = n; return nil })
	if err != nil {
		return r, fmt.Errorf("retry %s: %w", id, err)
	}
	return r, nil
}

// requeued brings the state s of an ended job back. $2 are the seconds that it gets
// at least.
const requeued = `
	state = 'queued',
	gen = s.gen + 1,
	retry_gen = s.gen + 1,
	attempt = 0,
	not_before = NULL,
	wait_reason = '',
	deadline = greatest(s.deadline, now() + make_interval(secs => $2)),
	finished_at = NULL,
	cancel_requested_at = NULL,
	error_class = '',
	error_message = ''`

// selection is a job, or the jobs of a batch.
type selection struct {
	// jobs and states select their rows of jobs and of job_states by $1.
	jobs, states string
	id           any
}

// manyJobs bounds the jobs that are changed in one transaction.
const manyJobs = 5000

// selectJobs returns those of the selected jobs whose state s fulfils a condition, in
// which $2 and further ones are args.
func (s *Store) selectJobs(ctx context.Context, of selection, condition string, args ...any) ([]uuid.UUID, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT job_id
		FROM job_states s
		WHERE `+of.states+` AND (`+condition+`)
		ORDER BY job_id`, append([]any{of.id}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// selection finds out what id names, and what time it is in the database. It
// fails with jobs.ErrNotFound, and with jobs.ErrBatchCancelled where nothing may
// be queued.
func (s *Store) selection(ctx context.Context, id string) (of selection, now time.Time, err error) {
	var cancelled, removed bool
	err = pgx.ErrNoRows
	if jobID, parseErr := uuid.Parse(id); parseErr == nil {
		of = selection{`id = $1`, `job_id = $1`, jobID}
		err = s.pool.QueryRow(ctx, `
			SELECT b.cancelled_at IS NOT NULL, now()
			FROM jobs j
			LEFT JOIN batches b ON b.id = j.batch_id
			WHERE j.id = $1`, jobID).Scan(&cancelled, &now)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		of = selection{`batch_id = ANY (` + allSteps + `)`, `job_id IN (SELECT id FROM jobs WHERE batch_id = ANY (` + allSteps + `))`, id}
		err = s.pool.QueryRow(ctx, `SELECT cancelled_at IS NOT NULL, removed_at IS NOT NULL, now() FROM batches WHERE id = $1`, id).Scan(&cancelled, &removed, &now)
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return of, now, jobs.ErrNotFound
	case err == nil && removed:
		return of, now, jobs.ErrBatchRemoved
	case err == nil && cancelled:
		return of, now, jobs.ErrBatchCancelled
	}
	return of, now, err
}
