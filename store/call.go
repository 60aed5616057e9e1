package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
)

// Known implements worker.WorkStore.
func (s *Store) Known(ctx context.Context, calls []uuid.UUID) (known []uuid.UUID, err error) {
	err = again(ctx, func() error {
		rows, err := s.pool.Query(ctx, `SELECT id FROM calls WHERE id = ANY ($1)`, calls)
		if err != nil {
			return err
		}
		known, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for calls: %w", err)
	}
	return known, nil
}

// SettleCall implements worker.WorkStore.
func (s *Store) SettleCall(ctx context.Context, c jobs.Settlement) error {
	_, err := s.settles.do(ctx, c)
	return err
}

func (s *Store) settleMany(ctx context.Context, in []jobs.Settlement) ([]outcome[struct{}], error) {
	cols, err := settlementColumns(in)
	if err != nil {
		return nil, err
	}
	p := pipeline()
	if slices.ContainsFunc(in, func(c jobs.Settlement) bool { return c.Packed }) {
		p.Queue(lockServedSQL, cols[0])
	}
	p.Queue(settleOnlySQL, cols...)
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("settle calls: %w", err)
	}
	return make([]outcome[struct{}], len(in)), nil
}

// settleOnlySQL settles calls and charges their jobs.
const settleOnlySQL = `
	WITH given AS (
		SELECT *, NULL::uuid AS job, NULL::uuid AS token
		FROM unnest(` + settlementArrays + `) AS g (` + settlementNames + `)
	), ` + settleSQL + `
	` + chargeSQL

// succeedSQL settles the calls, and ends the job that each answers if it has no
// result and may still get one. The lease does not matter for that: an answer that
// comes late, when somebody else has the job or waits for it, is paid for and as
// good as theirs, whose own writes change nothing any more. A job may be in a group
// twice: both calls are charged, and the holder's answer is the result. It returns
// the calls whose results stand, by this write or by an earlier try of it whose
// commit was not heard of. It takes settlementColumns and resultColumns.
const succeedSQL = givenAnswers + `, ` + settleSQL + `, ended AS (
		UPDATE job_states s
		SET ` + charged + `,
			state = CASE WHEN ` + wantsResult + ` THEN 'succeeded' ELSE s.state END,
			finished_at = CASE WHEN ` + wantsResult + ` THEN now() ELSE s.finished_at END,
			error_class = CASE WHEN ` + wantsResult + ` THEN '' ELSE s.error_class END,
			error_message = CASE WHEN ` + wantsResult + ` THEN '' ELSE s.error_message END,
			ended_lease = CASE
				WHEN s.lease_token = ANY (b.tokens) THEN s.lease_token
				WHEN ` + wantsResult + ` THEN b.tokens[1]
				ELSE s.ended_lease END,
			not_before = CASE WHEN ` + wantsResult + ` THEN NULL ELSE s.not_before END,
			wait_reason = CASE WHEN ` + wantsResult + ` THEN '' ELSE s.wait_reason END,
			worker_id = CASE WHEN ` + wantsResult + ` THEN NULL ELSE s.worker_id END,
			lease_token = CASE WHEN ` + wantsResult + ` THEN NULL ELSE s.lease_token END
		FROM bill b
		WHERE s.job_id = ANY (ARRAY[b.job_id])
		RETURNING s.state, s.ended_lease
	), stored AS (
		` + storeResults + `
		FROM settled
		WHERE (token IN (SELECT ended_lease FROM ended WHERE state = 'succeeded')) IS TRUE
		ON CONFLICT (job_id) DO NOTHING
		RETURNING call_id
	)
	SELECT call_id FROM stored
	UNION ALL
	SELECT r.call_id
	FROM unnest($1::uuid[], $23::uuid[]) AS w (call_id, job_id)
	JOIN results r ON r.job_id = ANY (ARRAY[w.job_id]) AND r.call_id = w.call_id
	WHERE (SELECT count(*) FROM stored) < cardinality($1)`

// wantsResult holds for a job of the bill that is answered, has no result and may
// still get one: all that have not ended, and those of which it is not known how
// they have.
const wantsResult = `(b.tokens IS NOT NULL AND (s.finished_at IS NULL OR s.state = 'unknown'))`

