package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
	"oneflow/providers"
)

type beginIn struct {
	worker uuid.UUID
	call   jobs.Call
}

// BeginCall implements worker.WorkStore.
func (s *Store) BeginCall(ctx context.Context, worker uuid.UUID, c jobs.Call) error {
	_, err := s.begins.do(ctx, beginIn{worker, c})
	return err
}

// beginMany inserts the rows of calls whose lease still holds. The job's row is
// locked, so that a take-over comes either before, and then there is no row and
// no call, or after, and then it sees the row.
func (s *Store) beginMany(ctx context.Context, in []beginIn) ([]outcome[struct{}], error) {
	n := len(in)
	attemptIDs, jobIDs, tokens, workers := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n)
	names, models, reserved, timeouts := make([]string, n), make([]string, n), make([]*int64, n), make([]float64, n)
	for i, b := range in {
		c := b.call
		attemptIDs[i], jobIDs[i], tokens[i], workers[i] = c.CallID, c.JobID, c.LeaseToken, b.worker
		names[i], models[i], reserved[i], timeouts[i] = c.Provider, c.Model, (*int64)(c.Reserved), c.Timeout.Seconds()
	}
	verdicts := make(map[uuid.UUID]string, n)
	p := pipeline()
	p.Queue(beginSQL, attemptIDs, jobIDs, tokens, workers, names, models, reserved, timeouts).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var verdict string
		_, err := pgx.ForEachRow(rows, []any{&id, &verdict}, func() error {
			verdicts[id] = verdict
			return nil
		})
		return err
	})
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("begin calls: %w", err)
	}
	out := make([]outcome[struct{}], n)
	for i, b := range in {
		switch verdicts[b.call.CallID] {
		case "send", "sent":
		case "cancelled":
			out[i].err = jobs.ErrCancelled
		case "paused":
			out[i].err = jobs.ErrPaused
		case "expired":
			out[i].err = jobs.ErrExpired
		case "too many":
			out[i].err = jobs.ErrTooManyCalls
		default:
			out[i].err = jobs.ErrLeaseLost
		}
	}
	return out, nil
}

// beginSQL says of each call whose lease holds whether it may be sent, and writes
// its row if so. A row that is there is one of an earlier try, whose commit was not
// heard of. A job has a lease if and only if it is running.
const beginSQL = `
	WITH held AS (
		SELECT w.*, j.gen, j.attempt, mine.calls, CASE
			WHEN mine.begun THEN 'sent'
			WHEN j.cancel_requested_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.cancelled_at IS NOT NULL) THEN 'cancelled'
			WHEN j.paused_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.paused_at IS NOT NULL) THEN 'paused'
			WHEN j.deadline <= now() THEN 'expired'
			WHEN mine.counted >= j.max_provider_calls THEN 'too many'
			ELSE 'send'
			END AS verdict
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::float8[])
			AS w (id, job_id, token, worker, provider, model, reserved, timeout)
		JOIN jobs j ON j.id = w.job_id
		CROSS JOIN LATERAL (
			SELECT count(*) AS calls, coalesce(bool_or(a.id = w.id), false) AS begun,
				count(*) FILTER (WHERE a.gen >= j.retry_gen AND a.error_kind NOT IN
					('rate_limited', 'concurrency_limit', 'not_asked', 'out_of_money', 'unauthorised')) AS counted
			FROM attempts a
			WHERE a.job_id = w.job_id
		) mine
		WHERE j.lease_token = w.token
		FOR NO KEY UPDATE OF j
	), sent AS (
		INSERT INTO attempts (id, job_id, gen, attempt, call, lease_token, worker_id, provider, model, reserved_nano, deadline)
		SELECT id, job_id, gen, attempt, calls + 1, token, worker, provider, model, reserved,
			now() + make_interval(secs => timeout)
		FROM held
		WHERE verdict = 'send'
	)
	SELECT id, verdict FROM held`

