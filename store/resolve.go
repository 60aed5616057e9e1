package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
)

// Resolution is what a person found out about calls with unknown outcome.
type Resolution struct {
	// Billed tells that the provider charged for them.
	Billed bool
	// Cost is what each of them cost; nil, for Billed: what was reserved for it.
	Cost *billing.NanoUSD
	// Retry sends the unknown jobs again; otherwise they become failed.
	Retry bool
}

// Resolved is what a resolution did.
type Resolved struct {
	// Calls is how many unknown calls were settled.
	Calls int64
	// Jobs is how many unknown jobs ended as failed, or were queued again.
	Jobs int64
}

// Resolve settles the unknown calls of a batch or a job by hand, and ends or
// retries those of its jobs that are unknown because of them. A job that went on
// meanwhile gets a right bill, and is left alone otherwise. It fails with
// jobs.ErrNotFound, and, for Retry, with jobs.ErrBatchCancelled.
func (s *Store) Resolve(ctx context.Context, id string, r Resolution) (Resolved, error) {
	var done Resolved
	of, began, err := s.selection(ctx, id)
	if err != nil && (r.Retry || !errors.Is(err, jobs.ErrBatchCancelled)) {
		return done, fmt.Errorf("resolve %s: %w", id, err)
	}
	end, args := `UPDATE jobs j SET state = 'failed', finished_at = now() WHERE id = ANY ($1) AND state = 'unknown'`, []any{nil}
	if r.Retry {
		end, args = `UPDATE jobs j SET `+requeued+` WHERE id = ANY ($1) AND state = 'unknown'`, []any{nil, jobs.DefaultDeadline.Seconds()}
	}
	outcome, cost := jobs.CallFailedUnbilled, new(billing.NanoUSD)
	if r.Billed {
		outcome, cost = jobs.CallFailedBilled, r.Cost
	}
	for {
		var calls, ended int64
		err := s.begin(ctx, func(tx pgx.Tx) error {
			// The locks first, of the jobs before those of their calls.
			rows, err := tx.Query(ctx, `
				SELECT id
				FROM jobs j
				WHERE `+of.where+` AND (state = 'unknown' AND finished_at <= $2
					OR EXISTS (SELECT FROM attempts a WHERE a.job_id = j.id AND a.state = 'unknown' AND a.finished_at <= $2))
				LIMIT 5000
				FOR NO KEY UPDATE`, of.id, began)
			if err != nil {
				return err
			}
			held, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
			if err != nil || len(held) == 0 {
				calls, ended = 0, 0
				return err
			}
			err = tx.QueryRow(ctx, resolveSQL, held, string(outcome), (*int64)(cost)).Scan(&calls)
			if err != nil {
				return err
			}
			args[0] = held
			tag, err := tx.Exec(ctx, end, args...)
			ended = tag.RowsAffected()
			return err
		})
		if err != nil {
			return done, fmt.Errorf("resolve %s: %w", id, err)
		}
		if calls+ended == 0 {
			return done, nil
		}
		done.Calls += calls
		done.Jobs += ended
	}
}

// resolveSQL settles the unknown calls of locked jobs, and corrects their bills.
const resolveSQL = `
	WITH before AS (
		SELECT id, cost_nano
		FROM attempts
		WHERE job_id = ANY ($1) AND state = 'unknown'
		FOR UPDATE
	), settled AS (
		UPDATE attempts a
		SET state = $2,
			cost_nano = CASE WHEN $2 = 'failed_billed' THEN coalesce($3, a.reserved_nano) ELSE 0 END,
			corrected_at = now(),
			error_message = a.error_message || '; settled by hand'
		FROM before b
		WHERE a.job_id = ANY ($1) AND a.id = b.id
		RETURNING a.job_id,
			coalesce(a.cost_nano, 0) - coalesce(b.cost_nano, 0) AS cost,
			(a.cost_nano IS NULL)::int - (b.cost_nano IS NULL)::int AS unpriced
	), charged AS (
		UPDATE jobs j
		SET cost_nano = j.cost_nano + c.cost, unpriced_calls = j.unpriced_calls + c.unpriced
		FROM (SELECT job_id, sum(cost)::bigint AS cost, sum(unpriced)::int AS unpriced FROM settled GROUP BY job_id) c
		WHERE j.id = c.job_id
	)
	SELECT count(*) FROM settled`