// SetHandle implements worker.OrderStore.
func (s *Store) SetHandle(ctx context.Context, call uuid.UUID, handle string) error {
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `UPDATE calls SET handle = $2 WHERE id = $1 AND state IN ('running', 'unknown')`, call, sanitise(handle))
		return err
	})
	if err != nil {
		return fmt.Errorf("write down the order of call %s: %w", call, err)
	}
	return nil
}

// Order implements worker.OrderStore.
func (s *Store) Order(ctx context.Context, job uuid.UUID) (*jobs.Order, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT c.id, c.provider, c.model, c.handle, c.reserved_nano, c.started_at, cj.gen >= s.retry_gen
		FROM job_states s
		JOIN call_jobs cj ON cj.job_id = s.job_id
		JOIN calls c ON c.id = cj.call_id
		WHERE s.job_id = $1 AND c.state = 'unknown' AND c.handle <> ''
		ORDER BY c.started_at DESC
		LIMIT 1`, job)
	if err != nil {
		return nil, fmt.Errorf("read the orders of job %s: %w", job, err)
	}
	orders, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o jobs.Order, err error) {
		var reserved *int64
		err = row.Scan(&o.CallID, &o.Provider, &o.Model, &o.Handle, &reserved, &o.Started, &o.Counted)
		o.Reserved = (*billing.NanoUSD)(reserved)
		return o, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the orders of job %s: %w", job, err)
	}
	if len(orders) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	return &orders[0], nil
}

// Misses implements worker.WorkStore.
func (s *Store) Misses(ctx context.Context, job uuid.UUID) ([]jobs.Miss, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT c.error_kind, c.error_message, coalesce(c.error_body, ''), c.output_tokens, c.provider, c.model
		FROM job_states s
		JOIN call_jobs cj ON cj.job_id = s.job_id AND cj.gen >= s.retry_gen
		JOIN calls c ON c.id = cj.call_id
		WHERE s.job_id = $1 AND c.state = 'failed_billed' AND c.error_kind IN `+missKinds+`
		ORDER BY c.started_at, c.id`, job)
	if err != nil {
		return nil, fmt.Errorf("read the answers of job %s: %w", job, err)
	}
	misses, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m jobs.Miss, err error) {
		var answer []byte
		err = row.Scan(&m.Kind, &m.Message, &answer, &m.OutputTokens, &m.Provider, &m.Model)
		m.Answer = string(answer)
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the answers of job %s: %w", job, err)
	}
	return misses, nil
}

