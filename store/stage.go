package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// stage copies rows into the temporary table staged: all of them, or what enqueueStaged
// needs. The connection keeps the table, as to make it writes a hundred rows of the catalog; should
// its columns change, it needs another name, since a pooler keeps connections for longer than
// programs live. Statements are planned each time: it may hold one row or thousands.
func stage(ctx context.Context, tx pgx.Tx, rows []jobs.New, whole bool) error {
	var p pgx.Batch
	p.Queue(`SELECT set_config('plan_cache_mode', 'force_custom_plan', true)`)
	p.Queue(`
		CREATE TEMP TABLE IF NOT EXISTS staged (
			id uuid, seq bigint, account text, provider text, lane text, pack smallint, key text, content_sha256 bytea, custom_id text, task text, model text,
			request json, own json, max_attempts int, on_unknown text, chain text[], fallback text, least_nano bigint,
			run_at timestamptz, deadline timestamptz, turn bigint
		) ON COMMIT DELETE ROWS`)
	if err := tx.SendBatch(ctx, &p).Close(); err != nil {
		return err
	}
	const narrow = 7 // the columns of jobs that a queue needs come first
	columns := jobColumns()
	if !whole {
		columns = columns[:narrow]
	}
	return copyRows(ctx, tx, "staged", append(columns, "run_at", "deadline", "turn"), rows, func(r jobs.New) []any {
		values := jobValues(r)
		if !whole {
			values = values[:narrow]
		}
		return append(values, timeOrNull(r.RunAt), timeOrNull(r.Deadline), orDefault(r.Turn, r.Seq))
	})
}

