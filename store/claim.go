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

type claimIn struct {
	worker uuid.UUID
	claim  jobs.Claim
}

// Claim implements worker.WorkStore.
func (s *Store) Claim(ctx context.Context, worker uuid.UUID, c jobs.Claim) (jobs.Claimed, error) {
	return s.claims.do(ctx, claimIn{worker, c})
}

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
	JOIN jobs j ON j.id = w.id
	WHERE s.job_id = w.id
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

func readable(data []byte, request *providers.Request) bool {
	return json.Unmarshal(data, request) == nil
}

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
