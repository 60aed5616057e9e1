package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// packColumns are the first parameters of heldSQL for a packed call, a row for each of its
// jobs in the order of their ids, and the jobs and their weights.
func packColumns(worker uuid.UUID, c jobs.Call) (columns []any, all []uuid.UUID, weights []int) {
	served := append([]jobs.Served{{JobID: c.JobID, LeaseToken: c.LeaseToken, Weight: c.Weight}}, c.With...)
	slices.SortFunc(served, func(a, b jobs.Served) int { return bytes.Compare(a.JobID[:], b.JobID[:]) })
	in := make([]beginIn, len(served))
	for i, j := range served {
		one := c
		one.JobID, one.LeaseToken = j.JobID, j.LeaseToken
		in[i], all, weights = beginIn{worker, one}, append(all, j.JobID), append(weights, max(j.Weight, 1))
	}
	return beginColumns(in), all, weights
}

// beginPack is beginMany for a packed call: it is begun for all of its jobs, or for none,
// with a PackError. The budgets of the first job are those of all, and reserve once.
func (s *Store) beginPack(ctx context.Context, worker uuid.UUID, c jobs.Call) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("begin a packed call: %w", err)
	}
	defer conn.Release()
	in := []beginIn{{worker, c}}
	_, all, _ := packColumns(worker, c)
	q, err := readBudgets(ctx, conn.Conn(), beginColumns(in), all)
	if err != nil {
		return fmt.Errorf("begin a packed call: read budgets: %w", err)
	}
	refusal := q.reserve(in)[0]
	columns, _, weights := packColumns(worker, in[0].call) // a raised bound is reserved
	refused := make([]string, len(all))
	if refusal != nil {
		for i := range refused {
			refused[i] = "budget"
		}
	}
	verdicts := make(map[uuid.UUID]string, len(all))
	var p pgx.Batch
	p.Queue(renewSQL, q.ids())
	p.Queue(beginPackSQL, append(columns, refused, true, slices.Repeat([]string{c.Scope}, len(all)), weights)...).Query(readVerdicts(verdicts))
	calls, budgets, amounts := q.reservations(in)
	p.Queue(reserveSQL, calls, budgets, amounts)
	if len(q.terms) > 0 {
		p.Queue(termsSQL, q.termColumns(in)...)
	}
	stopped, needs := q.stopped()
	p.Queue(stopSQL, stopped, needs)
	p.Queue(`COMMIT`)
	if err := conn.SendBatch(ctx, &p).Close(); err != nil {
		return fmt.Errorf("begin a packed call: %w", err)
	}
	failed := &jobs.PackError{Refused: map[uuid.UUID]error{}}
	for _, id := range all {
		if err := begun(verdicts[id]); err != nil && verdicts[id] != "budget" {
			failed.Refused[id] = err
		}
	}
	switch {
	case len(failed.Refused) > 0:
		return failed
	case refusal != nil:
		return refusal
	}
	return nil
}

// beginPackSQL is beginSQL for one packed call, with the weights of its jobs in $13. It says
// of each job what keeps the call from being sent.
const beginPackSQL = heldSQL + `, whole AS (
		SELECT count(*) = cardinality($2) AND bool_and(verdict = 'send') AS goes FROM held
	), sent AS (
		INSERT INTO calls (id, worker_id, provider, model, scope, simulated, reserved_nano, deadline, jobs)
		SELECT id, worker, provider, model, scope, simulated, reserved, now() + make_interval(secs => timeout), cardinality($2)
		FROM held
		CROSS JOIN whole
		WHERE goes
		LIMIT 1
	), served AS (
		INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token, weight)
		SELECT id, job_id, gen, attempt, token, ($13::int[])[array_position($2::uuid[], job_id)]
		FROM held
		CROSS JOIN whole
		WHERE goes
	)
	SELECT job_id, verdict FROM held`

