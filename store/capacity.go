package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
	"oneflow/worker"
)

// Capacity implements worker.CapacityStore. Ids of calls are ordered by time, so
// that the latest 2,000 cost the same few milliseconds however many there are. A
// worker that has missed three heartbeats does not count as live.
func (s *Store) Capacity(ctx context.Context, names []string) (map[string]worker.Capacity, error) {
	rows, err := s.pool.Query(ctx, `
		WITH latest AS (
			SELECT provider, model, state, latency_ms, input_tokens, output_tokens
			FROM calls
			ORDER BY id DESC
			LIMIT 2000
		), seen AS (
			SELECT provider, model, count(*) AS calls,
				percentile_disc(0.9) WITHIN GROUP (ORDER BY latency_ms) AS p90, avg(latency_ms) AS mean,
				avg(input_tokens) AS input, avg(output_tokens) AS output
			FROM latest
			WHERE state = 'succeeded' AND latency_ms IS NOT NULL
			GROUP BY GROUPING SETS ((provider), (provider, model))
		), live AS (
			SELECT provider, count(*) AS workers
			FROM workers, unnest(providers) provider
			WHERE stopped_at IS NULL AND heartbeat_at > now() - make_interval(secs => $2)
			GROUP BY provider
		)
		SELECT provider, model, coalesce(workers, 0), coalesce(calls, 0), coalesce(p90, 0)::float8, coalesce(mean, 0)::float8,
			coalesce(input, 0)::float8, coalesce(output, 0)::float8
		FROM unnest($1::text[]) provider
		LEFT JOIN seen USING (provider)
		LEFT JOIN live USING (provider)`, names, jobs.Silence.Seconds())
	if err != nil {
		return nil, fmt.Errorf("read what the fleet has seen: %w", err)
	}
	out := make(map[string]worker.Capacity, len(names))
	var (
		name          string
		model         *string // nil: all of the provider's
		c             worker.Capacity
		p90MS, meanMS float64
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &model, &c.Workers, &c.Calls, &p90MS, &meanMS, &c.InputTokens, &c.OutputTokens}, func() error {
		c.Latency, c.MeanLatency = milliseconds(p90MS), milliseconds(meanMS)
		whole := out[name]
		if model == nil {
			by := whole.By
			whole = c
			whole.By = by
		} else {
			if whole.By == nil {
				whole.By = map[string]worker.Capacity{}
			}
			whole.By[*model] = c
		}
		out[name] = whole
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what the fleet has seen: %w", err)
	}
	return out, s.queued(ctx, out)
}

// queued fills in which models are asked for by jobs that are in Redis.
func (s *Store) queued(ctx context.Context, of map[string]worker.Capacity) error {
	rows, err := s.pool.Query(ctx, `
		WITH RECURSIVE `+queuesSQL(isDispatched)+`
		SELECT DISTINCT provider, model
		FROM queue
		ORDER BY provider, model`)
	if err != nil {
		return fmt.Errorf("read what is queued: %w", err)
	}
	var provider, model string
	_, err = pgx.ForEachRow(rows, []any{&provider, &model}, func() error {
		if c, ok := of[provider]; ok {
			c.Queued = append(c.Queued, model)
			of[provider] = c
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what is queued: %w", err)
	}
	return nil
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
