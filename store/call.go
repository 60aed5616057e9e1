package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

type beginIn struct {
	worker uuid.UUID
	call   jobs.Call
}

// BeginCall implements worker.WorkStore.
func (s *Store) BeginCall(ctx context.Context, worker uuid.UUID, c jobs.Call) error {
	if len(c.With) > 0 {
		return again(ctx, func() error { return s.beginPack(ctx, worker, c) })
	}
	_, err := s.begins.do(ctx, beginIn{worker, c})
	return err
}

// beginMany inserts the rows of calls whose lease still holds, and claims the jobs of
// those that come with a generation: see takeSQL. The job's row is
// locked, so that a take-over comes either before, and then there is no row and
// no call, or after, and then it sees the row. Where there are budgets, it takes one
// round trip more.
func (s *Store) beginMany(ctx context.Context, in []beginIn) ([]outcome[struct{}], error) {
	if time.Now().UnixNano() < s.budgeted.Load() {
		return s.beginWithin(ctx, in)
	}
	verdicts := make(map[uuid.UUID]string, len(in))
	p := pipeline()
	queueBegins(p, in, nil, verdicts)
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("begin calls: %w", err)
	}
	if err := s.lookForTaken(ctx, in, verdicts); err != nil {
		return nil, err
	}
	out := make([]outcome[struct{}], len(in))
	var left []beginIn
	var places []int
	for i, b := range in {
		verdict := verdicts[b.call.CallID]
		if verdict == "budgets" {
			left, places = append(left, b), append(places, i)
			continue
		}
		out[i].err = begun(verdict)
	}
	if len(left) == 0 {
		return out, nil
	}
	s.budgeted.Store(time.Now().Add(lookForBudgets).UnixNano())
	rest, err := s.beginWithin(ctx, left)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		out[place] = rest[i]
	}
	return out, nil
}

// queueBegins adds the statements that begin calls, and claim the jobs of those that come
// with a generation. refused says why money refuses each; nil: nobody has looked at
// budgets.
func queueBegins(p *pgx.Batch, in []beginIn, refused []string, verdicts map[uuid.UUID]string) {
	looked := refused != nil
	if !looked {
		refused = make([]string, len(in))
	}
	var held, fresh []beginIn
	var heldRefused, freshRefused []string
	var gens []int
	var heldScopes, freshScopes []string
	for i, b := range in {
		if b.call.Gen == 0 {
			held, heldRefused, heldScopes = append(held, b), append(heldRefused, refused[i]), append(heldScopes, b.call.Scope)
			continue
		}
		fresh, freshRefused, freshScopes = append(fresh, b), append(freshRefused, refused[i]), append(freshScopes, b.call.Scope)
		gens = append(gens, b.call.Gen)
	}
	if len(held) > 0 {
		p.Queue(beginSQL, append(beginColumns(held), heldRefused, looked, heldScopes)...).Query(readVerdicts(verdicts))
	}
	if len(fresh) > 0 {
		p.Queue(takeSQL, append(beginColumns(fresh), freshRefused, looked, gens, freshScopes)...).Query(readVerdicts(verdicts))
	}
}

// lookForTaken finds out what has become of calls that were to claim their jobs and did
// not: the claim of an earlier try, whose commit was not heard of, or budgets that are to
// be looked at first. What is left is nothing to claim.
func (s *Store) lookForTaken(ctx context.Context, in []beginIn, verdicts map[uuid.UUID]string) error {
	var missed []uuid.UUID
	for _, b := range in {
		if b.call.Gen > 0 && verdicts[b.call.CallID] == "" {
			missed = append(missed, b.call.CallID)
		}
	}
	if len(missed) == 0 {
		return nil
	}
	rows, err := s.pool.Query(ctx, `
		SELECT w.id, CASE
			WHEN EXISTS (
				SELECT
				FROM call_jobs cj
				JOIN job_states s ON s.job_id = cj.job_id AND s.lease_token = cj.lease_token
				WHERE cj.call_id = w.id) THEN 'sent'
			WHEN EXISTS (SELECT FROM budgets) THEN 'budgets'
			ELSE ''
			END
		FROM unnest($1::uuid[]) AS w (id)`, missed)
	if err == nil {
		err = readVerdicts(verdicts)(rows)
	}
	if err != nil {
		return fmt.Errorf("look for the calls of claims: %w", err)
	}
	return nil
}

// begun returns the error that a verdict of beginSQL means to the caller.
func begun(verdict string) error {
	switch verdict {
	case "send", "sent":
		return nil
	case "cancelled":
		return jobs.ErrCancelled
	case "paused":
		return jobs.ErrPaused
	case "expired":
		return jobs.ErrExpired
	case "too many":
		return jobs.ErrTooManyCalls
	}
	return jobs.ErrLeaseLost
}

func readVerdicts(into map[uuid.UUID]string) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var id uuid.UUID
		var verdict string
		_, err := pgx.ForEachRow(rows, []any{&id, &verdict}, func() error {
			into[id] = verdict
			return nil
		})
		return err
	}
}

