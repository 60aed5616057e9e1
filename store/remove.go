package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// hasBatch fails with jobs.ErrNotFound or jobs.ErrBatchRemoved unless there are jobs of
// the batch to be read.
func (s *Store) hasBatch(ctx context.Context, id string) error {
	var removed bool
	err := s.pool.QueryRow(ctx, `SELECT removed_at IS NOT NULL FROM batches WHERE id = $1`, id).Scan(&removed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%s: %w", id, jobs.ErrNotFound)
	case err != nil:
		return fmt.Errorf("look for batch %s: %w", id, err)
	case removed:
		return fmt.Errorf("%s: %w", id, jobs.ErrBatchRemoved)
	}
	return nil
}

// MarkRemoved is the first step of removing a batch: from here on its id is refused, and
// nothing of it runs again. It fails with jobs.ErrNotFound, and with
// jobs.ErrBatchUnfinished while rows come in or jobs have not ended.
func (s *Store) MarkRemoved(ctx context.Context, id string) error {
	return s.begin(ctx, func(tx pgx.Tx) error {
		var finished bool
		err := tx.QueryRow(ctx, `
			SELECT (sealed_at IS NOT NULL OR cancelled_at IS NOT NULL) AND NOT EXISTS (
				SELECT FROM jobs j JOIN job_queue q ON q.job_id = j.id WHERE j.batch_id = b.id)
			FROM batches b
			WHERE id = $1
			FOR NO KEY UPDATE`, id).Scan(&finished)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("%s: %w", id, jobs.ErrNotFound)
		case err != nil:
			return fmt.Errorf("remove batch %s: %w", id, err)
		case !finished:
			return fmt.Errorf("%s: %w", id, jobs.ErrBatchUnfinished)
		}
		_, err = tx.Exec(ctx, `UPDATE batches SET removed_at = coalesce(removed_at, now()) WHERE id = $1`, id)
		return err
	})
}

// FilesOf returns the addresses of the pictures, sound and film of a batch's jobs that
// neither a job of another shares nor the cache. It fails with jobs.ErrMediaRunning while a worker makes others:
// equal ones share a file, and theirs may be one of these.
func (s *Store) FilesOf(ctx context.Context, id string) (list []string, err error) {
	rows, err := s.pool.Query(ctx, `
		SELECT a.url
		FROM artifacts a
		JOIN jobs j ON j.id = a.job_id
		WHERE a.url IN (SELECT m.url FROM artifacts m JOIN jobs o ON o.id = m.job_id WHERE o.batch_id = $1)
		GROUP BY a.url
		HAVING bool_and(j.batch_id IS NOT DISTINCT FROM $1) AND NOT EXISTS (SELECT FROM cache_files c WHERE c.url = a.url)
		ORDER BY a.url`, id)
	if err == nil {
		list, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return nil, fmt.Errorf("list the files of batch %s: %w", id, err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	var running bool
	err = s.pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM job_queue q JOIN jobs j ON j.id = q.job_id WHERE q.worker_id IS NOT NULL AND j.task <> 'text')`).Scan(&running)
	switch {
	case err != nil:
		return nil, fmt.Errorf("list the files of batch %s: %w", id, err)
	case running:
		return nil, fmt.Errorf("%s: %w", id, jobs.ErrMediaRunning)
	}
	return list, nil
}

// RemoveJobs is the last step of removing a batch that MarkRemoved has marked: it deletes
// the jobs, their results and what was written of their files, in chunks, and returns how
// many jobs there were. What the calls have cost stays in the ledger; what providers
// wrote when they failed does not.
func (s *Store) RemoveJobs(ctx context.Context, id string) (n int64, err error) {
	for {
		var chunk int64
		err := again(ctx, func() error {
			return s.pool.QueryRow(ctx, `
				WITH gone AS MATERIALIZED (
					SELECT j.id
					FROM jobs j
					JOIN batches b ON b.id = j.batch_id
					WHERE j.batch_id = $1 AND b.removed_at IS NOT NULL
					LIMIT $2
				), result AS (
					DELETE FROM results WHERE job_id IN (SELECT id FROM gone)
				), file AS (
					DELETE FROM artifacts WHERE job_id IN (SELECT id FROM gone)
				), call AS (
					UPDATE calls SET error_body = NULL, error_message = ''
					WHERE id IN (SELECT call_id FROM call_jobs WHERE job_id IN (SELECT id FROM gone)) AND (error_body IS NOT NULL OR error_message <> '')
				), state AS (
					DELETE FROM job_states WHERE job_id IN (SELECT id FROM gone)
				), job AS (
					DELETE FROM jobs WHERE id IN (SELECT id FROM gone) RETURNING id
				)
				SELECT count(*) FROM job`, id, manyJobs).Scan(&chunk)
		})
		if err != nil {
			return n, fmt.Errorf("remove the jobs of batch %s: %w", id, err)
		}
		if n += chunk; chunk == 0 {
			return n, nil
		}
	}
}