// succeedPack is succeedMany for a packed call: it is settled, and each of its jobs that has
// a part of the answer, and may still get a result, ends with it.
func (s *Store) succeedPack(ctx context.Context, done jobs.Success) error {
	settle, err := settlementColumns([]jobs.Settlement{done.Settlement})
	if err != nil {
		return err
	}
	n := len(done.Parts)
	all, tokens, vectors, texts, usages := make([]uuid.UUID, n), make([]uuid.UUID, n), make([][]byte, n), make([]string, n), make([]string, n)
	each := make([]jobs.Success, n)
	for i, part := range done.Parts {
		if usages[i], err = usageJSON(part.Response.Usage); err != nil {
			return fmt.Errorf("record the results of a packed call: %w", err)
		}
		all[i], tokens[i], vectors[i], texts[i] = part.JobID, part.LeaseToken, packed(part.Response.Vector), sanitise(part.Response.Text)
		each[i] = jobs.Success{JobID: part.JobID, Settlement: done.Settlement, Child: part.Child}
	}
	children, err := childrenColumns(each)
	if err != nil {
		return err
	}
	stands := map[uuid.UUID]bool{}
	call, r := done.Settlement.CallID, done.Response
	p := pipeline()
	p.Queue(lockServedSQL, []uuid.UUID{call})
	p.Queue(settleOnlySQL, settle...)
	p.Queue(endPackSQL, all, tokens, vectors, texts, usages, call, r.Provider, sanitise(r.Model), sanitise(r.FinishReason)).Query(func(rows pgx.Rows) error {
		ended, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		for _, id := range ended {
			stands[id] = true
		}
		return err
	})
	if children != nil {
		p.Queue(childrenSQL, children...)
	}
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return fmt.Errorf("record the results of a packed call: %w", err)
	}
	if len(stands) > 0 {
		signal(s.ended)
	}
	if len(stands) == 0 && n > 0 {
		return jobs.ErrLeaseLost
	}
	return nil
}

// lockServedSQL locks the jobs of calls, as is done before their calls are.
const lockServedSQL = `
	SELECT FROM job_states
	WHERE job_id = ANY (ARRAY(SELECT job_id FROM call_jobs WHERE call_id = ANY ($1)))
	ORDER BY job_id
	FOR NO KEY UPDATE`

// endPackSQL ends the jobs of a packed call that has succeeded, as succeedSQL does, and
// stores their results. It returns those whose results stand, by this write or an earlier
// try of it.
const endPackSQL = `
	WITH w AS MATERIALIZED (
		SELECT *
		FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::jsonb[]) AS w (id, token, vector, text, usage)
	), ended AS (
		UPDATE job_states s
		SET state = 'succeeded', finished_at = now(), error_class = '', error_message = '', ended_lease = w.token,
			not_before = NULL, wait_reason = '', worker_id = NULL, lease_token = NULL
		FROM w
		WHERE s.job_id = ANY (ARRAY[w.id]) AND (s.finished_at IS NULL OR s.state = 'unknown')
		AND EXISTS (SELECT FROM calls c WHERE c.id = $6 AND c.state = 'succeeded')
		RETURNING s.job_id, w.vector, w.text, w.usage
	), stored AS (
		INSERT INTO results (job_id, call_id, provider, model, text, vector, finish_reason, request_id, http_status, latency_ms, usage)
		SELECT e.job_id, c.id, $7, $8, e.text, e.vector, $9, c.request_id, coalesce(c.http_status, 200), coalesce(c.latency_ms, 0), e.usage
		FROM ended e
		CROSS JOIN LATERAL (SELECT * FROM calls WHERE id = $6 OFFSET 0) c
		ON CONFLICT (job_id) DO NOTHING
		RETURNING job_id
	)
	SELECT job_id FROM stored
	UNION
	SELECT r.job_id FROM results r WHERE r.job_id = ANY ($1) AND r.call_id = $6`