// beginColumns are the first parameters of beginSQL.
func beginColumns(in []beginIn) []any {
	n := len(in)
	callIDs, jobIDs, tokens, workers := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n)
	names, models, reserved, timeouts, simulated := make([]string, n), make([]string, n), make([]*int64, n), make([]float64, n), make([]bool, n)
	for i, b := range in {
		c := b.call
		callIDs[i], jobIDs[i], tokens[i], workers[i] = c.CallID, c.JobID, c.LeaseToken, b.worker
		names[i], models[i], reserved[i], timeouts[i], simulated[i] = c.Provider, c.Model, bounded(c.Reserved), c.Timeout.Seconds(), c.Simulated
	}
	return []any{callIDs, jobIDs, tokens, workers, names, models, reserved, timeouts, simulated}
}

// beginSQL says of each call whose lease holds whether it may be sent, and writes
// its row if so. A row that is there is one of an earlier try, whose commit was not
// heard of. A job has a lease if and only if it is running. A refusal for the rate, the
// account or the key is a wait, and counts a tenth of a call: it, too, has an end. A
// call that money refuses comes with that verdict, in $10; $11 tells that budgets were
// looked at, else none is begun where there are any.
const beginSQL = heldSQL + `, sent AS (
		INSERT INTO calls (id, worker_id, provider, model, scope, simulated, reserved_nano, deadline)
		SELECT id, worker, provider, model, scope, simulated, reserved, now() + make_interval(secs => timeout)
		FROM held
		WHERE verdict = 'send'
	), served AS (
		INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token)
		SELECT id, job_id, gen, attempt, token
		FROM held
		WHERE verdict = 'send'
	)
	SELECT id, verdict FROM held`

// heldSQL says of calls whether they may be sent.
const heldSQL = `
	WITH held AS (
		SELECT w.*, s.gen, s.attempt, CASE
			WHEN mine.begun THEN 'sent'
			WHEN s.cancel_requested_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = s.batch_id AND b.cancelled_at IS NOT NULL) THEN 'cancelled'
			WHEN s.paused_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = s.batch_id AND b.paused_at IS NOT NULL) THEN 'paused'
			WHEN s.deadline <= now() THEN 'expired'
			WHEN mine.counted >= j.max_provider_calls THEN 'too many'
			WHEN w.refused <> '' THEN w.refused
			WHEN NOT $11 AND EXISTS (SELECT FROM budgets) THEN 'budgets'
			ELSE 'send'
			END AS verdict
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::float8[], $9::bool[],
				$10::text[], $12::text[])
			AS w (id, job_id, token, worker, provider, model, reserved, timeout, simulated, refused, scope)
		JOIN job_states s ON s.job_id = w.job_id
		JOIN jobs j ON j.id = w.job_id
		CROSS JOIN LATERAL (
			SELECT coalesce(bool_or(c.id = w.id), false) AS begun,
				coalesce(sum(CASE
					WHEN c.error_kind IN ('rate_limited', 'concurrency_limit', 'not_asked', 'out_of_money', 'unauthorised', 'access_denied')
						THEN 0.1
					ELSE 1
					END) FILTER (WHERE cj.gen >= s.retry_gen), 0) AS counted
			FROM (SELECT call_id, gen FROM call_jobs WHERE job_id = w.job_id OFFSET 0) cj
			CROSS JOIN LATERAL (SELECT id, error_kind FROM calls WHERE id = cj.call_id OFFSET 0) c
		) mine
		WHERE s.lease_token = w.token
		FOR NO KEY UPDATE OF s
	)`

// takeSQL claims jobs for the first time, and writes the row of the first call of each,
// in the same transaction: one statement in place of claimSQL and beginSQL. It leaves
// alone what was claimed before, has to wait, is not to run or, where nobody has looked
// at them, what may have budgets: that is claimed by itself. It takes
// the parameters of beginSQL, and the generations.
const takeSQL = `
	WITH taken AS (
		UPDATE job_states s
		SET state = 'running',
			attempt = s.attempt + 1,
			lease_token = w.token,
			worker_id = w.worker,
			not_before = NULL,
			wait_reason = '',
			started_at = now()
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::float8[], $9::bool[],
				$10::text[], $12::int[], $13::text[])
			AS w (id, job_id, token, worker, provider, model, reserved, timeout, simulated, refused, gen, scope)
		JOIN jobs j ON j.id = w.job_id
		WHERE s.job_id = w.job_id
		AND s.gen = w.gen
		AND w.refused = ''
		AND ($11 OR NOT EXISTS (SELECT FROM budgets))
		AND ` + untouched + `
		RETURNING w.*, s.attempt
	), sent AS (
		INSERT INTO calls (id, worker_id, provider, model, scope, simulated, reserved_nano, deadline)
		SELECT id, worker, provider, model, scope, simulated, reserved, now() + make_interval(secs => timeout)
		FROM taken
	), served AS (
		INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token)
		SELECT id, job_id, gen, attempt, token
		FROM taken
	)
	SELECT id, 'send' FROM taken`

