package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
	"oneflow/providers"
)

// Untouched implements worker.WorkStore. It takes no lock, and waits for nobody: BeginCall
// looks again.
func (s *Store) Untouched(ctx context.Context, claims []jobs.Claim) ([]jobs.Job, error) {
	jobIDs, gens := make([]uuid.UUID, len(claims)), make([]int, len(claims))
	for i, c := range claims {
		jobIDs[i], gens[i] = c.ID, c.Gen
	}
	var list []jobs.Job
	p := pipeline()
	p.Queue(untouchedSQL, jobIDs, gens).Query(func(rows pgx.Rows) error {
		return readJobs(rows, func(job jobs.Job, readable bool) {
			if readable { // else its claim ends it
				list = append(list, job)
			}
		})
	})
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("look at the jobs of a chunk: %w", err)
	}
	return list, nil
}

const untouchedSQL = `
	SELECT j.id, coalesce(j.batch_id, ''), j.account, s.gen, s.attempt + 1, j.max_attempts, j.max_provider_calls, j.provider,
		j.lane, j.request, j.on_unknown, j.chain, j.fallback, extract(epoch FROM s.deadline - now())::float8, NULL::uuid, s.crashes, 0::bigint
	FROM unnest($1::uuid[], $2::int[]) AS w (id, gen)
	JOIN jobs j ON j.id = ANY (ARRAY[w.id])
	JOIN job_states s ON s.job_id = ANY (ARRAY[w.id]) AND s.gen = w.gen
	WHERE ` + untouched

// readJobs reads claimed jobs, and whether the request of each could be read.
func readJobs(rows pgx.Rows, each func(job jobs.Job, readable bool)) error {
	received := time.Now()
	var j jobs.Job
	var request []byte
	var lease *uuid.UUID
	var left float64 // seconds until the deadline, by Postgres' clock: ours may be wrong
	_, err := pgx.ForEachRow(rows, []any{
		&j.ID, &j.BatchID, &j.Account, &j.Gen, &j.Attempt, &j.MaxAttempts, &j.MaxProviderCalls, &j.Provider,
		&j.Lane, &request, &j.OnUnknown, &j.Chain, &j.Fallback, &left, &lease, &j.Crashes, &j.Unknowns,
	}, func() error {
		job := j
		if job.Deadline = received.Add(time.Duration(left * float64(time.Second))); lease != nil {
			job.LeaseToken = *lease
		}
		ok := readable(request, &job.Request)
		each(job, ok)
		return nil
	})
	return err
}

func readable(data []byte, request *providers.Request) bool {
	return json.Unmarshal(data, request) == nil
}

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
	if err := s.beginsOn.send(ctx, p); err != nil {
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
		JOIN job_states s ON s.job_id = ANY (ARRAY[w.job_id])
		JOIN jobs j ON j.id = ANY (ARRAY[w.job_id])
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
		JOIN jobs j ON j.id = ANY (ARRAY[w.job_id])
		WHERE s.job_id = ANY (ARRAY[w.job_id])
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
		SELECT FROM batches b WHERE b.id = ANY (ARRAY[s.batch_id]) AND (b.cancelled_at IS NOT NULL OR b.paused_at IS NOT NULL))`
