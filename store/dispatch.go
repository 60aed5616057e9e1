package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// Backlogs implements worker.DeliveryStore.
func (s *Store) Backlogs(ctx context.Context) ([]jobs.Queue, error) {
	rows, err := s.pool.Query(ctx, `
		WITH RECURSIVE queue AS (
			(
				SELECT provider, lane
				FROM jobs
				WHERE dispatched_at IS NULL AND paused_at IS NULL AND state IN ('scheduled', 'queued', 'retrying')
				ORDER BY provider, lane
				LIMIT 1
			)
			UNION ALL
			SELECT n.provider, n.lane
			FROM queue q
			CROSS JOIN LATERAL (
				SELECT provider, lane
				FROM jobs
				WHERE dispatched_at IS NULL AND paused_at IS NULL AND state IN ('scheduled', 'queued', 'retrying')
				AND (provider, lane) > (q.provider, q.lane)
				ORDER BY provider, lane
				LIMIT 1
			) n
		)
		SELECT provider, lane
		FROM queue
		ORDER BY array_position($1::text[], lane), provider`, jobs.Lanes())
	if err != nil {
		return nil, fmt.Errorf("look for undispatched jobs: %w", err)
	}
	queues, err := pgx.CollectRows(rows, pgx.RowToStructByName[jobs.Queue])
	if err != nil {
		return nil, fmt.Errorf("look for undispatched jobs: %w", err)
	}
	return queues, nil
}

// TopUp implements worker.DeliveryStore.
func (s *Store) TopUp(ctx context.Context, q jobs.Queue, limit int) (marked []jobs.Delivery, full bool, err error) {
	// What waits for a later retry does not keep others from being dispatched.
	var room int
	err = s.pool.QueryRow(ctx, `
		SELECT coalesce((SELECT dispatch_window FROM providers WHERE name = $1), $3) - (
			SELECT count(*)
			FROM jobs
			WHERE provider = $1 AND lane = $2
			AND dispatched_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying')
			AND (not_before IS NULL OR not_before < now() + interval '1 minute'))`,
		q.Provider, q.Lane, jobs.Window(1)).Scan(&room)
	if err != nil {
		return nil, false, fmt.Errorf("top up the queue %s: %w", jobs.QueueName(q.Provider, q.Lane), err)
	}
	if room <= 0 {
		return nil, true, nil
	}
	rows, err := s.pool.Query(ctx, topUpSQL, q.Provider, q.Lane, min(room, limit))
	if err != nil {
		return nil, false, fmt.Errorf("top up the queue %s: %w", jobs.QueueName(q.Provider, q.Lane), err)
	}
	marked, err = pgx.CollectRows(rows, pgx.RowToStructByName[jobs.Delivery])
	if err != nil {
		return nil, false, fmt.Errorf("top up the queue %s: %w", jobs.QueueName(q.Provider, q.Lane), err)
	}
	return marked, false, nil
}

