package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
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
// no call, or after, and then it sees the row. Where there are budgets, it takes one
// round trip more.
func (s *Store) beginMany(ctx context.Context, in []beginIn) ([]outcome[struct{}], error) {
	if time.Now().UnixNano() < s.budgeted.Load() {
		return s.beginWithin(ctx, in)
	}
	verdicts := make(map[uuid.UUID]string, len(in))
	p := pipeline()
	p.Queue(beginSQL, append(beginColumns(in), make([]string, len(in)), false)...).Query(readVerdicts(verdicts))
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("begin calls: %w", err)
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

// begun is what a verdict of beginSQL means to the caller.
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
const beginSQL = `
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
				$10::text[])
			AS w (id, job_id, token, worker, provider, model, reserved, timeout, simulated, refused)
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
	), sent AS (
		INSERT INTO calls (id, worker_id, provider, model, simulated, reserved_nano, deadline)
		SELECT id, worker, provider, model, simulated, reserved, now() + make_interval(secs => timeout)
		FROM held
		WHERE verdict = 'send'
	), served AS (
		INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token)
		SELECT id, job_id, gen, attempt, token
		FROM held
		WHERE verdict = 'send'
	)
	SELECT id, verdict FROM held`

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
