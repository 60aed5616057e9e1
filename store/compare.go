package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/jobs"
)

var _ batches.CompareStore = (*Store)(nil)

// Compared implements batches.CompareStore.
func (s *Store) Compared(ctx context.Context, name string) ([]batches.ComparedBatch, error) {
	list, err := s.compared(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read comparison %s: %w", name, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("comparison %s: %w", name, jobs.ErrNotFound)
	}
	return list, nil
}

func (s *Store) compared(ctx context.Context, name string) ([]batches.ComparedBatch, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+batchColumns+`, tags
		FROM batches
		WHERE tags ->> '`+batches.TagComparison+`' = $1 AND removed_at IS NULL
		ORDER BY created_at, id
		LIMIT 100`, name)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b batches.ComparedBatch, err error) {
		b.Summary, err = scanBatch(row, &b.Tags)
		return b, err
	})
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(list))
	for i, b := range list {
		ids[i] = b.ID
	}
	tallies, err := tally(ctx, s.pool, ids)
	if err != nil {
		return nil, err
	}
	figures, err := s.answerFigures(ctx, ids)
	for i, b := range list {
		f := figures[b.ID]
		list[i].Tally = tallies[b.ID]
		list[i].InputTokens, list[i].OutputTokens, list[i].P50, list[i].P95 = f.InputTokens, f.OutputTokens, f.P50, f.P95
	}
	return list, err
}

// answerFigures sums up the results of batches.
func (s *Store) answerFigures(ctx context.Context, ids []string) (map[string]batches.ComparedBatch, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT j.batch_id, saturated(coalesce(sum(u.input), 0)), saturated(coalesce(sum(u.output), 0)),
			percentile_disc(0.5) WITHIN GROUP (ORDER BY r.latency_ms), percentile_disc(0.95) WITHIN GROUP (ORDER BY r.latency_ms)
		FROM jobs j
		JOIN results r ON r.job_id = j.id
		CROSS JOIN LATERAL (
			SELECT sum(value::numeric) FILTER (WHERE key ~ 'input_tokens$|^cache_write') AS input, sum(value::numeric) FILTER (WHERE key ~ 'output_tokens$') AS output
			FROM jsonb_each_text(r.usage)
			WHERE key ~ '_tokens$'
		) u
		WHERE j.batch_id = ANY ($1)
		GROUP BY j.batch_id`, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]batches.ComparedBatch, len(ids))
	var id string
	var b batches.ComparedBatch
	var p50, p95 int64
	_, err = pgx.ForEachRow(rows, []any{&id, &b.InputTokens, &b.OutputTokens, &p50, &p95}, func() error {
		b.P50, b.P95 = time.Duration(p50)*time.Millisecond, time.Duration(p95)*time.Millisecond
		out[id] = b
		return nil
	})
	return out, err
}

// ComparedJobs implements batches.CompareStore. Rows are read as they are handed on.
func (s *Store) ComparedJobs(ctx context.Context, ids []string, after, limit int64, each func(batches.ComparedJob) error) error {
	rows, err := s.pool.Query(ctx, `
		SELECT j.batch_id, j.id::text, j.seq, coalesce(j.custom_id, ''), s.state, j.request, j.own, s.cost_nano, s.simulated_nano, s.unpriced_calls,
			s.error_class, left(s.error_message, 500), coalesce(r.text, ''), coalesce(r.finish_reason, ''), r.usage, coalesce(r.latency_ms, 0),
			(SELECT count(*) FROM artifacts f WHERE f.job_id = j.id)
		FROM jobs j
		JOIN job_states s ON s.job_id = j.id
		LEFT JOIN results r ON r.job_id = j.id
		WHERE j.batch_id = ANY ($1) AND j.seq > $2
		AND ($3 = 0 OR j.seq IN (SELECT DISTINCT seq FROM jobs WHERE batch_id = ANY ($1) AND seq > $2 ORDER BY seq LIMIT nullif($3, 0)))
		ORDER BY j.seq, array_position($1, j.batch_id), j.id`, ids, after, limit)
	if err != nil {
		return fmt.Errorf("read the rows of a comparison: %w", err)
	}
	var j batches.ComparedJob
	_, err = pgx.ForEachRow(rows, []any{
		&j.Batch, &j.Job, &j.Row, &j.CustomID, &j.State, &j.Request, &j.Own, (*int64)(&j.Cost), (*int64)(&j.Simulated), &j.Unpriced,
		&j.ErrorClass, &j.ErrorMessage, &j.Text, &j.FinishReason, &j.Usage, &j.LatencyMS, &j.Artifacts,
	}, func() error { return each(j) })
	return err
}

// Comparisons implements batches.CompareStore.
func (s *Store) Comparisons(ctx context.Context, account string, limit int) (list []batches.ComparisonSummary, err error) {
	err = collect(ctx, s, &list, `
		SELECT name, account, min(source) AS source, min(created_at) AS created_at, array_agg(model ORDER BY created_at, id) AS models
		FROM (
			SELECT id, tags ->> '`+batches.TagComparison+`' AS name, tags ->> '`+batches.TagModel+`' AS model, account, source, created_at
			FROM batches
			WHERE tags ->> '`+batches.TagComparison+`' IS NOT NULL AND removed_at IS NULL AND ($1 = '' OR account = $1)
		) b
		WHERE model IS NOT NULL
		GROUP BY name, account
		ORDER BY created_at DESC, name, account
		LIMIT $2`, account, limit)
	if err != nil {
		return nil, fmt.Errorf("list comparisons: %w", err)
	}
	return list, nil
}
