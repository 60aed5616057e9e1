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
			SELECT c.id, cj.job_id
			FROM (
				SELECT id FROM calls WHERE state = 'running' AND deadline < now() - make_interval(secs => $1) LIMIT 1000
			) c
			CROSS JOIN LATERAL (SELECT job_id FROM call_jobs WHERE call_id = c.id) cj`, grace.Seconds())
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
		rows, err = tx.Query(ctx, `SELECT job_id FROM job_states WHERE job_id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED`, jobIDs)
		if err != nil {
			return err
		}
		locked, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil || len(locked) == 0 {
			return err
		}
		rows, err = tx.Query(ctx, `
			SELECT DISTINCT s.job_id
			FROM job_states s
			JOIN call_jobs cj ON cj.job_id = s.job_id AND cj.lease_token = s.lease_token
			JOIN calls c ON c.id = cj.call_id AND c.state = 'running'
			WHERE s.job_id = ANY ($1) AND cj.call_id = ANY ($2) AND s.state = 'running'`, locked, calls)
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
			WITH given AS (
				`+lostCalls+`
				FROM (SELECT $3::text AS kind, $4::text AS message) loss
				CROSS JOIN call_jobs cj
				JOIN calls c ON c.id = cj.call_id AND c.state = 'running'
				WHERE cj.job_id = ANY ($1) AND cj.call_id = ANY ($2)
			), `+settleSQL+`, charged AS (
				`+chargeSQL+`
			)
			SELECT count(*) FROM settled`, locked, calls, late.kind, late.message).Scan(&orphans)
		n += orphans
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take over overdue calls: %w", err)
	}
	return n, nil
}
