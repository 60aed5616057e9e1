package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// TakeOverdue implements worker.RecoveryStore. A call of a job that is not held under
// its lease any more, because a late answer of another call ended it, has nobody
// else to settle it.
func (s *Store) TakeOverdue(ctx context.Context, grace time.Duration) (n int, err error) {
	late := loss{kind: "timeout", message: "no outcome of this call was recorded by its deadline"}
	err = s.begin(ctx, func(tx pgx.Tx) error {
		n = 0
		rows, err := tx.Query(ctx, `
			SELECT id, job_id
			FROM attempts
			WHERE state = 'running' AND deadline < now() - make_interval(secs => $1)
			LIMIT 1000`, grace.Seconds())
		if err != nil {
			return err
		}
		var calls, jobIDs []uuid.UUID
		var call, job uuid.UUID
		_, err = pgx.ForEachRow(rows, []any{&call, &job}, func() error {
			calls, jobIDs = append(calls, call), append(jobIDs, job)
			return nil
		})
		if err != nil || len(calls) == 0 {
			return err
		}
		// The locks first: see take.
		rows, err = tx.Query(ctx, `SELECT id FROM jobs WHERE id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED`, jobIDs)
		if err != nil {
			return err
		}
		locked, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil || len(locked) == 0 {
			return err
		}
		rows, err = tx.Query(ctx, `
			SELECT DISTINCT j.id
			FROM jobs j
			JOIN attempts a ON a.job_id = j.id AND a.lease_token = j.lease_token AND a.state = 'running'
			WHERE j.id = ANY ($1) AND a.id = ANY ($2) AND j.state = 'running'`, locked, calls)
		if err != nil {
			return err
		}
		held, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		if len(held) > 0 {
			if n, err = takeHeld(ctx, tx, held, late); err != nil {
				return err
			}
		}
		var orphans int
		err = tx.QueryRow(ctx, `
			WITH lost AS (
				UPDATE attempts a
				SET state = 'unknown', cost_nano = a.reserved_nano, finished_at = now(), error_kind = $3, error_message = $4
				WHERE a.job_id = ANY ($1) AND a.id = ANY ($2) AND a.state = 'running'
				RETURNING a.job_id, coalesce(a.cost_nano, 0) AS cost, (a.cost_nano IS NULL)::int AS unpriced
			), charged AS (
				UPDATE jobs j
				SET cost_nano = j.cost_nano + l.cost, unpriced_calls = j.unpriced_calls + l.unpriced
				FROM (SELECT job_id, sum(cost)::bigint AS cost, sum(unpriced)::int AS unpriced FROM lost GROUP BY job_id) l
				WHERE j.id = l.job_id
			)
			SELECT count(*) FROM lost`, locked, calls, late.kind, late.message).Scan(&orphans)
		n += orphans
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take over overdue calls: %w", err)
	}
	return n, nil
}