// insertStaged inserts what is new and returns its ids.
func insertStaged(ctx context.Context, tx pgx.Tx, batchID string) ([]uuid.UUID, error) {
	rows, err := tx.Query(ctx, `
		INSERT INTO jobs (id, batch_id, seq, key, content_sha256, custom_id, account, task, provider, model, lane, pack,
			request, own, max_attempts, on_unknown, chain, fallback, run_at, least_nano)
		SELECT id, $1, seq, key, content_sha256, custom_id, account, task, provider, model, lane, pack,
			request, own, max_attempts, on_unknown, chain, fallback, greatest(run_at, now()), least_nano
		FROM staged
		ORDER BY seq
		ON CONFLICT DO NOTHING
		RETURNING id`, orNull(batchID))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// inserted says when a new row is due and whether it was dispatched.
type inserted struct {
	at         time.Time
	dispatched bool
	startTag   int64
	deliveryID string
	model      string // of its queue
}

func collectInserted(rows pgx.Rows, queued map[uuid.UUID]inserted) error {
	var id uuid.UUID
	var in inserted
	_, err := pgx.ForEachRow(rows, []any{&id, &in.at, &in.dispatched, &in.startTag, &in.deliveryID, &in.model}, func() error {
		queued[id] = in
		return nil
	})
	return err
}

// enqueueStaged gives the staged rows, which are all new, their states and their
// places in the queue, and notes these in queued.
//
// Where dispatch holds, as many rows as the windows of their queues have room for
// are marked as dispatched at once, which saves writing each again; none of a
// queue in which others wait already. The rest, and what is not due, is left to
// TopUp, whose fair order this keeps to. Whether others wait is asked as the first
// of them: an EXISTS may be planned as a hash of all. Several of a bulk lane go in chunks,
// as TopUp has them.
func enqueueStaged(ctx context.Context, tx pgx.Tx, batchID string, dispatch bool, estimate jobs.Estimate, queued map[uuid.UUID]inserted) error {
	rows, err := tx.Query(ctx, `
		WITH new AS MATERIALIZED (
			SELECT s.id, s.turn, s.provider, s.lane, s.account, s.pack, s.run_at, s.deadline, CASE WHEN coalesce(p.by_model, true) THEN s.model ELSE '' END AS model
			FROM staged s
			LEFT JOIN providers p ON p.name = s.provider
		), queue AS MATERIALIZED (
			SELECT q.provider, q.lane, q.model, row_number() OVER () AS n, CASE WHEN q.lane = 'bulk' AND q.jobs > 1 THEN coalesce(m.chunk_size, p.chunk_size, 1) ELSE 0 END AS chunk,
				`+virtualTime(queueSQL{"q.provider", "q.lane", "q.model"})+` AS now, CASE
				WHEN NOT $3 OR (
					SELECT true
					FROM job_queue w
					WHERE w.provider = q.provider AND w.lane = q.lane AND w.model = q.model AND `+isUndispatched+` AND w.run_at <= now()
					ORDER BY w.provider, w.lane, w.model, w.account
					LIMIT 1) THEN 0
				ELSE coalesce(m.dispatch_window, p.dispatch_window, $4) - (
					SELECT count(*)
					FROM (
						SELECT
						FROM job_queue d
						WHERE d.provider = q.provider AND d.lane = q.lane AND d.model = q.model AND `+isDispatched+`
						ORDER BY d.provider, d.lane, d.model, d.account, d.start_tag
						LIMIT coalesce(m.dispatch_window, p.dispatch_window, $4)
					) d)
				END AS room
			FROM (SELECT provider, lane, model, count(*) AS jobs FROM new GROUP BY provider, lane, model) q
			LEFT JOIN providers p ON p.name = q.provider
			LEFT JOIN provider_models m ON m.provider = q.provider AND m.model = q.model
		), account AS MATERIALIZED (
			SELECT a.*, q.n, q.room, q.chunk, `+nextStartTag("q.now", queueSQL{"a.provider", "a.lane", "a.model"}, "a.account")+` AS start_tag
			FROM (SELECT DISTINCT provider, lane, model, account FROM new) a
			JOIN queue q USING (provider, lane, model)
		), row AS MATERIALIZED (
			SELECT s.id, s.turn AS seq, s.provider, s.lane, s.model, s.account, s.pack, greatest(s.run_at, now()) AS run_at,
				CASE WHEN s.run_at > now() THEN 'scheduled' ELSE 'queued' END AS state,
				CASE WHEN s.run_at > now() THEN s.run_at END AS due_at,
				coalesce(s.deadline, greatest(s.run_at, now()) + make_interval(secs => $2)) AS deadline,
				coalesce(s.run_at, now()) <= now() + `+nearlyDue+`
					AND row_number() OVER (PARTITION BY s.provider, s.lane, s.model ORDER BY s.turn) <= a.room AS dispatch,
				CASE WHEN a.chunk * s.pack > 1 THEN
					$5 || '-' || a.n || '-' || s.pack || '-'
						|| (row_number() OVER (PARTITION BY s.provider, s.lane, s.model, s.pack ORDER BY s.turn) - 1) / least($6, a.chunk * s.pack) END AS delivery_id,
				a.start_tag + row_number() OVER (PARTITION BY s.provider, s.lane, s.model, s.account ORDER BY s.turn) - 1 AS start_tag
			FROM new s
			JOIN account a USING (provider, lane, model, account)
			ORDER BY s.turn
		), state AS (
			INSERT INTO job_states (job_id, batch_id, state, deadline)
			SELECT id, $1, state, deadline FROM row
		), counted AS (
			INSERT INTO batch_counts AS c (batch_id, slot, scheduled, queued, first_job, last_job, estimated_jobs, low_nano, expected_nano, high_nano)
			SELECT $1, counter_slot(), count(*) FILTER (WHERE state = 'scheduled'), count(*) FILTER (WHERE state = 'queued'),
				min(id::text)::uuid, max(id::text)::uuid, $7, $8, $9, $10
			FROM row
			WHERE $1 IS NOT NULL
			HAVING count(*) > 0
			ON CONFLICT (batch_id, slot) DO UPDATE
			SET scheduled = c.scheduled + excluded.scheduled, queued = c.queued + excluded.queued,
				first_job = least(c.first_job, excluded.first_job), last_job = greatest(c.last_job, excluded.last_job),
				estimated_jobs = c.estimated_jobs + excluded.estimated_jobs, low_nano = c.low_nano + excluded.low_nano,
				expected_nano = c.expected_nano + excluded.expected_nano, high_nano = c.high_nano + excluded.high_nano
		)
		INSERT INTO job_queue (job_id, provider, lane, model, account, batch_id, seq, pack, run_at, gen, deadline, paused, due_at, dispatched_at, start_tag,
			delivery_id)
		SELECT id, provider, lane, model, account, coalesce($1, ''), seq, pack, run_at, 1, deadline, false, due_at,
			CASE WHEN dispatch THEN now() END, CASE WHEN dispatch THEN start_tag ELSE 0 END, CASE WHEN dispatch THEN delivery_id END
		FROM row
		RETURNING job_id, run_at, dispatched_at IS NOT NULL, start_tag, coalesce(delivery_id, ''), model`,
		orNull(batchID), jobs.DefaultDeadline.Seconds(), dispatch, jobs.Window(1), newChunks(), jobs.MaxChunk,
		estimate.Jobs, int64(estimate.Low), int64(estimate.Expected), int64(estimate.High))
	if err != nil {
		return err
	}
	return collectInserted(rows, queued)
}

// estimateOf sums up what those of the rows that are ours are expected to cost.
func estimateOf(rows []jobs.New, ours []uuid.UUID) (sum jobs.Estimate) {
	if len(ours) == len(rows) {
		for _, r := range rows {
			sum = sum.Plus(r.Estimate)
		}
		return sum
	}
	are := make(map[uuid.UUID]bool, len(ours))
	for _, id := range ours {
		are[id] = true
	}
	for _, r := range rows {
		if are[r.ID] {
			sum = sum.Plus(r.Estimate)
		}
	}
	return sum
}

// committedBefore returns how many rows an earlier try of the same call committed
// without hearing of it: they have our ids. It notes in queued how they wait.
func committedBefore(ctx context.Context, tx pgx.Tx, ours []uuid.UUID, queued map[uuid.UUID]inserted) (n int, err error) {
	err = tx.QueryRow(ctx, `
		SELECT count(*)
		FROM staged s
		CROSS JOIN LATERAL (SELECT FROM job_states WHERE job_id = s.id OFFSET 0) x
		WHERE NOT EXISTS (SELECT FROM unnest($1::uuid[]) id WHERE id = s.id)`, ours).Scan(&n)
	if err != nil || n == 0 {
		return n, err
	}
	rows, err := tx.Query(ctx, `
		SELECT s.id, q.run_at, q.dispatched_at IS NOT NULL, q.start_tag, coalesce(q.delivery_id, ''), q.model
		FROM staged s
		CROSS JOIN LATERAL (SELECT run_at, dispatched_at, start_tag, delivery_id, model FROM job_queue WHERE job_id = s.id OFFSET 0) q`)
	if err != nil {
		return n, err
	}
	return n, collectInserted(rows, queued)
}

// conflicts finds staged rows whose key the batch has with other content.
func conflicts(ctx context.Context, tx pgx.Tx, batchID string) ([]int64, error) {
	rows, err := tx.Query(ctx, `
		SELECT s.seq
		FROM staged s
		JOIN jobs j ON j.batch_id = $1 AND j.key = s.key
		WHERE j.content_sha256 <> s.content_sha256
		ORDER BY s.seq`, batchID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}
