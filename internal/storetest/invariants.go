package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Querier is a connection, a pool or a transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Invariants fails the test for each thing that must be true of every database at rest and is not: what the tables say of
// each other, each job's bill, and what the state machine promises.
func Invariants(tb testing.TB, db Querier) {
	tb.Helper()
	broken, err := Broken(context.WithoutCancel(tb.Context()), db)
	if err != nil {
		tb.Fatal(err)
	}
	for _, b := range broken {
		tb.Error(b)
	}
}

// Broken returns what Invariants finds, a line each.
func Broken(ctx context.Context, db Querier) (lines []string, err error) {
	for what, sql := range invariants {
		var n int
		if err := db.QueryRow(ctx, sql).Scan(&n); err != nil {
			return nil, fmt.Errorf("count %s: %w", what, err)
		}
		if n != 0 {
			lines = append(lines, fmt.Sprintf("%d %s", n, what))
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// invariants are queries that count what must not be.
var invariants = map[string]string{ //nolint:gochecknoglobals // a table
	"jobs without a state, or states without a job": `
		SELECT count(*) FROM jobs j FULL JOIN job_states s ON s.job_id = j.id
		WHERE j.id IS NULL OR s.job_id IS NULL OR s.batch_id IS DISTINCT FROM j.batch_id`,
	"jobs that have not ended and are not in the queue": `
		SELECT count(*) FROM job_states s WHERE finished_at IS NULL AND NOT EXISTS (SELECT FROM job_queue q WHERE q.job_id = s.job_id)`,
	"jobs in the queue that have ended": `
		SELECT count(*) FROM job_queue q WHERE NOT EXISTS (SELECT FROM job_states s WHERE s.job_id = q.job_id AND s.finished_at IS NULL)`,
	"jobs in the queue that it says something else of than their states": `
		SELECT count(*) FROM job_queue q JOIN job_states s USING (job_id)
		WHERE (q.gen, q.not_before, q.deadline, q.paused, q.worker_id)
			IS DISTINCT FROM (s.gen, s.not_before, s.deadline, s.paused_at IS NOT NULL, s.worker_id)`,
	"jobs in the queue that it says something else of than their rows": `
		SELECT count(*) FROM job_queue q JOIN jobs j ON j.id = q.job_id
		WHERE (q.provider, q.lane, q.account, q.batch_id, q.pack, q.run_at)
			IS DISTINCT FROM (j.provider, j.lane, j.account, coalesce(j.batch_id, ''), j.pack, j.run_at)`,
	"jobs that a worker holds and nobody has delivered": `SELECT count(*) FROM job_queue WHERE worker_id IS NOT NULL AND dispatched_at IS NULL`,
	"calls that serve no job, or shares of no call": `
		SELECT count(*) FROM calls c FULL JOIN call_jobs cj ON cj.call_id = c.id WHERE c.id IS NULL OR cj.call_id IS NULL`,
	"calls whose shares do not sum up to their cost": `
		SELECT count(*) FROM (
			SELECT FROM calls c JOIN call_jobs cj ON cj.call_id = c.id
			GROUP BY c.id
			HAVING coalesce(c.cost_nano, 0) <> coalesce(sum(coalesce(cj.share_nano, c.cost_nano)), 0) OR bool_or(c.cost_nano IS NULL AND cj.share_nano IS NOT NULL)
		) wrong`,
	"jobs whose cost is not the sum of their shares": `
		SELECT count(*) FROM job_states s
		WHERE (cost_nano, simulated_nano) <> (
			SELECT coalesce(sum(coalesce(cj.share_nano, c.cost_nano)) FILTER (WHERE NOT c.simulated), 0)::bigint,
				coalesce(sum(coalesce(cj.share_nano, c.cost_nano)) FILTER (WHERE c.simulated), 0)::bigint
			FROM call_jobs cj JOIN calls c ON c.id = cj.call_id
			WHERE cj.job_id = s.job_id)`,
	"jobs whose unpriced calls do not add up": `
		SELECT count(*) FROM job_states s
		WHERE unpriced_calls <> (
			SELECT count(*) FROM call_jobs cj JOIN calls c ON c.id = cj.call_id
			WHERE cj.job_id = s.job_id AND c.state <> 'running' AND c.cost_nano IS NULL)`,
	"succeeded jobs without a result": `
		SELECT count(*) FROM job_states s WHERE state = 'succeeded' AND NOT EXISTS (SELECT FROM results r WHERE r.job_id = s.job_id)`,
	"results of jobs that did not succeed": `SELECT count(*) FROM results r JOIN job_states s USING (job_id) WHERE s.state <> 'succeeded'`,
	"results of calls that did not succeed, or of other jobs": `
		SELECT count(*) FROM results r
		WHERE NOT cached AND NOT EXISTS (
			SELECT FROM calls c JOIN call_jobs cj ON cj.call_id = c.id
			WHERE c.id = r.call_id AND cj.job_id = r.job_id AND c.state = 'succeeded')`,
	"calls of other jobs than they say": `
		SELECT count(*) FROM calls c
		WHERE jobs <> (SELECT count(*) FROM call_jobs cj WHERE cj.call_id = c.id)
		AND EXISTS (SELECT FROM call_jobs cj JOIN job_states s USING (job_id) WHERE cj.call_id = c.id)`,
	"unknown calls not charged at the reserved price": `SELECT count(*) FROM calls WHERE state = 'unknown' AND cost_nano IS DISTINCT FROM reserved_nano`,
	// A holder makes one call at a time: none is under way when another succeeds.
	"calls under way of jobs that nobody runs": `
		SELECT count(*) FROM calls c JOIN call_jobs cj ON cj.call_id = c.id JOIN job_states s USING (job_id)
		WHERE c.state = 'running' AND s.state <> 'succeeded' AND (s.state <> 'running' OR s.lease_token <> cj.lease_token)`,
	"jobs with more calls than they may make": `
		SELECT count(*) FROM jobs j JOIN job_states s ON s.job_id = j.id
		WHERE max_provider_calls + 1 <= (
			SELECT sum(CASE
				WHEN c.error_kind IN ('rate_limited', 'concurrency_limit', 'not_asked', 'out_of_money', 'unauthorised', 'access_denied') THEN 0.1
				ELSE 1 END)
			FROM call_jobs cj JOIN calls c ON c.id = cj.call_id
			WHERE cj.job_id = j.id AND cj.gen >= s.retry_gen)`,
	"charges that are not those of their calls": `
		SELECT count(*) FROM charges h LEFT JOIN calls c ON c.id = h.call_id
		WHERE c.id IS NULL OR (h.reserved_nano, h.spent_nano)
			IS DISTINCT FROM (
				CASE WHEN c.state <> 'running' THEN 0 WHEN h.wallet THEN coalesce(c.charge_reserved_nano, c.reserved_nano, 0) ELSE coalesce(c.reserved_nano, 0) END,
				coalesce(CASE WHEN h.wallet THEN c.charge_nano ELSE c.cost_nano END, 0))`,
	"jobs whose charge is not that of their calls": `
		SELECT count(*) FROM (
			SELECT sum(s.charge_nano) - (
				SELECT coalesce(sum(c.charge_nano), 0) FROM calls c
				WHERE NOT c.simulated AND EXISTS (SELECT FROM call_jobs cj JOIN job_states x USING (job_id) WHERE cj.call_id = c.id)) AS wrong
			FROM job_states s
			WHERE NOT EXISTS (SELECT FROM batches b WHERE b.removed_at IS NOT NULL)
		) x WHERE wrong <> 0`,
	"calls charged by no card that are not charged at their cost": `
		SELECT count(*) FROM calls WHERE markup IS NULL AND charge_nano IS DISTINCT FROM cost_nano`,
	"budgets whose sums are not those of their charges": `
		SELECT count(*) FROM budgets b
		WHERE (spent_nano, reserved_nano) <> (
			SELECT b.forgotten_nano + coalesce(sum(h.spent_nano), 0), coalesce(sum(h.reserved_nano), 0)
			FROM charges h WHERE h.budget_id = b.id AND h.began_at = b.began_at)`,
	"wallets whose balance is not the sum of their ledger": `
		SELECT count(*) FROM budgets b
		WHERE wallet AND limit_nano - spent_nano <> (SELECT coalesce(sum(amount_nano), 0) FROM ledger_entries e WHERE e.account = b.account)`,
	"batches whose counts are not those of their jobs": `
		SELECT count(*) FROM batches b
		WHERE removed_at IS NULL AND (
			SELECT (count(*) FILTER (WHERE state = 'scheduled'), count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running'),
				count(*) FILTER (WHERE state = 'retrying'), count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE state = 'failed'),
				count(*) FILTER (WHERE state = 'cancelled'), count(*) FILTER (WHERE state = 'expired'), count(*) FILTER (WHERE state = 'unknown'),
				coalesce(sum(cost_nano), 0), coalesce(sum(simulated_nano), 0), coalesce(sum(unpriced_calls), 0))
			FROM job_states s WHERE s.batch_id = b.id) IS DISTINCT FROM (
			SELECT (coalesce(sum(scheduled), 0)::bigint, coalesce(sum(queued), 0)::bigint, coalesce(sum(running), 0)::bigint,
				coalesce(sum(retrying), 0)::bigint, coalesce(sum(succeeded), 0)::bigint, coalesce(sum(failed), 0)::bigint,
				coalesce(sum(cancelled), 0)::bigint, coalesce(sum(expired), 0)::bigint, coalesce(sum(unknown), 0)::bigint,
				coalesce(sum(cost_nano), 0), coalesce(sum(simulated_nano), 0), coalesce(sum(unpriced_calls), 0)::bigint)
			FROM batch_counts c WHERE c.batch_id = b.id)`,
	"batches whose estimate is of more jobs than they have, or turned round": `
		SELECT count(*) FROM (
			SELECT sum(estimated_jobs) AS estimated, sum(low_nano) AS low, sum(expected_nano) AS expected, sum(high_nano) AS high,
				sum(scheduled + queued + running + retrying + succeeded + failed + cancelled + expired + unknown) AS jobs
			FROM batch_counts c JOIN batches b ON b.id = c.batch_id AND b.removed_at IS NULL GROUP BY batch_id
		) c
		WHERE NOT (estimated BETWEEN 0 AND jobs AND 0 <= low AND low <= expected AND expected <= high)`,
	"providers whose figures are not what the ledger adds up to": `
		SELECT count(*) FROM (
			SELECT provider, count(*) AS n, count(*) FILTER (WHERE state = 'succeeded') AS succeeded, sum(coalesce(cost_nano, 0)) AS cost,
				sum(input_tokens) AS input, count(latency_ms) AS timed
			FROM calls WHERE state <> 'running' GROUP BY provider
		) c
		FULL JOIN (
			SELECT provider, sum(requests) AS n, sum(succeeded) AS succeeded, sum(cost_nano + simulated_nano) AS cost, sum(input_tokens) AS input,
				(SELECT coalesce(sum(calls), 0) FROM provider_latencies l WHERE l.provider = m.provider) AS timed
			FROM provider_metrics m GROUP BY provider
		) m USING (provider)
		WHERE (c.n, c.succeeded, c.cost, c.input, c.timed) IS DISTINCT FROM (m.n, m.succeeded, m.cost, m.input, m.timed)`,
	"providers whose spending is not what the ledger adds up to": `
		SELECT count(*) FROM (
			SELECT provider, simulated, count(*) AS n, count(*) FILTER (WHERE state <> 'succeeded') AS failed, sum(coalesce(cost_nano, 0)) AS cost,
				count(*) FILTER (WHERE cost_nano IS NULL) AS unpriced, sum(greatest(cost_nano - reserved_nano, 0)) AS over,
				sum(coalesce(charge_nano, 0)) AS charge, count(*) FILTER (WHERE state = 'unknown') AS unknown
			FROM calls WHERE state <> 'running' GROUP BY provider, simulated
		) c
		FULL JOIN (
			SELECT provider, simulated, sum(calls) AS n, sum(failed) AS failed, sum(cost_nano) AS cost, sum(unpriced) AS unpriced,
				sum(overrun_nano) AS over, sum(charge_nano) AS charge, coalesce(sum(calls) FILTER (WHERE kind = 'unknown'), 0) AS unknown
			FROM spending WHERE kind <> 'cache' GROUP BY provider, simulated
		) s USING (provider, simulated)
		WHERE (c.n, c.failed, c.cost, c.unpriced, coalesce(c.over, 0), c.charge, c.unknown) IS DISTINCT FROM (s.n, s.failed, s.cost, s.unpriced, s.over, s.charge, s.unknown)`,
	"batches whose spending is not the cost of their jobs": `
		SELECT count(*) FROM batches b
		WHERE removed_at IS NULL AND (SELECT coalesce(sum(cost_nano + simulated_nano), 0) FROM job_states s WHERE s.batch_id = b.id)
			<> (SELECT coalesce(sum(cost_nano), 0) FROM spending s WHERE s.batch_id = b.id)`,
	"succeeded jobs of a pipeline that led to nothing in the next step": `
		SELECT count(*) FROM job_states s JOIN steps m ON m.batch_id = s.batch_id JOIN steps n ON n.pipeline = m.pipeline AND n.place = m.place + 1
		WHERE s.state = 'succeeded' AND NOT EXISTS (SELECT FROM step_links l WHERE l.parent_id = s.job_id AND l.batch_id = n.batch_id)`,
	"links of jobs that did not succeed": `SELECT count(*) FROM step_links l JOIN job_states s ON s.job_id = l.parent_id WHERE s.state <> 'succeeded'`,
	"links to a job that is not there": `
		SELECT count(*) FROM step_links l JOIN batches b ON b.id = l.batch_id
		WHERE l.child_id IS NOT NULL AND b.removed_at IS NULL AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = l.child_id AND j.batch_id = l.batch_id)`,
	"jobs of a later step that nothing led to": `
		SELECT count(*) FROM jobs j JOIN steps s ON s.batch_id = j.batch_id
		WHERE s.place > 0 AND NOT EXISTS (SELECT FROM step_links l WHERE l.child_id = j.id)`,
	"answers from the cache that were not counted as such": `
		SELECT abs((SELECT count(*) FROM results WHERE cached) - (SELECT coalesce(sum(calls), 0) FROM spending WHERE kind = 'cache'))
		WHERE NOT EXISTS (SELECT FROM batches WHERE removed_at IS NOT NULL)
		UNION ALL SELECT 0 LIMIT 1`,
	"files of cached answers that are not theirs": `
		SELECT count(*) FROM cache_files f WHERE NOT EXISTS (SELECT FROM cache_entries e WHERE e.key = f.key AND e.call_id = f.call_id)`,
	"waiting jobs of cancelled batches": `
		SELECT count(*) FROM job_states s JOIN batches b ON b.id = s.batch_id
		WHERE b.cancelled_at IS NOT NULL AND s.state IN ('scheduled', 'queued', 'retrying')`,
}
