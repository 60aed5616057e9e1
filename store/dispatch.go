package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// queuesSQL is a recursive relation "queue" of the queues that have rows of job_queue for which a
// condition holds: it skips from one to the next through the condition's index.
func queuesSQL(condition string) string {
	return `queue AS (
			(
				SELECT provider, lane, model
				FROM job_queue
				WHERE ` + condition + `
				ORDER BY provider, lane, model
				LIMIT 1
			)
			UNION ALL
			SELECT n.provider, n.lane, n.model
			FROM queue q
			CROSS JOIN LATERAL (
				SELECT provider, lane, model
				FROM job_queue
				WHERE ` + condition + `
				AND (provider, lane, model) > (q.provider, q.lane, q.model)
				ORDER BY provider, lane, model
				LIMIT 1
			) n
		)`
}

// Backlogs implements worker.DeliveryStore.
func (s *Store) Backlogs(ctx context.Context) ([]jobs.Queue, error) {
	rows, err := s.pool.Query(ctx, `
		WITH RECURSIVE `+queuesSQL(isUndispatched)+`
		SELECT provider, lane, model
		FROM queue
		ORDER BY array_position($1::text[], lane), provider, model`, jobs.Lanes())
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
	var window, inside, due int
	err = s.pool.QueryRow(ctx, roomSQL(), q.Provider, q.Lane, q.Model, maxInside).Scan(&window, &inside, &due)
	if err != nil {
		return nil, false, fmt.Errorf("top up the queue %s: %w", q, err)
	}
	if inside >= maxInside*window || due*5 >= window*4 {
		return nil, true, nil
	}
	// By the index that has the order, however the table looked when it was analysed: to
	// sort, all that wait would have to be read.
	var p pgx.Batch
	p.Queue(`SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`)
	p.Queue(topUpSQL(), q.Provider, q.Lane, q.Model, min(window-due, limit), newChunks(), jobs.MaxChunk).Query(func(rows pgx.Rows) error {
		marked, err = pgx.CollectRows(rows, pgx.RowToStructByName[jobs.Delivery])
		return err
	})
	if err := s.pool.SendBatch(ctx, &p).Close(); err != nil {
		return nil, false, fmt.Errorf("top up the queue %s: %w", q, err)
	}
	return marked, false, nil
}

// newChunks returns the beginning of the delivery ids of one statement.
func newChunks() string {
	id := jobs.NewID()
	return "c" + hex.EncodeToString(id[8:])
}

// ahead is the time by which a job is dispatched early, so that it is in a worker's hand
// by then: the claim waits for the rest.
const ahead = `interval '150 milliseconds'`

// nearlyDue is the time before its own by which a new job is dispatched with its acceptance,
// as the leader, which looks each 250 ms, might see it too late. A handler waits for the rest.
const nearlyDue = `interval '400 milliseconds'`

// noneDue is the time that Due returns where no job is to run later.
const noneDue = time.Hour

// Due implements worker.DeliveryStore.
func (s *Store) Due(ctx context.Context, since time.Time) (wait time.Duration, now time.Time, err error) {
	var seconds *float64
	err = s.pool.QueryRow(ctx, `
		SELECT (
			SELECT extract(epoch FROM due_at - now() - `+ahead+`)::float8
			FROM job_queue
			WHERE due_at > $1::timestamptz - interval '1 second' AND `+isUndispatched+`
			ORDER BY due_at
			LIMIT 1), now()`, since).Scan(&seconds, &now)
	switch {
	case err != nil:
		return 0, since, fmt.Errorf("look for jobs that have become due: %w", err)
	case seconds == nil:
		return noneDue, now, nil
	}
	return time.Duration(min(max(*seconds, 0), noneDue.Seconds()) * float64(time.Second)), now, nil
}

// maxInside is the number of windows of jobs that a queue may hold in Redis in all, those
// included that wait for a later retry.
const maxInside = 5

// maxPackedWindow is the most that a window becomes of jobs that share calls: it counts
// calls then, as what is asked for next does.
const maxPackedWindow = 10_000