// topUpSQL marks the next $3 jobs of the queue of provider $1 and lane $2.
//
// The order is start-time fair queueing (Goyal, Vin, Cheng 1996) with equal
// weights: each account's jobs are numbered by turn, and the lowest turns go
// first. An account that had nothing here begins at the turn that is being served
// now, the lowest that is still waiting, so that it neither has to wait for what
// others have put in before it came, nor saves up turns while it brings nothing.
// The last turn of each account is kept in turns until the queue is past it: an
// account that others have just caught up with may have nothing inside. Within an
// account, batches take turns one by one, beginning with a random one.
//
// The accounts and batches that have something to do are found by skipping
// through the index, and of each no more is read than can be needed, or its share
// of 20,000 rows. What is due within half a minute goes to Redis with its time.
const topUpSQL = `
	WITH RECURSIVE inside AS MATERIALIZED (
		SELECT account, turn
		FROM jobs
		WHERE provider = $1 AND lane = $2
		AND dispatched_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying')
	), known AS MATERIALIZED (
		SELECT account, last
		FROM turns
		WHERE provider = $1 AND lane = $2
	), clock AS MATERIALIZED (
		SELECT coalesce((SELECT min(turn) FROM inside), (SELECT max(last) + 1 FROM known), 0) AS turn
	), past AS (
		SELECT account, max(last) AS last
		FROM (SELECT account, last FROM known UNION ALL SELECT account, turn FROM inside) x
		GROUP BY account
	), flow AS (
		(
			SELECT account, coalesce(batch_id, '') AS batch
			FROM jobs
			WHERE provider = $1 AND lane = $2
			AND dispatched_at IS NULL AND paused_at IS NULL AND state IN ('scheduled', 'queued', 'retrying')
			ORDER BY account, coalesce(batch_id, '')
			LIMIT 1
		)
		UNION ALL
		SELECT n.account, n.batch
		FROM flow f
		CROSS JOIN LATERAL (
			SELECT account, coalesce(batch_id, '') AS batch
			FROM jobs
			WHERE provider = $1 AND lane = $2
			AND dispatched_at IS NULL AND paused_at IS NULL AND state IN ('scheduled', 'queued', 'retrying')
			AND (account, coalesce(batch_id, '')) > (f.account, f.batch)
			ORDER BY account, coalesce(batch_id, '')
			LIMIT 1
		) n
	), open AS MATERIALIZED (
		SELECT f.account, f.batch
		FROM flow f
		LEFT JOIN batches b ON b.id = f.batch
		WHERE b.paused_at IS NULL AND b.cancelled_at IS NULL
	), waiting AS (
		SELECT o.account, o.batch, w.id, w.place
		FROM open o
		CROSS JOIN LATERAL (
			SELECT x.id, row_number() OVER (ORDER BY x.run_at, x.seq, x.id) AS place
			FROM (
				SELECT id, run_at, seq
				FROM jobs
				WHERE provider = $1 AND lane = $2 AND account = o.account AND coalesce(batch_id, '') = o.batch
				AND dispatched_at IS NULL AND paused_at IS NULL AND state IN ('scheduled', 'queued', 'retrying')
				AND run_at <= now() + interval '30 seconds'
				AND (not_before IS NULL OR not_before <= now() + interval '30 seconds')
				ORDER BY run_at, seq
				LIMIT (SELECT greatest(1, least($3::bigint, 20000 / greatest(1, count(*)))) FROM open)
			) x
		) w
	), ranked AS (
		SELECT w.id, w.account,
			greatest((SELECT turn FROM clock), p.last + 1)
				+ row_number() OVER (PARTITION BY w.account ORDER BY w.place,
					hashtextextended(w.batch, (extract(epoch FROM now()) * 1000000)::bigint)) - 1 AS turn
		FROM waiting w
		LEFT JOIN past p USING (account)
	), picked AS (
		SELECT id, turn
		FROM ranked
		ORDER BY turn, account
		LIMIT $3
	), free AS (
		SELECT j.id, p.turn
		FROM picked p
		JOIN jobs j ON j.id = p.id
		WHERE j.dispatched_at IS NULL AND j.state IN ('scheduled', 'queued', 'retrying')
		FOR NO KEY UPDATE OF j SKIP LOCKED
	), marked AS (
		UPDATE jobs j
		SET dispatched_at = now(), turn = free.turn
		FROM free
		WHERE j.id = free.id
		RETURNING j.id, j.gen, j.provider, j.lane, j.account, j.task, j.model,
			coalesce(j.batch_id, '') AS batch_id, j.turn, greatest(j.run_at, j.not_before) AS at
	), remembered AS (
		INSERT INTO turns (provider, lane, account, last)
		SELECT $1, $2, account, max(last)
		FROM (SELECT account, last FROM past UNION ALL SELECT account, turn FROM marked) x
		GROUP BY account
		HAVING max(last) >= (SELECT turn FROM clock)
		ON CONFLICT (provider, lane, account) DO UPDATE SET last = greatest(turns.last, excluded.last)
	), forgotten AS (
		DELETE FROM turns t
		WHERE t.provider = $1 AND t.lane = $2 AND t.last < (SELECT turn FROM clock)
		AND NOT EXISTS (SELECT FROM inside i WHERE i.account = t.account)
		AND NOT EXISTS (SELECT FROM free JOIN jobs j USING (id) WHERE j.account = t.account)
	)
	SELECT * FROM marked`

// Undispatch implements jobs.DispatchStore. A row that somebody else holds is left
// alone: it is being claimed, or the audit finds it.
func (s *Store) Undispatch(ctx context.Context, failed []jobs.Delivery) error {
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			UPDATE jobs j
			SET dispatched_at = NULL
			FROM (
				SELECT j.id
				FROM jobs j
				JOIN unnest($1::uuid[], $2::int[]) AS w (id, gen) USING (id)
				WHERE j.gen = w.gen
				AND j.dispatched_at IS NOT NULL
				AND j.state IN ('scheduled', 'queued', 'retrying')
				FOR NO KEY UPDATE OF j SKIP LOCKED
			) free
			WHERE j.id = free.id`,
			ids(failed, func(d jobs.Delivery) uuid.UUID { return d.ID }), gens(failed))
		return err
	})
	if err != nil {
		return fmt.Errorf("take back the marks of jobs that were not pushed: %w", err)
	}
	return nil
}

func gens(list []jobs.Delivery) []int {
	out := make([]int, len(list))
	for i, d := range list {
		out[i] = d.Gen
	}
	return out
}
