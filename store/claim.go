package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
	"oneflow/providers"
)

type claimIn struct {
	worker uuid.UUID
	claim  jobs.Claim
}

// Claim implements worker.WorkStore.
func (s *Store) Claim(ctx context.Context, worker uuid.UUID, c jobs.Claim) (jobs.Claimed, error) {
	return s.claims.do(ctx, claimIn{worker, c})
}

// claimMany takes what can be taken, then asks about the rest. A claim that was
// committed before without our hearing of it is found by its lease, whatever has
// happened since. A job whose request cannot be read ends here.
func (s *Store) claimMany(ctx context.Context, in []claimIn) ([]outcome[jobs.Claimed], error) {
	jobIDs, gens, tokens, workers := make([]uuid.UUID, len(in)), make([]int, len(in)), make([]uuid.UUID, len(in)), make([]uuid.UUID, len(in))
	for i, c := range in {
		jobIDs[i], gens[i], tokens[i], workers[i] = c.claim.ID, c.claim.Gen, c.claim.LeaseToken, c.worker
	}
	taken := make(map[uuid.UUID]*jobs.Job, len(in))
	var unreadable []jobs.Completion
	p := pipeline()
	p.Queue(claimSQL, jobIDs, gens, tokens, workers).Query(func(rows pgx.Rows) error {
		return readJobs(rows, func(job jobs.Job, readable bool) {
			if readable {
				taken[job.LeaseToken] = &job
				return
			}
			unreadable = append(unreadable, jobs.Completion{
				JobID: job.ID, LeaseToken: job.LeaseToken, State: jobs.Failed,
				Class: string(providers.InvalidRequest), Message: "the job's request cannot be read: was it written by another version?",
			})
		})
	})
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("claim jobs: %w", err)
	}
	if len(unreadable) > 0 {
		if _, err := s.completeMany(ctx, unreadable); err != nil {
			return nil, err
		}
	}
	out := make([]outcome[jobs.Claimed], len(in))
	var missed []int
	for i, c := range in {
		if out[i].out.Job = taken[c.claim.LeaseToken]; out[i].out.Job == nil {
			missed = append(missed, i)
		}
	}
	for _, i := range missed {
		wait, err := s.explainRefusal(ctx, in[i].claim)
		if err != nil {
			return nil, err
		}
		out[i].out.Wait = wait
	}
	return out, nil
}

// claimSQL asks for the state in a CASE: the job's own row decides, under its lock.
const claimSQL = `
	UPDATE job_states s
	SET state = 'running',
		attempt = s.attempt + (s.state <> 'running')::int,
		lease_token = w.token,
		worker_id = w.worker,
		not_before = NULL,
		wait_reason = '',
		started_at = coalesce(s.started_at, now())
	FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::uuid[]) AS w (id, gen, token, worker)
	JOIN jobs j ON j.id = ANY (ARRAY[w.id])
	WHERE s.job_id = ANY (ARRAY[w.id])
	AND s.gen = w.gen
	AND CASE
		WHEN s.state = 'running' THEN s.lease_token = w.token
		WHEN s.state IN ` + waitingStates + ` THEN
			j.run_at <= now()
			AND (s.not_before IS NULL OR s.not_before <= now())
			AND s.deadline > now()
			AND s.cancel_requested_at IS NULL
			AND s.paused_at IS NULL
			AND NOT EXISTS (
				SELECT FROM batches b WHERE b.id = s.batch_id AND (b.cancelled_at IS NOT NULL OR b.paused_at IS NOT NULL))
		END
	RETURNING j.id, coalesce(j.batch_id, ''), j.account, s.gen, s.attempt, j.max_attempts, j.max_provider_calls, j.provider,
		j.lane, j.request, j.on_unknown, j.chain, j.fallback, extract(epoch FROM s.deadline - now())::float8, s.lease_token, s.crashes,
		` + vainCalls

