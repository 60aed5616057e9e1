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
	var j jobs.Job
	var request []byte
	var left float64 // seconds until the deadline, by Postgres' clock: ours may be wrong
	p := pipeline()
	p.Queue(claimSQL, jobIDs, gens, tokens, workers).Query(func(rows pgx.Rows) error {
		received := time.Now()
		_, err := pgx.ForEachRow(rows, []any{
			&j.ID, &j.BatchID, &j.Gen, &j.Attempt, &j.MaxAttempts, &j.MaxProviderCalls, &j.Provider,
			&j.Lane, &request, &j.OnUnknown, &j.Chain, &j.Fallback, &left, &j.LeaseToken, &j.Crashes, &j.Unknowns,
		}, func() error {
			job := j
			job.Deadline = received.Add(time.Duration(left * float64(time.Second)))
			if !readable(request, &job.Request) {
				unreadable = append(unreadable, jobs.Completion{
					JobID: job.ID, LeaseToken: job.LeaseToken, State: jobs.Failed,
					Class: string(providers.InvalidRequest), Message: "the job's request cannot be read: was it written by another version?",
				})
				return nil
			}
			taken[job.LeaseToken] = &job
			return nil
		})
		return err
	})
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("claim jobs: %w", err)
	}
	if len(unreadable) > 0 {
		if _, err := s.endMany(ctx, unreadable); err != nil {
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
		wait, err := s.whyNot(ctx, in[i].claim)
		if err != nil {
			return nil, err
		}
		out[i].out.Wait = wait
	}
	return out, nil
}

// claimSQL asks for the state in a CASE, so that no index of the rows in that state
// is read in place of the key.
const claimSQL = `
	UPDATE jobs j
	SET state = 'running',
		attempt = j.attempt + (j.state <> 'running')::int,
		lease_token = w.token,
		worker_id = w.worker,
		not_before = NULL,
		dispatched_at = coalesce(j.dispatched_at, now()),
		started_at = coalesce(j.started_at, now())
	FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::uuid[]) AS w (id, gen, token, worker)
	WHERE j.id = w.id
	AND j.gen = w.gen
	AND CASE
		WHEN j.state = 'running' THEN j.lease_token = w.token
		WHEN j.state IN ('scheduled', 'queued', 'retrying') THEN
			j.run_at <= now()
			AND (j.not_before IS NULL OR j.not_before <= now())
			AND j.deadline > now()
			AND j.cancel_requested_at IS NULL
			AND j.paused_at IS NULL
			AND NOT EXISTS (
				SELECT FROM batches b WHERE b.id = j.batch_id AND (b.cancelled_at IS NOT NULL OR b.paused_at IS NOT NULL))
		END
	RETURNING j.id, coalesce(j.batch_id, ''), j.gen, j.attempt, j.max_attempts, j.max_provider_calls, j.provider,
		j.lane, j.request, j.on_unknown, j.chain, j.fallback, extract(epoch FROM j.deadline - now())::float8, j.lease_token, j.crashes,
		(SELECT count(*) FROM attempts a WHERE a.job_id = j.id AND a.gen >= j.retry_gen AND a.state IN ('unknown', 'failed_billed'))`

func readable(data []byte, request *providers.Request) bool {
	return json.Unmarshal(data, request) == nil
}

// whyNot tells how long a claim has to wait; 0 if there is nothing to wait for.
// A job that is past its deadline or cancelled is ended here. One that is paused
// is taken off Redis: its delivery is stale, and once it is resumed, it is
// dispatched anew.
func (s *Store) whyNot(ctx context.Context, c jobs.Claim) (time.Duration, error) {
	var milliseconds int64
	rows, err := s.pool.Query(ctx, `
		WITH ended AS (
			UPDATE jobs j
			SET state = CASE WHEN j.deadline <= now() THEN 'expired' ELSE 'cancelled' END,
				finished_at = now()
			WHERE j.id = $1 AND j.gen = $2
			AND j.state IN ('scheduled', 'queued', 'retrying')
			AND (j.deadline <= now() OR j.cancel_requested_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.cancelled_at IS NOT NULL))
			RETURNING j.id
		), paused AS (
			UPDATE jobs j
			SET gen = j.gen + 1, dispatched_at = NULL
			WHERE j.id = $1 AND j.gen = $2
			AND j.state IN ('scheduled', 'queued', 'retrying')
			AND (j.paused_at IS NOT NULL OR EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.paused_at IS NOT NULL))
			AND NOT EXISTS (SELECT FROM ended)
			RETURNING j.id
		)
		SELECT ceil(extract(epoch FROM greatest(j.run_at, j.not_before) - now()) * 1000)::bigint
		FROM jobs j
		WHERE j.id = $1 AND j.gen = $2
		AND j.state IN ('scheduled', 'queued', 'retrying')
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
	milliseconds = max(waits[0], 1)
	return time.Duration(milliseconds) * time.Millisecond, nil
}