// settleSQL is the one place where a call's cost is written and its jobs are
// charged: whatever settles calls brings them in the CTE given.
//
// given has settlementNames, and job and token: the job that the caller means, and
// its claim, where that matters. A call that is given as unknown costs what was
// reserved.
//
// settled are the given calls that this very statement ended: those under way. A
// call that was given up as unknown is settled anew by what really came of it, also
// where a person has said meanwhile what came of it: nobody who made the call has,
// since each settlement by its holder has a latency, and a person's word has none.
// What a call was before is read under the row's lock: a take-over may have come
// since the statement began.
//
// bill holds the consequence for each of their jobs: the number of its calls that
// were settled, the amount that they add to its cost, and the one that is due for it from
// its account. A call's cost is split by the weights of its jobs; shares come from the
// call's cost alone, before and after, so that they hold under its lock and sum up to it.
//
// What is due for a call follows from the terms that it began with: a price for each unit
// of an answer, and nothing without one, or a multiple of the cost; or it is the cost.
const settleSQL = `
	before AS (
		SELECT g.*, c.state AS state_before, c.cost_nano AS cost_before, c.charge_nano AS due_before
		FROM given g
		CROSS JOIN LATERAL (SELECT state, cost_nano, charge_nano, latency_ms FROM calls WHERE id = g.id OFFSET 0 FOR UPDATE) c
		WHERE c.state = 'running'
		OR g.outcome <> 'unknown' AND (c.state = 'unknown' OR c.state <> 'succeeded' AND c.latency_ms IS NULL)
	), settled AS (
		UPDATE calls c
		SET state = b.outcome,
			cost_nano = CASE WHEN b.outcome = 'unknown' THEN c.reserved_nano ELSE b.cost END,
			charge_nano = CASE
				WHEN b.outcome = 'unknown' THEN coalesce(c.charge_reserved_nano, c.reserved_nano)
				WHEN c.unit_nano IS NULL AND (c.markup IS NULL OR b.cost IS NULL) THEN b.cost
				WHEN c.unit_nano IS NULL THEN saturated(round(b.cost * c.markup))
				WHEN b.outcome = 'succeeded' THEN least(saturated(round(b.units * c.unit_nano)), c.charge_reserved_nano)
				ELSE 0 END,
			price_ids = b.prices::text[],
			finished_at = coalesce(c.finished_at, now()),
			corrected_at = CASE WHEN b.state_before <> 'running' THEN now() END,
			` + toldOfCall + `
		FROM before b
		WHERE c.id = ANY (ARRAY[b.id])
		RETURNING b.*, c.cost_nano AS cost_after, c.charge_nano AS due_after, c.simulated
	), ` + chargedSQL + `, share AS (
		SELECT s.id AS call_id, j.job_id, j.total > j.weight AS several, s.simulated,
			share_of(s.cost_after, j.weight, j.upto, j.total) AS share,
			coalesce(share_of(s.cost_after, j.weight, j.upto, j.total), 0)
				- coalesce(share_of(s.cost_before, j.weight, j.upto, j.total), 0) AS charge,
			coalesce(share_of(s.due_after, j.weight, j.upto, j.total), 0)
				- coalesce(share_of(s.due_before, j.weight, j.upto, j.total), 0) AS due,
			(s.cost_after IS NULL)::int - (s.state_before <> 'running' AND s.cost_before IS NULL)::int AS unpriced,
			CASE WHEN j.job_id = s.job THEN s.token END AS token
		FROM settled s
		CROSS JOIN LATERAL (
			SELECT job_id, weight, sum(weight) OVER (ORDER BY job_id) AS upto, sum(weight) OVER () AS total
			FROM call_jobs
			WHERE call_id = s.id
		) j
	), shared AS (
		UPDATE call_jobs j
		SET share_nano = s.share
		FROM share s
		WHERE s.several AND j.job_id = s.job_id AND j.call_id = ANY (ARRAY[s.call_id])
	), bill AS (
		SELECT job_id, count(*) AS calls,
			coalesce(sum(charge) FILTER (WHERE NOT simulated), 0) AS charge,
			coalesce(sum(charge) FILTER (WHERE simulated), 0) AS simulated,
			coalesce(sum(due) FILTER (WHERE NOT simulated), 0) AS due,
			sum(unpriced)::int AS unpriced,
			array_agg(token) FILTER (WHERE token IS NOT NULL) AS tokens
		FROM share
		GROUP BY job_id
	)`

// charged adds the bill b to the state s of its job.
const charged = `
	cost_nano = saturated(s.cost_nano + b.charge),
	simulated_nano = saturated(s.simulated_nano + b.simulated),
	charge_nano = saturated(s.charge_nano + b.due),
	unpriced_calls = s.unpriced_calls + b.unpriced`

// chargeSQL charges the jobs of the bill.
const chargeSQL = `
	UPDATE job_states s
	SET ` + charged + `
	FROM bill b
	WHERE s.job_id = ANY (ARRAY[b.job_id]) AND (b.charge <> 0 OR b.simulated <> 0 OR b.due <> 0 OR b.unpriced <> 0)`

// lostCalls selects, as given takes them, the calls c under way of the jobs of
// call_jobs cj, whose outcome is not known; loss says why.
const lostCalls = `
		SELECT c.id, 'unknown' AS outcome, NULL::bigint AS cost, '{}'::text AS prices, NULL::bigint AS latency, NULL::int AS status,
			'' AS request_id, loss.kind, loss.message, NULL::bytea AS body, '{}'::jsonb AS usage,
			0::bigint AS input, 0::bigint AS output, '{}'::jsonb AS limits, 0::bigint AS units, cj.job_id AS job, cj.lease_token AS token`
