package store

import (
	"context"
	"fmt"
	"time"

	"oneflow/jobs"
)

// counts are the sums of batch_counts over the slots of a batch.
type counts struct {
	jobs  [9]int64 // in the order of jobs.States
	money jobs.Money
	last  *time.Time
	// estimate was made when the jobs were accepted.
	estimate jobs.Estimate
}

// sumsOfCounts selects them, in the order of columns.
const sumsOfCounts = `
	coalesce(sum(scheduled), 0)::bigint, coalesce(sum(queued), 0)::bigint, coalesce(sum(running), 0)::bigint,
	coalesce(sum(retrying), 0)::bigint, coalesce(sum(succeeded), 0)::bigint, coalesce(sum(failed), 0)::bigint,
	coalesce(sum(cancelled), 0)::bigint, coalesce(sum(expired), 0)::bigint, coalesce(sum(unknown), 0)::bigint,
	saturated(coalesce(sum(cost_nano), 0)), saturated(coalesce(sum(simulated_nano), 0)), coalesce(sum(unpriced_calls), 0)::bigint,
	max(last_finished_at), coalesce(sum(estimated_jobs), 0)::bigint, saturated(coalesce(sum(low_nano), 0)),
	saturated(coalesce(sum(expected_nano), 0)), saturated(coalesce(sum(high_nano), 0))`

// columns are the places that a row of sumsOfCounts is scanned into.
func (c *counts) columns() []any {
	out := make([]any, 0, len(c.jobs)+8)
	for i := range c.jobs {
		out = append(out, &c.jobs[i])
	}
	return append(out, (*int64)(&c.money.Cost), (*int64)(&c.money.Simulated), &c.money.Unpriced, &c.last,
		&c.estimate.Jobs, (*int64)(&c.estimate.Low), (*int64)(&c.estimate.Expected), (*int64)(&c.estimate.High))
}

// byState has every state.
func (c *counts) byState() map[jobs.State]int64 {
	out := zeroCounts()
	for i, state := range [...]jobs.State{
		jobs.Scheduled, jobs.Queued, jobs.Running, jobs.Retrying, jobs.Succeeded, jobs.Failed, jobs.Cancelled, jobs.Expired, jobs.Unknown,
	} {
		out[state] = c.jobs[i]
	}
	return out
}

func zeroCounts() map[jobs.State]int64 {
	counts := make(map[jobs.State]int64, len(jobs.States()))
	for _, state := range jobs.States() {
		counts[state] = 0
	}
	return counts
}

// AuditCounts implements worker.RecoveryStore. Counts and jobs are read in one
// snapshot, and what they differ by is added, so that it holds whatever others count
// meanwhile.
func (s *Store) AuditCounts(ctx context.Context, after string) (batch string, wrong bool, err error) {
	err = s.pool.QueryRow(ctx, `
		WITH batch AS MATERIALIZED (
			SELECT id FROM batches WHERE id > $1 ORDER BY id LIMIT 1
		), difference AS (
			SELECT state, sum(n)::bigint AS n, sum(cost_nano) AS cost_nano, sum(simulated_nano) AS simulated_nano, sum(unpriced)::bigint AS unpriced
			FROM (
				SELECT state, count(*) AS n, sum(cost_nano) AS cost_nano, sum(simulated_nano) AS simulated_nano, sum(unpriced_calls) AS unpriced
				FROM job_states
				WHERE job_id IN (SELECT id FROM jobs WHERE batch_id = (SELECT id FROM batch))
				GROUP BY state
				UNION ALL
				SELECT x.state, -sum(x.n), 0, 0, 0
				FROM batch_counts c
				CROSS JOIN LATERAL (VALUES ('scheduled', scheduled), ('queued', queued), ('running', running), ('retrying', retrying),
					('succeeded', succeeded), ('failed', failed), ('cancelled', cancelled), ('expired', expired), ('unknown', unknown)) x (state, n)
				WHERE c.batch_id = (SELECT id FROM batch)
				GROUP BY x.state
				UNION ALL
				SELECT 'succeeded', 0, -sum(cost_nano), -sum(simulated_nano), -sum(unpriced_calls)
				FROM batch_counts
				WHERE batch_id = (SELECT id FROM batch)
				HAVING count(*) > 0
			) x
			GROUP BY state
		), mended AS (
			INSERT INTO batch_counts AS c (batch_id, slot, scheduled, queued, running, retrying, succeeded, failed, cancelled, expired, unknown,
				cost_nano, simulated_nano, unpriced_calls)
			SELECT (SELECT id FROM batch), counter_slot(),
				`+sumOf("scheduled")+`, `+sumOf("queued")+`, `+sumOf("running")+`, `+sumOf("retrying")+`, `+sumOf("succeeded")+`,
				`+sumOf("failed")+`, `+sumOf("cancelled")+`, `+sumOf("expired")+`, `+sumOf("unknown")+`,
				sum(cost_nano), sum(simulated_nano), sum(unpriced)
			FROM difference
			HAVING bool_or(n <> 0) OR sum(cost_nano) <> 0 OR sum(simulated_nano) <> 0 OR sum(unpriced) <> 0
			ON CONFLICT (batch_id, slot) DO UPDATE
			SET scheduled = c.scheduled + excluded.scheduled,
				queued = c.queued + excluded.queued,
				running = c.running + excluded.running,
				retrying = c.retrying + excluded.retrying,
				succeeded = c.succeeded + excluded.succeeded,
				failed = c.failed + excluded.failed,
				cancelled = c.cancelled + excluded.cancelled,
				expired = c.expired + excluded.expired,
				unknown = c.unknown + excluded.unknown,
				cost_nano = c.cost_nano + excluded.cost_nano,
				simulated_nano = c.simulated_nano + excluded.simulated_nano,
				unpriced_calls = c.unpriced_calls + excluded.unpriced_calls
			RETURNING batch_id
		)
		SELECT coalesce((SELECT id FROM batch), ''), EXISTS (SELECT FROM mended)`, after).Scan(&batch, &wrong)
	if err != nil {
		return "", false, fmt.Errorf("audit the counts of batches: %w", err)
	}
	return batch, wrong, nil
}

func sumOf(state string) string { return `coalesce(sum(n) FILTER (WHERE state = '` + state + `'), 0)` }