// roomSQL reads the window of a queue, and how many jobs are inside: in all, up to
// maxInside windows, and those of them that are due within a minute. What waits for
// a later retry does not keep others from being dispatched. It reads no further than
// that, in the order of the index, which keeps it from reading the table.
func roomSQL() string {
	queue := queueSQL{"$1", "$2", "$3"}
	return `
	SELECT p.size, count(d.job_id), count(d.job_id) FILTER (WHERE d.not_before IS NULL OR d.not_before < now() + interval '1 minute')
	FROM (
		SELECT ` + windowSQL(queue, "coalesce(n.pack, 1)") + ` AS size
		FROM (VALUES (1)) one
		LEFT JOIN (
			SELECT pack
			FROM job_queue
			WHERE ` + queue.is() + ` AND ` + isUndispatched + `
			ORDER BY provider, lane, model, account, batch_id, run_at, seq
			LIMIT 1
		) n ON true
	) p
	LEFT JOIN LATERAL (
		SELECT job_id, not_before
		FROM job_queue
		WHERE ` + queue.is() + ` AND ` + isDispatched + `
		ORDER BY provider, lane, model, account, start_tag, job_id
		LIMIT p.size * $4
	) d ON true
	GROUP BY p.size`
}

// topUpSQL marks the next $4 jobs of the queue of provider $1, lane $2 and model $3, in its
// fair order. Within an account, batches take turns one by one, beginning with a
// random one.
//
// The accounts and batches that have something to do are found by skipping
// through the index, and of each no more is read than can be needed, or its share
// of 20,000 rows. Of those whose budget has just refused a call none is taken, and as
// long as it stays used up, one at a time, which may need less. What is to run later
// stays here until then: see Due. What is tried again within half a minute goes to
// Redis with its time. Rows are locked by their ids alone, and looked at then: a condition
// beside the id would let a plan that takes the table for empty read one of the partial
// indexes from end to end, for each. Those of the bulk lane that are due go in chunks, in this order,
// of as many as the provider's workers say; $5 begins the ids of these. Those that may
// share calls go in chunks of their own, of so many calls, but at most $6 jobs; since one
// that comes back alone shares none, they wait here until they are due again.
func topUpSQL() string {
	queue := queueSQL{"$1", "$2", "$3"}
	return `
	WITH RECURSIVE ` + insideSQL(queue) + `, clock AS MATERIALIZED (
		SELECT ` + virtualTime(queue) + ` AS now
	), flow AS (
		(
			SELECT account, batch_id
			FROM job_queue
			WHERE ` + queue.is() + ` AND ` + isUndispatched + `
			ORDER BY account, batch_id
			LIMIT 1
		)
		UNION ALL
		SELECT n.account, n.batch_id
		FROM flow f
		CROSS JOIN LATERAL (
			SELECT account, batch_id
			FROM job_queue
			WHERE ` + queue.is() + ` AND ` + isUndispatched + `
			AND (account, batch_id) > (f.account, f.batch_id)
			ORDER BY account, batch_id
			LIMIT 1
		) n
	), open AS MATERIALIZED (
		SELECT f.account, f.batch_id, m.stopped
		FROM flow f
		LEFT JOIN batches b ON b.id = f.batch_id
		CROSS JOIN LATERAL (
			SELECT count(*) > 0 AS stopped, coalesce(bool_or(refused_at > now() - interval '10 seconds'), false) AS just_now
			FROM budgets x
			WHERE x.blocks AND x.stopped_until > now()
			AND x.model = '' AND x.tag = '' AND x.provider IN ('', $1) AND x.account IN ('', f.account) AND x.batch_id IN ('', f.batch_id)
			AND x.simulated = coalesce((SELECT simulated FROM providers WHERE name = $1), false)
		) m
		WHERE b.paused_at IS NULL AND b.cancelled_at IS NULL AND NOT m.just_now
	), account AS MATERIALIZED (
		SELECT a.account, ` + nextStartTag("(SELECT now FROM clock)", queue, "a.account") + ` AS start_tag
		FROM (SELECT DISTINCT account FROM open) a
	), waiting AS (
		SELECT o.account, o.batch_id, w.job_id, w.place
		FROM open o
		CROSS JOIN LATERAL (
			SELECT x.job_id, row_number() OVER (ORDER BY x.run_at, x.seq, x.job_id) AS place
			FROM (
				SELECT job_id, run_at, seq
				FROM job_queue
				WHERE ` + queue.is() + ` AND account = o.account AND batch_id = o.batch_id AND ` + isUndispatched + `
				AND run_at <= now() + ` + ahead + `
				AND (not_before IS NULL OR not_before <= now() + CASE WHEN pack > 1 THEN interval '0' ELSE interval '30 seconds' END)
				ORDER BY run_at, seq
				LIMIT CASE WHEN o.stopped THEN 1 ELSE (SELECT greatest(1, least($4::bigint, 20000 / greatest(1, count(*)))) FROM open) END
			) x
		) w
	), ranked AS (
		SELECT w.job_id, w.account,
			a.start_tag + row_number() OVER (PARTITION BY w.account ORDER BY w.place,
				hashtextextended(w.batch_id, (extract(epoch FROM now()) * 1000000)::bigint)) - 1 AS start_tag
		FROM waiting w
		JOIN account a USING (account)
	), picked AS (
		SELECT job_id, account, start_tag
		FROM ranked
		ORDER BY start_tag, account
		LIMIT $4
	), free AS (
		SELECT q.job_id, p.start_tag, CASE WHEN q.due AND $2 = 'bulk' AND c.size * q.pack > 1 THEN
			$5 || '-' || q.pack || '-' || (row_number() OVER (PARTITION BY q.due, q.pack ORDER BY p.start_tag, p.account) - 1) / least($6, c.size * q.pack)
			END AS delivery_id
		FROM picked p
		CROSS JOIN (SELECT coalesce(
			(SELECT chunk_size FROM provider_models WHERE provider = $1 AND model = $3), (SELECT chunk_size FROM providers WHERE name = $1), 1) AS size) c
		CROSS JOIN LATERAL (
			SELECT job_id, pack, coalesce(not_before <= now(), true) AS due, dispatched_at, paused, worker_id
			FROM job_queue
			WHERE job_id = p.job_id
			OFFSET 0
			FOR NO KEY UPDATE SKIP LOCKED
		) q
		WHERE ` + isUndispatched + `
	), marked AS (
		UPDATE job_queue q
		SET dispatched_at = now(), start_tag = free.start_tag, delivery_id = free.delivery_id
		FROM free
		WHERE q.job_id = free.job_id
		RETURNING q.job_id, q.gen, q.provider, q.lane, q.model, q.account, q.batch_id, q.pack, q.start_tag, greatest(q.run_at, q.not_before) AS at,
			coalesce(q.delivery_id, '') AS delivery_id
	), remembered AS (
		INSERT INTO last_start_tags (provider, lane, model, account, start_tag)
		SELECT $1, $2, $3, account, max(start_tag)
		FROM (SELECT account, last AS start_tag FROM inside UNION ALL SELECT account, start_tag FROM marked) x
		GROUP BY account
		HAVING max(start_tag) >= (SELECT now FROM clock)
		ON CONFLICT (provider, lane, model, account) DO UPDATE SET start_tag = greatest(last_start_tags.start_tag, excluded.start_tag)
	), forgotten AS (
		DELETE FROM last_start_tags t
		WHERE t.provider = $1 AND t.lane = $2 AND t.model = $3 AND t.start_tag < (SELECT now FROM clock)
		AND NOT EXISTS (SELECT FROM inside i WHERE i.account = t.account)
		AND NOT EXISTS (SELECT FROM picked JOIN ranked USING (job_id) WHERE ranked.account = t.account)
	)
	SELECT m.job_id AS id, m.gen, m.provider, m.lane, m.model AS queue_model, m.account, j.task, j.model, m.batch_id, m.start_tag, m.at, m.delivery_id, m.pack
	FROM marked m
	CROSS JOIN LATERAL (SELECT task, model FROM jobs WHERE id = m.job_id OFFSET 0) j`
}

// Undispatch implements jobs.DispatchStore. A row that somebody else holds is left
// alone: it is being claimed, or the audit finds it.
func (s *Store) Undispatch(ctx context.Context, failed []jobs.Delivery) error {
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			UPDATE job_queue q
			SET dispatched_at = NULL, delivery_id = NULL
			FROM unnest($1::uuid[], $2::int[]) AS w (id, gen)
			CROSS JOIN LATERAL (
				SELECT job_id, gen, dispatched_at, worker_id
				FROM job_queue
				WHERE job_id = w.id
				OFFSET 0
				FOR NO KEY UPDATE SKIP LOCKED
			) free
			WHERE q.job_id = free.job_id AND free.gen = w.gen AND free.dispatched_at IS NOT NULL AND free.worker_id IS NULL`,
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