// untouched holds for the job j, whose state is s, while nobody has claimed it yet, and
// nothing keeps it from being claimed now.
const untouched = `
	s.started_at IS NULL AND s.crashes = 0
	AND s.state IN ('queued', 'scheduled')
	AND j.run_at <= now()
	AND (s.not_before IS NULL OR s.not_before <= now())
	AND s.deadline > now()
	AND s.cancel_requested_at IS NULL
	AND s.paused_at IS NULL
	AND NOT EXISTS (
		SELECT FROM batches b WHERE b.id = s.batch_id AND (b.cancelled_at IS NOT NULL OR b.paused_at IS NOT NULL))`

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

// SetHandle implements worker.OrderStore.
func (s *Store) SetHandle(ctx context.Context, call uuid.UUID, handle string) error {
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `UPDATE calls SET handle = $2 WHERE id = $1 AND state IN ('running', 'unknown')`, call, Sanitise(handle))
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
		WHERE c.id = b.id
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
		WHERE s.several AND j.job_id = s.job_id AND j.call_id = s.call_id
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
	WHERE s.job_id = b.job_id AND (b.charge <> 0 OR b.simulated <> 0 OR b.due <> 0 OR b.unpriced <> 0)`

// lostCalls selects, as given takes them, the calls c under way of the jobs of
// call_jobs cj, whose outcome is not known; loss says why.
const lostCalls = `
		SELECT c.id, 'unknown' AS outcome, NULL::bigint AS cost, '{}'::text AS prices, NULL::bigint AS latency, NULL::int AS status,
			'' AS request_id, loss.kind, loss.message, NULL::bytea AS body, '{}'::jsonb AS usage,
			0::bigint AS input, 0::bigint AS output, '{}'::jsonb AS limits, 0::bigint AS units, cj.job_id AS job, cj.lease_token AS token`

// settlementNames and settlementArrays are the columns of a settlement, and their
// arrays as parameters: see settlementColumns.
const (
	settlementNames  = `id, outcome, cost, prices, latency, status, request_id, kind, message, body, usage, input, output, limits, units`
	settlementArrays = `$1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::int[], $7::text[], $8::text[],
		$9::text[], $10::bytea[], $11::jsonb[], $12::bigint[], $13::bigint[], $14::jsonb[], $15::bigint[]`
)

// maxTokens and maxCost bound what one call may say of itself: beyond a million
// times what any model takes, and a hundred million dollars.
const (
	maxTokens = 1 << 40
	maxCost   = 100_000_000 * billing.USD
)

// bounded is an amount as a call may have it.
func bounded(n *billing.NanoUSD) *int64 {
	if n == nil {
		return nil
	}
	v := int64(min(max(*n, 0), maxCost))
	return &v
}

func settlementColumns(in []jobs.Settlement) ([]any, error) {
	n := len(in)
	ids, outcomes, costs, prices := make([]uuid.UUID, n), make([]string, n), make([]*int64, n), make([]string, n)
	latencies, statuses := make([]int64, n), make([]*int, n)
	requests, kinds, messages, bodies := make([]string, n), make([]string, n), make([]string, n), make([][]byte, n)
	usages, inputs, outputs, limits, units := make([]string, n), make([]int64, n), make([]int64, n), make([]string, n), make([]int64, n)
	for i, c := range in {
		usage, err := usageJSON(c.Usage)
		if err != nil {
			return nil, fmt.Errorf("settle calls: %w", err)
		}
		if limits[i], err = encoded(c.Limits); err != nil {
			return nil, fmt.Errorf("settle calls: rate limits: %w", err)
		}
		ids[i], outcomes[i], costs[i], prices[i] = c.CallID, string(c.Outcome), bounded(c.Cost), arrayOf(c.PriceIDs)
		latencies[i], requests[i], kinds[i], messages[i], bodies[i] = c.Latency.Milliseconds(), Sanitise(c.RequestID), string(c.Kind), Sanitise(c.Message), c.Body
		usages[i], inputs[i], outputs[i] = usage, min(max(c.Usage.TotalInput(), 0), maxTokens), min(max(c.Usage.TotalOutput(), 0), maxTokens)
		units[i] = min(max(c.Units, 0), maxTokens)
		if c.Status != 0 {
			statuses[i] = &c.Status
		}
	}
	return []any{ids, outcomes, costs, prices, latencies, statuses, requests, kinds, messages, bodies, usages, inputs, outputs, limits, units}, nil
}

// arrayOf writes a list as Postgres writes an array of text: arrays of lists of several
// lengths cannot be parameters.
func arrayOf(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, text := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for _, part := range Sanitise(text) {
			if part == '"' || part == '\\' {
				b.WriteByte('\\')
			}
			b.WriteRune(part)
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// usageJSON encodes usage so that jsonb takes it.
func usageJSON(u providers.Usage) (string, error) {
	u.Variant = Sanitise(u.Variant)
	data, err := encoded(u)
	if err != nil {
		return "", fmt.Errorf("usage: %w", err)
	}
	return data, nil
}

// encoded is v as JSON; an empty object where it says nothing, as of most calls.
func encoded[T comparable](v T) (string, error) {
	if v == *new(T) {
		return "{}", nil
	}
	data, err := json.Marshal(v)
	return string(data), err
}