// explainRefusal returns how long a claim has to wait; 0 if there is nothing to wait
// for. A job that is past its deadline or cancelled is ended here. One that is
// paused is taken off Redis: its delivery is stale, and once it is resumed, it is
// dispatched anew.
func (s *Store) explainRefusal(ctx context.Context, c jobs.Claim) (time.Duration, error) {
	rows, err := s.pool.Query(ctx, `
		WITH ended AS (
			UPDATE job_states s
			SET state = CASE WHEN s.deadline <= now() THEN 'expired' ELSE 'cancelled' END,
				finished_at = now()
			WHERE s.job_id = $1 AND s.gen = $2
			AND s.state IN `+waitingStates+`
			AND (s.deadline <= now() OR s.cancel_requested_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = s.batch_id AND b.cancelled_at IS NOT NULL))
			RETURNING s.job_id
		), paused AS (
			UPDATE job_states s
			SET gen = s.gen + 1
			WHERE s.job_id = $1 AND s.gen = $2
			AND s.state IN `+waitingStates+`
			AND (s.paused_at IS NOT NULL OR EXISTS (SELECT FROM batches b WHERE b.id = s.batch_id AND b.paused_at IS NOT NULL))
			AND NOT EXISTS (SELECT FROM ended)
			RETURNING s.job_id
		)
		SELECT ceil(extract(epoch FROM greatest(j.run_at, s.not_before) - now()) * 1000)::bigint
		FROM job_states s
		JOIN jobs j ON j.id = s.job_id
		WHERE s.job_id = $1 AND s.gen = $2
		AND s.state IN `+waitingStates+`
		AND NOT EXISTS (SELECT FROM ended)
		AND NOT EXISTS (SELECT FROM paused)`, c.ID, c.Gen)
	if err != nil {
		return 0, fmt.Errorf("look at job %s: %w", c.ID, err)
	}
	waits, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, fmt.Errorf("look at job %s: %w", c.ID, err)
	}
	if len(waits) == 0 {
		return 0, nil
	}
	// It has become due since: at once, but not 0, which means never.
	return time.Duration(max(waits[0], 1)) * time.Millisecond, nil
}

// Complete implements worker.WorkStore.
func (s *Store) Complete(ctx context.Context, e jobs.Completion) (jobs.State, error) {
	return s.ends.do(ctx, e)
}

// completeMany ends claims. A job whose cancellation was asked for meanwhile is
// cancelled in place of going on or failing. A call of this claim that nobody has
// settled has an unknown outcome, and then the job goes on only if it may be sent
// once more.
func (s *Store) completeMany(ctx context.Context, in []jobs.Completion) ([]outcome[jobs.State], error) {
	n := len(in)
	jobIDs, tokens, states := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n)
	refunds, afters, classes, messages, waits := make([]bool, n), make([]float64, n), make([]string, n), make([]string, n), make([]string, n)
	budgets, ats, poor := make([]int64, n), make([]time.Time, n), false
	for i, e := range in {
		jobIDs[i], tokens[i], states[i], refunds[i] = e.JobID, e.LeaseToken, string(e.State), e.RefundAttempt
		afters[i], classes[i], messages[i], waits[i] = e.After.Seconds(), e.Class, sanitise(e.Message), e.WaitReason
		budgets[i], ats[i], poor = e.Budget, e.BudgetAt, poor || e.Budget != 0
	}
	ended := make(map[uuid.UUID]jobs.State, n)
	p := pipeline()
	if poor {
		// Whoever raises a budget wakes what waits for it. Either they come after this
		// commit and find the job, or endSQL finds that the budget was changed. Jobs are
		// locked before budgets, as where calls begin.
		// Whoever sets a budget has locked the table of calls before, which endSQL writes to:
		// so this waits for them before it has a lock that they need. (LOCK TABLE wants BEGIN.)
		p.Queue(`UPDATE calls SET id = id WHERE false`)
		p.Queue(`SELECT FROM job_states WHERE job_id = ANY ($1) ORDER BY job_id FOR NO KEY UPDATE`, jobIDs)
		p.Queue(`SELECT FROM budgets WHERE id = ANY ($1) ORDER BY id FOR SHARE`, budgets)
	}
	p.Queue(endSQL, jobIDs, tokens, states, refunds, afters, classes, messages, waits, budgets, ats).Query(func(rows pgx.Rows) error {
		var token uuid.UUID
		var state jobs.State
		_, err := pgx.ForEachRow(rows, []any{&token, &state}, func() error {
			ended[token] = state
			return nil
		})
		return err
	})
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("end jobs: %w", err)
	}
	out := make([]outcome[jobs.State], n)
	for i, e := range in {
		if ended[e.LeaseToken].Finished() {
			signal(s.ended)
		}
		if out[i].out = ended[e.LeaseToken]; out[i].out == "" {
			out[i].err = jobs.ErrLeaseLost
		}
	}
	return out, nil
}

