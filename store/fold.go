package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// foldedRows bounds the rows that one statement sums up.
const foldedRows = 20_000

// fold takes rows out of a roll-up and says into which minute each is summed up: its own,
// without slots, and an hour after its hour is over the last of that hour. An hour in which
// a person let figures begin anew stays as it is. Locks are skipped, not waited for.
func fold(table string) string {
	return `
		WITH found AS (
			SELECT m.ctid AS place, x.until
			FROM ` + table + ` m
			CROSS JOIN LATERAL (
				SELECT CASE
					WHEN m.minute >= date_trunc('hour', now() - interval '1 hour', 'UTC')
						OR EXISTS (SELECT FROM providers p WHERE p.name = m.provider AND date_trunc('hour', p.metrics_since, 'UTC') = date_trunc('hour', m.minute, 'UTC'))
					THEN m.minute
					ELSE date_trunc('hour', m.minute, 'UTC') + interval '59 minutes' END AS until
			) x
			WHERE m.minute > now() - interval '48 hours' AND m.minute < now() - interval '5 minutes'
			AND (m.slot <> 0 OR m.minute <> x.until)
			LIMIT $1
			FOR UPDATE OF m SKIP LOCKED
		), taken AS (
			DELETE FROM ` + table + ` m
			USING found
			WHERE m.ctid = found.place
			RETURNING m.*, found.until
		)`
}

// FoldMetrics implements worker.RecoveryStore: it sums up rows of provider_metrics and
// provider_latencies that hardly anything is added to any more, and reports whether there may
// be others. What they come to stays the same.
func (s *Store) FoldMetrics(ctx context.Context) (more bool, err error) {
	p := pipeline()
	count := func(row pgx.Row) error {
		var n int
		err := row.Scan(&n)
		more = more || n >= foldedRows
		return err
	}
	p.Queue(fold("provider_metrics")+`, added AS (
			INSERT INTO provider_metrics AS m (provider, model, minute, slot, requests, succeeded, failed_unbilled, failed_billed, unknown,
				rate_limited, refused, input_tokens, output_tokens, answered, cost_nano, simulated_nano, unpriced, latency_ms_sum, latency_ms_max, last_started_at)
			SELECT provider, model, until, 0, sum(requests), sum(succeeded), sum(failed_unbilled), sum(failed_billed), sum(unknown),
				sum(rate_limited), sum(refused), sum(input_tokens), sum(output_tokens), sum(answered), sum(cost_nano), sum(simulated_nano), sum(unpriced),
				sum(latency_ms_sum), max(latency_ms_max), max(last_started_at)
			FROM taken
			GROUP BY provider, model, until
			ORDER BY provider, model, until
			ON CONFLICT (provider, model, minute, slot) DO UPDATE
			SET requests = m.requests + excluded.requests,
				succeeded = m.succeeded + excluded.succeeded,
				failed_unbilled = m.failed_unbilled + excluded.failed_unbilled,
				failed_billed = m.failed_billed + excluded.failed_billed,
				unknown = m.unknown + excluded.unknown,
				rate_limited = m.rate_limited + excluded.rate_limited,
				refused = m.refused + excluded.refused,
				input_tokens = m.input_tokens + excluded.input_tokens,
				output_tokens = m.output_tokens + excluded.output_tokens,
				answered = m.answered + excluded.answered,
				cost_nano = m.cost_nano + excluded.cost_nano,
				simulated_nano = m.simulated_nano + excluded.simulated_nano,
				unpriced = m.unpriced + excluded.unpriced,
				latency_ms_sum = m.latency_ms_sum + excluded.latency_ms_sum,
				latency_ms_max = greatest(m.latency_ms_max, excluded.latency_ms_max),
				last_started_at = greatest(m.last_started_at, excluded.last_started_at)
		)
		SELECT count(*) FROM taken`, foldedRows).QueryRow(count)
	p.Queue(fold("provider_latencies")+`, added AS (
			INSERT INTO provider_latencies AS l (provider, model, minute, slot, bucket, calls, succeeded)
			SELECT provider, model, until, 0, bucket, sum(calls), sum(succeeded)
			FROM taken
			GROUP BY provider, model, until, bucket
			ORDER BY provider, model, until, bucket
			ON CONFLICT (minute, provider, model, slot, bucket) DO UPDATE SET calls = l.calls + excluded.calls, succeeded = l.succeeded + excluded.succeeded
		)
		SELECT count(*) FROM taken`, foldedRows).QueryRow(count)
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return false, fmt.Errorf("sum up the figures of calls: %w", err)
	}
	return more, nil
}
