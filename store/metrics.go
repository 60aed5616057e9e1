package store

import (
	"context"
	"fmt"
)

// Conditions on a call of which it is no failure of the provider's that it brought
// nothing.
const (
	isRateLimited = `error_kind IN ('rate_limited', 'concurrency_limit')`
	isRefused     = `error_kind IN ('invalid_request', 'moderated', 'not_found', 'too_large', 'cancelled', 'not_asked')`
)

const (
	// metricColumns are the columns of provider_metrics.
	metricColumns = `provider, model, minute, requests, succeeded, failed_unbilled, failed_billed, unknown,
		rate_limited, refused, input_tokens, output_tokens, cost_nano, simulated_nano, unpriced, latency_ms_sum, latency_ms_max,
		latency_ms_p50, latency_ms_p95, latency_ms_p99`
	// metricsOfEnded sums up the calls of a relation "ended", by provider, model and
	// minute.
	metricsOfEnded = `
		SELECT provider, model, date_trunc('minute', finished_at) AS minute,
			count(*),
			count(*) FILTER (WHERE state = 'succeeded'),
			count(*) FILTER (WHERE state = 'failed_unbilled'),
			count(*) FILTER (WHERE state = 'failed_billed'),
			count(*) FILTER (WHERE state = 'unknown'),
			count(*) FILTER (WHERE ` + isRateLimited + `),
			count(*) FILTER (WHERE ` + isRefused + `),
			saturated(sum(input_tokens)), saturated(sum(output_tokens)),
			saturated(coalesce(sum(cost_nano) FILTER (WHERE NOT simulated), 0)),
			saturated(coalesce(sum(cost_nano) FILTER (WHERE simulated), 0)), count(*) FILTER (WHERE cost_nano IS NULL),
			saturated(coalesce(sum(latency_ms), 0)), coalesce(max(latency_ms), 0),
			coalesce(percentile_disc(0.50) WITHIN GROUP (ORDER BY latency_ms), 0),
			coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms), 0),
			coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY latency_ms), 0)
		FROM ended
		GROUP BY provider, model, date_trunc('minute', finished_at)`
	// liveMetrics begins a statement with a relation "metrics": the roll-up, and from
	// its last minute on the calls themselves. So the figures are those of the
	// batches beside them, however long ago a worker rolled up.
	liveMetrics = `
		WITH since AS (
			SELECT greatest(coalesce((SELECT max(minute) FROM provider_metrics), '-infinity'), now() - interval '25 hours') AS at
		), ended AS (
			SELECT *
			FROM calls
			WHERE finished_at >= (SELECT at FROM since)
		), metrics AS (
			SELECT ` + metricColumns + `
			FROM provider_metrics
			WHERE minute < (SELECT at FROM since)
			UNION ALL (` + metricsOfEnded + `)
		)`
)

// RollUpMetrics implements worker.RecoveryStore. The minutes that can still have
// changed are computed anew from the ledger, so that it may run at any time and
// any number of times: the last ones, and those that a call was corrected in.
func (s *Store) RollUpMetrics(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `
		WITH since AS (
			SELECT date_trunc('minute', least(now() - interval '1 minute',
				coalesce((SELECT max(minute) FROM provider_metrics), '-infinity'))) AS at
		), corrected AS (
			SELECT DISTINCT date_trunc('minute', finished_at) AS minute
			FROM calls
			WHERE corrected_at >= (SELECT at FROM since) AND finished_at < (SELECT at FROM since)
		), ended AS (
			SELECT *
			FROM calls
			WHERE finished_at >= (SELECT at FROM since)
			UNION ALL
			SELECT a.*
			FROM corrected c
			CROSS JOIN LATERAL (
				SELECT *
				FROM calls
				WHERE finished_at >= c.minute AND finished_at < c.minute + interval '1 minute'
			) a
		)
		INSERT INTO provider_metrics (`+metricColumns+`)`+metricsOfEnded+`
		ON CONFLICT (provider, model, minute) DO UPDATE
		SET requests = excluded.requests,
			succeeded = excluded.succeeded,
			failed_unbilled = excluded.failed_unbilled,
			failed_billed = excluded.failed_billed,
			unknown = excluded.unknown,
			rate_limited = excluded.rate_limited,
			refused = excluded.refused,
			input_tokens = excluded.input_tokens,
			output_tokens = excluded.output_tokens,
			cost_nano = excluded.cost_nano,
			simulated_nano = excluded.simulated_nano,
			unpriced = excluded.unpriced,
			latency_ms_sum = excluded.latency_ms_sum,
			latency_ms_max = excluded.latency_ms_max,
			latency_ms_p50 = excluded.latency_ms_p50,
			latency_ms_p95 = excluded.latency_ms_p95,
			latency_ms_p99 = excluded.latency_ms_p99`)
	if err != nil {
		return fmt.Errorf("roll up metrics: %w", err)
	}
	return nil
}