const endSQL = `
	WITH w AS (
		SELECT *
		FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bool[], $5::float8[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::timestamptz[])
			AS w (id, token, state, refund, after, class, message, wait_reason, budget, budget_at)
	), held AS (
		SELECT w.*, j.on_unknown,
			w.budget <> 0 AND NOT EXISTS (SELECT FROM budgets m WHERE m.id = w.budget AND m.changed_at = w.budget_at) AS raised,
			s.cancel_requested_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = s.batch_id AND b.cancelled_at IS NOT NULL) AS cancelled,
			` + unknownCalls + ` AS before
		FROM w
		JOIN job_states s ON s.job_id = ANY (ARRAY[w.id])
		JOIN jobs j ON j.id = ANY (ARRAY[w.id])
		WHERE s.lease_token = w.token
		FOR NO KEY UPDATE OF s
	), given AS (
		` + lostCalls + `
		FROM (SELECT 'unknown' AS kind, 'the claim ended before the outcome of this call was known' AS message) loss
		CROSS JOIN held
		CROSS JOIN LATERAL (SELECT * FROM call_jobs WHERE job_id = held.id AND lease_token = held.token OFFSET 0) cj
		CROSS JOIN LATERAL (SELECT * FROM calls WHERE id = cj.call_id AND finished_at IS NULL OFFSET 0) c
	), ` + settleSQL + `, n AS (
		SELECT held.*, b.*, CASE
			WHEN held.cancelled AND held.state IN ('queued', 'retrying', 'failed') THEN 'cancelled'
			WHEN b.calls > 0 AND held.state IN ('queued', 'retrying')
				AND (held.on_unknown = 'fail' OR held.before + b.calls > 1) THEN 'unknown'
			ELSE held.state
			END AS becomes
		FROM held
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(charge), 0) AS charge, coalesce(sum(simulated), 0) AS simulated,
				coalesce(sum(due), 0) AS due, coalesce(sum(unpriced), 0)::int AS unpriced
			FROM bill
			WHERE bill.job_id = held.id
		) b
	), ended AS (
		UPDATE job_states s
		SET ` + charged + `,
			state = b.becomes,
			gen = s.gen + (b.raised AND b.becomes = 'queued')::int, -- its delivery comes too late: it is dispatched anew
			attempt = s.attempt - b.refund::int,
			not_before = CASE
				WHEN b.becomes = 'retrying' OR b.becomes = 'queued' AND b.after > 0 AND NOT b.raised THEN now() + make_interval(secs => b.after) END,
			wait_reason = CASE WHEN b.becomes = 'queued' AND NOT b.raised THEN b.wait_reason ELSE '' END,
			finished_at = CASE WHEN b.becomes NOT IN ('queued', 'retrying') THEN now() END,
			lease_token = NULL,
			worker_id = NULL,
			ended_lease = b.token,
			error_class = CASE
				WHEN b.becomes = 'queued' AND b.wait_reason <> '' THEN s.error_class
				WHEN b.becomes = 'unknown' AND b.class = '' THEN 'unknown'
				ELSE b.class END,
			error_message = CASE WHEN b.becomes = 'queued' AND b.wait_reason <> '' THEN s.error_message ELSE b.message END
		FROM n b
		WHERE s.job_id = ANY (ARRAY[b.id]) AND s.lease_token = b.token
		RETURNING b.token, s.state
	), others AS (
		` + chargeSQL + ` AND b.job_id NOT IN (SELECT id FROM held)
	)
	SELECT token, state FROM ended
	UNION ALL
	SELECT w.token, s.state FROM w JOIN job_states s ON s.job_id = ANY (ARRAY[w.id]) AND s.ended_lease = w.token`