// Known implements worker.WorkStore.
func (s *Store) Known(ctx context.Context, calls []uuid.UUID) (known []uuid.UUID, err error) {
	err = again(ctx, func() error {
		rows, err := s.pool.Query(ctx, `SELECT id FROM attempts WHERE id = ANY ($1)`, calls)
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
	p.Queue(`
		WITH `+settleSQL("", "")+`
		UPDATE jobs j
		SET cost_nano = j.cost_nano + b.charge, unpriced_calls = j.unpriced_calls + b.unpriced
		FROM (SELECT job_id, sum(charge)::bigint AS charge, sum(unpriced)::int AS unpriced FROM settled GROUP BY job_id) b
		WHERE j.id = b.job_id AND (b.charge <> 0 OR b.unpriced <> 0)`, cols...)
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("settle calls: %w", err)
	}
	return make([]outcome[struct{}], len(in)), nil
}

// settleSQL ends calls by id, once: settled are the calls that this very write
// ended, with what they add to their jobs' bills. A call that was given up as
// unknown is settled anew by what really came of it, also where a person has said
// meanwhile what came of it: nobody who made the call has, since each settlement
// by its holder has a latency, and a person's word has none. It takes settlementColumns
// as $1 to $14, and further columns that settled is to have, where there are any.
// What a call was before is read under the row's lock: a take-over may have come
// since the statement began.
func settleSQL(arrays, columns string) string {
	return `
	before AS (
		SELECT s.*, a.state AS state_before, a.cost_nano AS cost_before
		FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::json[], $5::bigint[], $6::int[], $7::text[], $8::text[],
				$9::text[], $10::bytea[], $11::jsonb[], $12::bigint[], $13::bigint[], $14::jsonb[]` + arrays + `)
			AS s (id, outcome, cost, prices, latency, status, request_id, kind, message, body, usage, input, output, limits` + columns + `)
		CROSS JOIN LATERAL (SELECT id, cost_nano, state, latency_ms FROM attempts WHERE id = s.id FOR UPDATE) a
		WHERE a.state = 'running'
		OR s.outcome <> 'unknown' AND (a.state = 'unknown' OR a.state <> 'succeeded' AND a.latency_ms IS NULL)
	), settled AS (
		UPDATE attempts a
		SET state = b.outcome,
			cost_nano = CASE WHEN b.outcome = 'unknown' THEN a.reserved_nano ELSE b.cost END,
			price_ids = ARRAY(SELECT json_array_elements_text(b.prices)),
			finished_at = coalesce(a.finished_at, now()),
			corrected_at = CASE WHEN b.state_before <> 'running' THEN now() END,
			latency_ms = b.latency,
			http_status = b.status,
			request_id = b.request_id,
			error_kind = b.kind,
			error_message = b.message,
			error_body = b.body,
			usage = b.usage,
			input_tokens = b.input,
			output_tokens = b.output,
			rate_limits = b.limits
		FROM before b
		WHERE a.id = b.id
		RETURNING b.*, a.job_id,
			coalesce(a.cost_nano, 0) - coalesce(b.cost_before, 0) AS charge,
			(a.cost_nano IS NULL)::int - (b.state_before <> 'running' AND b.cost_before IS NULL)::int AS unpriced
	)`
}

func settlementColumns(in []jobs.Settlement) ([]any, error) {
	n := len(in)
	ids, outcomes, costs, prices := make([]uuid.UUID, n), make([]string, n), make([]*int64, n), make([]string, n)
	latencies, statuses := make([]int64, n), make([]*int, n)
	requests, kinds, messages, bodies := make([]string, n), make([]string, n), make([]string, n), make([][]byte, n)
	usages, inputs, outputs, limits := make([]string, n), make([]int64, n), make([]int64, n), make([]string, n)
	for i, c := range in {
		usage, err := usageJSON(c.Usage)
		if err != nil {
			return nil, fmt.Errorf("settle calls: %w", err)
		}
		said, err := json.Marshal(c.Limits)
		if err != nil {
			return nil, fmt.Errorf("settle calls: rate limits: %w", err)
		}
		limits[i] = string(said)
		rows, err := json.Marshal(append([]string{}, c.PriceIDs...))
		if err != nil {
			return nil, fmt.Errorf("settle calls: prices: %w", err)
		}
		ids[i], outcomes[i], costs[i], prices[i] = c.CallID, string(c.Outcome), (*int64)(c.Cost), string(rows)
		latencies[i], requests[i], kinds[i], messages[i], bodies[i] = c.Latency.Milliseconds(), Sanitise(c.RequestID), string(c.Kind), Sanitise(c.Message), c.Body
		usages[i], inputs[i], outputs[i] = usage, c.Usage.TotalInput(), c.Usage.TotalOutput()
		if c.Status != 0 {
			statuses[i] = &c.Status
		}
	}
	return []any{ids, outcomes, costs, prices, latencies, statuses, requests, kinds, messages, bodies, usages, inputs, outputs, limits}, nil
}

// usageJSON encodes usage so that jsonb takes it.
func usageJSON(u providers.Usage) (string, error) {
	u.Variant = Sanitise(u.Variant)
	data, err := json.Marshal(u)
	if err != nil {
		return "", fmt.Errorf("usage: %w", err)
	}
	return string(data), nil
}
