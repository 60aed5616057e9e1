package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/worker"
)

// outOfMoney is the time for which a provider that said that its account is out of money is
// taken at its word: see fleet.OutOfMoney.
const outOfMoney = 10 * time.Minute

// ProvidersDown implements worker.WatchStore.
func (s *Store) ProvidersDown(ctx context.Context, atLeast time.Duration) ([]worker.Down, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT name AS provider, CASE
			WHEN out_of_money_at > now() - make_interval(secs => $2) THEN 'its account is out of money'
			WHEN breaker = 'open' THEN 'its circuit breaker is open since ' || to_char(breaker_at AT TIME ZONE 'UTC', 'HH24:MI "UTC"')
				|| CASE WHEN breaker_reason = '' THEN '' ELSE ' (' || breaker_reason || ')' END
			ELSE 'it asked to be left alone until ' || to_char(blocked_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
			END AS why
		FROM providers
		WHERE status <> 'unavailable' AND breaker_override = ''
		AND (out_of_money_at > now() - make_interval(secs => $2)
			OR breaker = 'open' AND breaker_at <= now() - make_interval(secs => $1)
			OR blocked_until > now() + make_interval(secs => 5 * $1))
		ORDER BY name`, atLeast.Seconds(), outOfMoney.Seconds())
	if err != nil {
		return nil, fmt.Errorf("look for providers that are down: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[worker.Down])
	if err != nil {
		return nil, fmt.Errorf("look for providers that are down: %w", err)
	}
	return list, nil
}

// DeadLetters implements worker.WatchStore.
func (s *Store) DeadLetters(ctx context.Context) (map[string]int64, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, sum(jobs)::bigint
		FROM job_ends
		WHERE minute > now() - interval '1 hour' AND state IN ('failed', 'unknown', 'expired')
		GROUP BY provider`)
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	dead := map[string]int64{}
	var provider string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&provider, &n}, func() error {
		dead[provider] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	return dead, nil
}

// StuckQueues implements worker.WatchStore.
func (s *Store) StuckQueues(ctx context.Context, atLeast time.Duration) ([]worker.Stuck, error) {
	// Only of queues in which nothing moves are the jobs read.
	var p pgx.Batch
	var list []worker.Stuck
	p.Queue(`SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`)
	p.Queue(`
		WITH still AS MATERIALIZED (
			SELECT provider, lane
			FROM (
				(WITH RECURSIVE `+queuesSQL(isUndispatched)+` SELECT provider, lane FROM queue)
				UNION
				(WITH RECURSIVE `+queuesSQL(isDispatched)+` SELECT provider, lane FROM queue)
			) q
			WHERE (provider, lane) NOT IN (SELECT provider, lane FROM job_queue WHERE worker_id IS NOT NULL)
			AND NOT EXISTS (SELECT FROM providers p WHERE p.name = q.provider AND p.status = 'unavailable')
			AND NOT EXISTS (SELECT FROM job_ends e WHERE e.provider = q.provider AND e.lane = q.lane AND e.minute > now() - make_interval(secs => $1))
		)
		SELECT s.provider, s.lane, w.jobs, w.since
		FROM still s
		CROSS JOIN LATERAL (
			SELECT count(*) FILTER (WHERE due < now()) AS jobs, min(due) AS since
			FROM (
				SELECT greatest(run_at, not_before) AS due
				FROM job_queue
				WHERE provider = s.provider AND lane = s.lane AND worker_id IS NULL AND NOT paused
				AND NOT EXISTS (SELECT FROM batches b WHERE b.id = batch_id AND b.paused_at IS NOT NULL)
			) w
		) w
		WHERE w.since < now() - make_interval(secs => $1)
		ORDER BY s.provider, s.lane`, atLeast.Seconds()).Query(func(rows pgx.Rows) (err error) {
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (q worker.Stuck, err error) {
			err = row.Scan(&q.Provider, &q.Lane, &q.Jobs, &q.Since)
			return q, err
		})
		return err
	})
	if err := s.pool.SendBatch(ctx, &p).Close(); err != nil {
		return nil, fmt.Errorf("look for stuck queues: %w", err)
	}
	return list, nil
}
