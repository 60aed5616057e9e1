package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/fleet"
	"oneflow/jobs"
)

// UnfinishedJobs counts the jobs that have not ended, by provider, lane and state.
func (s *Store) UnfinishedJobs(ctx context.Context) ([]fleet.Unfinished, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, lane, CASE
			WHEN worker_id IS NOT NULL THEN 'running'
			WHEN run_at > now() THEN 'scheduled'
			WHEN not_before > now() THEN (SELECT state FROM job_states s WHERE s.job_id = q.job_id) -- or it waits for no failure
			ELSE 'queued' END AS state, count(*) AS jobs
		FROM job_queue q
		GROUP BY 1, 2, 3`)
	if err != nil {
		return nil, fmt.Errorf("count unfinished jobs: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[fleet.Unfinished])
	if err != nil {
		return nil, fmt.Errorf("count unfinished jobs: %w", err)
	}
	return list, nil
}

// EndedJobs counts the jobs that have ended since ever.
func (s *Store) EndedJobs(ctx context.Context) ([]fleet.Ended, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, lane, state, wait, sum(jobs)::bigint, sum(wait_seconds)
		FROM job_ends
		GROUP BY provider, lane, state, wait
		ORDER BY provider, lane, state, wait`)
	if err != nil {
		return nil, fmt.Errorf("count ended jobs: %w", err)
	}
	var list []fleet.Ended
	var provider, lane, state string
	var wait int
	var n int64
	var seconds float64
	_, err = pgx.ForEachRow(rows, []any{&provider, &lane, &state, &wait, &n, &seconds}, func() error {
		is := fleet.Ended{Provider: provider, Lane: jobs.Lane(lane), State: jobs.State(state)}
		if last := len(list) - 1; last < 0 || list[last].Provider != is.Provider || list[last].Lane != is.Lane || list[last].State != is.State {
			is.Waits = make([]int64, len(fleet.WaitBounds())+1)
			list = append(list, is)
		}
		e := &list[len(list)-1]
		e.Jobs += n
		if wait >= 0 && wait < len(e.Waits) {
			e.Started += n
			e.Waits[wait] += n
			e.WaitSeconds += seconds
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count ended jobs: %w", err)
	}
	return list, nil
}

// AddLimiterWaits adds calls to those that have waited for their slot, by provider.
func (s *Store) AddLimiterWaits(ctx context.Context, waited map[string]fleet.LimiterWaits) error {
	var names []string
	var buckets []int
	var calls []int64
	var seconds []float64
	for name, w := range waited {
		first := true // has all the seconds: they are only summed up
		for bucket, n := range w.Calls {
			if n == 0 {
				continue
			}
			names, buckets, calls, seconds = append(names, name), append(buckets, bucket), append(calls, n), append(seconds, 0)
			if first {
				seconds[len(seconds)-1], first = w.Seconds, false
			}
		}
	}
	_, err := s.pool.Exec(ctx, `
		INSERT INTO limiter_waits AS w (provider, wait, calls, seconds)
		SELECT *
		FROM unnest($1::text[], $2::int[], $3::bigint[], $4::float8[]) AS new (provider, wait, calls, seconds)
		ORDER BY provider, wait
		ON CONFLICT (provider, wait) DO UPDATE SET calls = w.calls + excluded.calls, seconds = w.seconds + excluded.seconds`, names, buckets, calls, seconds)
	if err != nil {
		return fmt.Errorf("record how long calls waited: %w", err)
	}
	return nil
}

// LimiterWaits returns how long calls have waited for their slot since ever, by provider.
func (s *Store) LimiterWaits(ctx context.Context) (map[string]fleet.LimiterWaits, error) {
	rows, err := s.pool.Query(ctx, `SELECT provider, wait, calls, seconds FROM limiter_waits`)
	if err != nil {
		return nil, fmt.Errorf("read how long calls waited: %w", err)
	}
	all := map[string]fleet.LimiterWaits{}
	var provider string
	var bucket int
	var calls int64
	var seconds float64
	_, err = pgx.ForEachRow(rows, []any{&provider, &bucket, &calls, &seconds}, func() error {
		one := fleet.LimiterWaits{Calls: make([]int64, len(fleet.WaitBounds())+1), Seconds: seconds}
		if bucket >= 0 && bucket < len(one.Calls) {
			one.Calls[bucket] = calls
		}
		all[provider] = all[provider].Plus(one)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read how long calls waited: %w", err)
	}
	return all, nil
}

// CompactEnds implements worker.RecoveryStore: it sums up the rows of job_ends, unless
// they are few.
func (s *Store) CompactEnds(ctx context.Context) error {
	const few = 500
	_, err := s.pool.Exec(ctx, `
		WITH taken AS (
			DELETE FROM job_ends
			WHERE ctid = ANY (ARRAY(SELECT ctid FROM job_ends LIMIT 100000 FOR UPDATE SKIP LOCKED))
			AND (SELECT count(*) FROM (SELECT FROM job_ends LIMIT $1) x) = $1
			RETURNING *
		)
		INSERT INTO job_ends (minute, provider, lane, state, wait, jobs, wait_seconds)
		SELECT CASE WHEN minute > now() - interval '2 hours' THEN minute ELSE '-infinity' END AS at, provider, lane, state, wait, sum(jobs), sum(wait_seconds)
		FROM taken
		GROUP BY at, provider, lane, state, wait`, few)
	if err != nil {
		return fmt.Errorf("sum up ended jobs: %w", err)
	}
	return nil
}

// RecordActions implements worker.LeaderStore.
func (s *Store) RecordActions(ctx context.Context, done map[string]int64) error {
	names, counts := make([]string, 0, len(done)), make([]int64, 0, len(done))
	for name, n := range done {
		names, counts = append(names, name), append(counts, n)
	}
	_, err := s.pool.Exec(ctx, `
		INSERT INTO reconciler_actions AS a (action, done)
		SELECT action, n
		FROM unnest($1::text[], $2::bigint[]) AS new (action, n)
		ORDER BY action
		ON CONFLICT (action) DO UPDATE SET done = a.done + excluded.done, last_at = now()`, names, counts)
	if err != nil {
		return fmt.Errorf("record what the reconciler did: %w", err)
	}
	return nil
}

// ReconcilerActions returns how often the leaders have put something right, by what it was.
func (s *Store) ReconcilerActions(ctx context.Context) (map[string]int64, error) {
	rows, err := s.pool.Query(ctx, `SELECT action, done FROM reconciler_actions`)
	if err != nil {
		return nil, fmt.Errorf("read what the reconcilers did: %w", err)
	}
	done := map[string]int64{}
	var action string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&action, &n}, func() error {
		done[action] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what the reconcilers did: %w", err)
	}
	return done, nil
}

// CallTotals sums up the calls that ended in the hours from from to before until; zero: all
// before until, or all from from on.
func (s *Store) CallTotals(ctx context.Context, from, until time.Time) (fleet.CallTotals, error) {
	all := fleet.NewCallTotals()
	for _, read := range []func(context.Context, fleet.CallTotals, time.Time, time.Time) error{s.modelTotals, s.latencyTotals, s.reasonTotals} {
		if err := read(ctx, all, from, until); err != nil {
			return all, fmt.Errorf("sum up calls: %w", err)
		}
	}
	return all, nil
}

func (s *Store) modelTotals(ctx context.Context, all fleet.CallTotals, from, until time.Time) error {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, model, sum(succeeded)::bigint, sum(failed_unbilled)::bigint, sum(failed_billed)::bigint, sum(unknown)::bigint,
			sum(rate_limited)::bigint, sum(refused)::bigint, saturated(sum(input_tokens)), saturated(sum(output_tokens)),
			saturated(sum(cost_nano)), saturated(sum(simulated_nano)), sum(unpriced)::bigint, saturated(sum(latency_ms_sum))
		FROM provider_metrics
		WHERE ($1::timestamptz IS NULL OR minute >= $1) AND ($2::timestamptz IS NULL OR minute < $2)
		GROUP BY provider, model`, timeOrNull(from), timeOrNull(until))
	if err != nil {
		return err
	}
	var k fleet.ModelKey
	var t fleet.ModelTotals
	var ms int64
	_, err = pgx.ForEachRow(rows, []any{
		&k.Provider, &k.Model, &t.Succeeded, &t.FailedUnbilled, &t.FailedBilled, &t.Unknown, &t.RateLimited, &t.Refused,
		&t.InputTokens, &t.OutputTokens, (*int64)(&t.Cost), (*int64)(&t.Simulated), &t.Unpriced, &ms,
	}, func() error {
		all.Models[k] = t
		l := all.Latencies[k.Provider]
		l.Milliseconds = jobs.Sum(l.Milliseconds, ms)
		all.Latencies[k.Provider] = l
		return nil
	})
	return err
}

func (s *Store) latencyTotals(ctx context.Context, all fleet.CallTotals, from, until time.Time) error {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, bucket / 8 + 1, sum(calls)::bigint
		FROM provider_latencies
		WHERE ($1::timestamptz IS NULL OR minute >= $1) AND ($2::timestamptz IS NULL OR minute < $2)
		GROUP BY 1, 2`, timeOrNull(from), timeOrNull(until))
	if err != nil {
		return err
	}
	var provider string
	var i int
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&provider, &i, &n}, func() error {
		l := all.Latencies[provider]
		if l.Calls == nil {
			l.Calls = map[int]int64{}
		}
		l.Calls[i] += n
		all.Latencies[provider] = l
		return nil
	})
	return err
}

func (s *Store) reasonTotals(ctx context.Context, all fleet.CallTotals, from, until time.Time) error {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, kind, sum(calls)::bigint
		FROM spending
		WHERE ($1::timestamptz IS NULL OR hour >= $1) AND ($2::timestamptz IS NULL OR hour < $2)
		GROUP BY provider, kind`, timeOrNull(from), timeOrNull(until))
	if err != nil {
		return err
	}
	var k fleet.ReasonKey
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&k.Provider, &k.Reason, &n}, func() error {
		all.Reasons[k] += n
		return nil
	})
	return err
}
