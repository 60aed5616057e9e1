package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
)

// Resolution says what a person found out about calls with unknown outcome.
type Resolution struct {
	// Billed reports whether the provider charged for them.
	Billed bool
	// Cost is the amount for each of them; nil, for Billed: the one reserved for it.
	Cost *billing.NanoUSD
	// Retry sends the unknown jobs again; otherwise they become failed.
	Retry bool
}

// Resolved counts what a resolution did.
type Resolved struct {
	// Calls counts the unknown calls that were settled.
	Calls int64
	// Jobs counts the unknown jobs that ended as failed, or were queued again.
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
	end, args := `UPDATE job_states s SET state = 'failed', finished_at = now() WHERE job_id = ANY ($1) AND state = 'unknown'`, []any{nil}
	if r.Retry {
		end, args = `UPDATE job_states s SET `+requeued+` WHERE job_id = ANY ($1) AND state = 'unknown'`, []any{nil, jobs.DefaultDeadline.Seconds()}
	}
	outcome, cost := jobs.CallFailedUnbilled, new(billing.NanoUSD)
	if r.Billed {
		outcome, cost = jobs.CallFailedBilled, r.Cost
	}
	unknown, err := s.selectJobs(ctx, of, `
		state = 'unknown' AND finished_at <= $2
		OR EXISTS (
			SELECT
			FROM call_jobs cj
			JOIN calls c ON c.id = cj.call_id
			WHERE cj.job_id = s.job_id AND c.state = 'unknown' AND c.finished_at <= $2)`, began)
	if err != nil {
		return done, fmt.Errorf("resolve %s: %w", id, err)
	}
	for chunk := range slices.Chunk(unknown, manyJobs) {
		var calls, ended int64
		err := s.begin(ctx, func(tx pgx.Tx) error {
			// The locks first, of the jobs before those of their calls.
			_, err := tx.Exec(ctx, `SELECT FROM job_states WHERE job_id = ANY ($1) ORDER BY job_id FOR NO KEY UPDATE`, chunk)
			if err != nil {
				return err
			}
			err = tx.QueryRow(ctx, resolveSQL, chunk, string(outcome), (*int64)(cost)).Scan(&calls)
			if err != nil {
				return err
			}
			args[0] = chunk
			tag, err := tx.Exec(ctx, end, args...)
			ended = tag.RowsAffected()
			return err
		})
		if err != nil {
			return done, fmt.Errorf("resolve %s: %w", id, err)
		}
		done.Calls += calls
		done.Jobs += ended
	}
	return done, nil
}

// resolveSQL settles the unknown calls of locked jobs, and corrects their bills. What
// is known of a call beside its outcome and its cost stays.
const resolveSQL = `
	WITH given AS (
		SELECT DISTINCT ON (c.id) c.id, $2::text AS outcome,
			CASE WHEN $2 = 'failed_billed' THEN coalesce($3::bigint, c.reserved_nano) ELSE 0 END AS cost,
			c.price_ids::text AS prices, c.latency_ms AS latency, c.http_status AS status, c.request_id, c.error_kind AS kind,
			c.error_message || '; settled by hand' AS message, c.error_body AS body, c.usage,
			c.input_tokens AS input, c.output_tokens AS output, c.rate_limits AS limits, 0::bigint AS units, NULL::uuid AS job, NULL::uuid AS token
		FROM call_jobs cj
		JOIN calls c ON c.id = cj.call_id
		WHERE cj.job_id = ANY ($1) AND c.state = 'unknown'
	), ` + settleSQL + `, charged AS (
		` + chargeSQL + `
	)
	SELECT count(*) FROM settled`
