package store

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"oneflow/batches"
)

// AnswerLengths returns how long the answers of the last 30 days are, by model: each of those that
// one call brought, for several jobs or for one that asked for several, counts.
func (s *Store) AnswerLengths(ctx context.Context) (map[batches.ModelKey]batches.Answers, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, model, sum(answered)::bigint, (sum(output_tokens) / sum(answered))::float8
		FROM provider_metrics
		WHERE minute > now() - interval '30 days'
		GROUP BY provider, model
		HAVING sum(answered) > 0`)
	if err != nil {
		return nil, fmt.Errorf("read how long answers are: %w", err)
	}
	known := map[batches.ModelKey]batches.Answers{}
	var key batches.ModelKey
	var a batches.Answers
	_, err = pgx.ForEachRow(rows, []any{&key.Provider, &key.Model, &a.Count, &a.OutputTokens}, func() error { known[key] = a; return nil })
	if err != nil {
		return nil, fmt.Errorf("read how long answers are: %w", err)
	}
	return known, nil
}

// Backlog returns how many jobs have not ended, by the provider that they ask first: without those of batches
// that are paused or cancelled, which nobody sends.
func (s *Store) Backlog(ctx context.Context) (map[string]int64, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT q.provider, count(*)
		FROM job_queue q
		LEFT JOIN batches b ON b.id = q.batch_id
		WHERE b.cancelled_at IS NULL AND b.paused_at IS NULL
		GROUP BY q.provider`)
	if err != nil {
		return nil, fmt.Errorf("count the jobs that wait: %w", err)
	}
	backlog := map[string]int64{}
	var provider string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&provider, &n}, func() error { backlog[provider] = n; return nil })
	if err != nil {
		return nil, fmt.Errorf("count the jobs that wait: %w", err)
	}
	return backlog, nil
}

// Unfinished returns how many of a batch's rows with these keys have not ended.
func (s *Store) Unfinished(ctx context.Context, batchID string, keys map[string]bool) (n int64, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT count(*)
		FROM jobs j
		JOIN job_states s ON s.job_id = j.id
		WHERE j.batch_id = $1 AND j.key = ANY ($2) AND s.finished_at IS NULL`, batchID, slices.Collect(maps.Keys(keys))).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("look for the first rows of batch %s: %w", batchID, err)
	}
	return n, nil
}

// KnownKeys returns those of some rows' keys that a batch has already.
func (s *Store) KnownKeys(ctx context.Context, batchID string, keys []string) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT key FROM jobs WHERE batch_id = $1 AND key = ANY ($2)`, batchID, keys)
	if err != nil {
		return nil, fmt.Errorf("look for rows of batch %s: %w", batchID, err)
	}
	known, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for rows of batch %s: %w", batchID, err)
	}
	return known, nil
}
