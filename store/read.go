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

// Progress tells where a batch or a job stands. It fails with jobs.ErrNotFound.
func (s *Store) Progress(ctx context.Context, id string) (jobs.Progress, error) {
	if jobID, err := uuid.Parse(id); err == nil {
		p, err := s.jobProgress(ctx, jobID)
		if !errors.Is(err, jobs.ErrNotFound) {
			return p, err
		}
	}
	return batchProgress(ctx, s.pool, id, true)
}

func (s *Store) jobProgress(ctx context.Context, id uuid.UUID) (jobs.Progress, error) {
	p := jobs.Progress{JobID: id.String(), Counts: zeroCounts()}
	var finished *time.Time
	err := s.pool.QueryRow(ctx, `
		SELECT s.state, s.paused_at IS NOT NULL, coalesce(j.batch_id, ''), s.cost_nano, s.simulated_nano, s.charge_nano, s.unpriced_calls, s.error_class, s.error_message,
			j.created_at, s.finished_at
		FROM jobs j
		JOIN job_states s ON s.job_id = j.id
		WHERE j.id = $1`, id).
		Scan(&p.State, &p.Paused, &p.BatchID, (*int64)(&p.Cost), (*int64)(&p.Simulated), (*int64)(&p.Charge), &p.Unpriced, &p.ErrorClass, &p.ErrorMessage, &p.CreatedAt, &finished)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, fmt.Errorf("%s: %w", id, jobs.ErrNotFound)
	}
	if err != nil {
		return p, fmt.Errorf("read job %s: %w", id, err)
	}
	p.Counts[jobs.State(p.State)] = 1
	if finished != nil {
		p.FinishedAt = *finished
	}
	return p, nil
}

// rowQuerier is a pool or a transaction.
type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// batchProgress tells where a batch stands; whole: together with the later steps of the pipeline that it is
// the first of.
func batchProgress(ctx context.Context, db rowQuerier, id string, whole bool) (jobs.Progress, error) {
	p := jobs.Progress{BatchID: id}
	var sealed, cancelled, removed bool
	var c counts
	err := db.QueryRow(ctx, `
		WITH of AS MATERIALIZED (
			SELECT coalesce(array_agg(batch_id ORDER BY place), '{}') AS steps, array_agg(batch_id) || $1::text AS ids
			FROM steps
			WHERE pipeline = $1 AND $2
		)
		SELECT (SELECT bool_and(sealed_at IS NOT NULL) FROM batches WHERE id = ANY ((SELECT ids FROM of)::text[])),
			cancelled_at IS NOT NULL, paused_at IS NOT NULL, removed_at IS NOT NULL, created_at,
			(SELECT saturated(coalesce(sum(charge_nano) FILTER (WHERE NOT simulated), 0)) FROM spending WHERE batch_id <> '' AND batch_id = ANY ((SELECT ids FROM of)::text[])),
			(SELECT steps FROM of), EXISTS (SELECT FROM batch_ends WHERE batch_id = $1 AND webhook <> ''), c.*
		FROM batches
		CROSS JOIN LATERAL (SELECT `+sumsOfCounts+` FROM batch_counts WHERE batch_id = ANY ((SELECT ids FROM of)::text[])) c
		WHERE id = $1`, id, whole).
		Scan(append([]any{&sealed, &cancelled, &p.Paused, &removed, &p.CreatedAt, (*int64)(&p.Charge), &p.Steps, &p.Webhook}, c.columns()...)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, fmt.Errorf("%s: %w", id, jobs.ErrNotFound)
	}
	if err != nil {
		return p, fmt.Errorf("read batch %s: %w", id, err)
	}
	p.Counts = c.byState()
	p.Cost, p.Simulated, p.Unpriced, p.Estimate = c.money.Cost, c.money.Simulated, c.money.Unpriced, c.estimate
	p.State = jobs.BatchState(sealed, p.Paused, cancelled, p.Counts)
	if removed {
		p.State = jobs.BatchRemoved
	}
	if p.Finished() {
		p.FinishedAt = timeOrZero(c.last)
	}
	return p, nil
}

// Totals sums up what a batch's calls used, from the ledger.
func (s *Store) Totals(ctx context.Context, batchID string) (jobs.Totals, error) {
	var t jobs.Totals
	err := s.pool.QueryRow(ctx, `
		SELECT count(*), saturated(coalesce(sum(input_tokens), 0)), saturated(coalesce(sum(output_tokens), 0)),
			(SELECT count(*) FROM artifacts f JOIN jobs j ON j.id = f.job_id WHERE j.batch_id = $1)
		FROM calls
		WHERE id IN (SELECT cj.call_id FROM call_jobs cj JOIN jobs j ON j.id = cj.job_id WHERE j.batch_id = $1)`, batchID).Scan(&t.Calls, &t.InputTokens, &t.OutputTokens, &t.Artifacts)
	if err != nil {
		return t, fmt.Errorf("read totals of batch %s: %w", batchID, err)
	}
	return t, nil
}

// TokensPerMinute returns how many tokens, in and out, those calls of a batch used that
// ended within the last minute.
func (s *Store) TokensPerMinute(ctx context.Context, batchID string) (n int64, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT saturated(coalesce(sum(c.input_tokens::numeric + c.output_tokens), 0))
		FROM calls c
		WHERE c.finished_at > now() - interval '1 minute'
		AND EXISTS (SELECT FROM call_jobs cj JOIN job_states s ON s.job_id = cj.job_id WHERE cj.call_id = c.id AND s.batch_id = $1)`,
		batchID).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("read the tokens of batch %s: %w", batchID, err)
	}
	return n, nil
}
