package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
)

// Expense sums up the cost of the calls of one sort.
type Expense struct {
	// Sort is "answer" (a call whose answer is a result), "first" (a job's first
	// call, which brought no result), "retry" (any other at the job's first provider),
	// "fallback" (any other elsewhere), "unknown" (its outcome is not known: at its
	// reserved price) or "under way"; or "cache": no calls, but answers from the cache. A
	// call that several jobs share is of one sort: that of the first of them, if it
	// answered none.
	Sort string
	// Provider was called.
	Provider string
	Calls    int64
	// Jobs counts the jobs whose results they brought: of "answer" alone, and more than one
	// each, where calls were shared. Of "cache" it counts the answers.
	Jobs int64
	// Cost leaves out the Unpriced calls, and those under way.
	Cost billing.NanoUSD
	// Simulated holds what those of mocks and fakes would have cost: no part of Cost.
	Simulated billing.NanoUSD
	// Charge is the money that accounts are charged for them.
	Charge billing.NanoUSD
	// Unpriced counts those that no price is known for.
	Unpriced int64
	// Saved is the cost of the calls that answers from the cache stand for.
	Saved billing.NanoUSD
}

// Expenses tells what the calls of a batch or a job have cost, by sort and
// provider, in one query over the ledger. It fails with jobs.ErrNotFound.
func (s *Store) Expenses(ctx context.Context, id string) ([]Expense, error) {
	of, _, err := s.selection(ctx, id)
	if err != nil && !errors.Is(err, jobs.ErrBatchCancelled) {
		return nil, fmt.Errorf("expenses of %s: %w", id, err)
	}
	rows, err := s.pool.Query(ctx, `
		WITH call AS (
			SELECT c.id, c.provider, c.simulated, coalesce(cj.share_nano, c.cost_nano) AS cost_nano, c.state,
				CASE WHEN c.markup IS NULL THEN coalesce(cj.share_nano, c.cost_nano) ELSE (
					SELECT share_of(c.charge_nano, cj.weight, sum(o.weight) FILTER (WHERE o.job_id <= j.id), sum(o.weight))
					FROM call_jobs o
					WHERE o.call_id = c.id) END AS charge_nano, CASE
				WHEN c.state = 'running' THEN 'under way'
				WHEN c.state = 'unknown' THEN 'unknown'
				WHEN r.call_id = c.id THEN 'answer'
				WHEN row_number() OVER calls = 1 THEN 'first'
				WHEN c.provider = first_value(c.provider) OVER calls THEN 'retry'
				ELSE 'fallback'
				END AS sort, j.id AS job, (r.call_id = c.id)::int AS answered
			FROM (SELECT id FROM jobs WHERE `+of.jobs+`) j
			JOIN call_jobs cj ON cj.job_id = j.id
			JOIN calls c ON c.id = cj.call_id
			LEFT JOIN results r ON r.job_id = j.id
			WINDOW calls AS (PARTITION BY j.id ORDER BY c.started_at, c.id)
		), whole AS (
			SELECT (array_agg(sort ORDER BY sort = 'answer' DESC, job))[1] AS sort, min(provider) AS provider, bool_or(simulated) AS simulated,
				min(state) AS state, coalesce(sum(answered), 0) AS answered, sum(cost_nano) AS cost_nano, sum(charge_nano) AS charge_nano
			FROM call
			GROUP BY id
		)
		SELECT * FROM (
		SELECT sort, provider, count(*) AS calls, sum(answered)::bigint AS jobs, saturated(coalesce(sum(cost_nano) FILTER (WHERE NOT simulated), 0)) AS cost,
			saturated(coalesce(sum(cost_nano) FILTER (WHERE simulated), 0)) AS simulated,
			saturated(coalesce(sum(charge_nano) FILTER (WHERE NOT simulated), 0)) AS charge,
			count(*) FILTER (WHERE cost_nano IS NULL AND state <> 'running') AS unpriced, 0::bigint AS saved
		FROM whole
		GROUP BY sort, provider
		UNION ALL
		SELECT 'cache', provider, count(*), count(*), 0, 0, 0, 0, saturated(coalesce(sum(saved_nano), 0))
		FROM results
		WHERE cached AND job_id IN (SELECT id FROM jobs WHERE `+of.jobs+`)
		GROUP BY provider
		) all_of
		ORDER BY array_position(ARRAY['answer', 'first', 'retry', 'fallback', 'unknown', 'under way', 'cache'], sort), provider`, of.id)
	if err != nil {
		return nil, fmt.Errorf("expenses of %s: %w", id, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Expense])
	if err != nil {
		return nil, fmt.Errorf("expenses of %s: %w", id, err)
	}
	return list, nil
}
