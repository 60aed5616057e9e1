package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// SealBatch implements jobs.AcceptStore.
func (s *Store) SealBatch(ctx context.Context, id string) error {
	return again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `UPDATE batches SET sealed_at = coalesce(sealed_at, now()) WHERE id = $1`, id)
		return err
	})
}

// AcceptJobs implements jobs.AcceptStore: COPY, straight into jobs where all rows are
// new, else through a staging table, from which only what is new is inserted. The batch's
// row is locked against a cancellation in between, so that a row is either refused or
// seen by the cancellation.
//
// Producers share that lock while the batch is open. The first row that comes into
// a sealed batch opens it again, which takes the lock for oneself; two that share
// it and both wanted it so would wait for each other. So whoever finds the batch
// sealed begins anew, with the stronger lock.
func (s *Store) AcceptJobs(ctx context.Context, batchID string, rows []jobs.New, dispatch bool) (jobs.Accepted, error) {
	acc, err := s.acceptJobs(ctx, batchID, rows, dispatch, false)
	if errors.Is(err, errSealed) {
		acc, err = s.acceptJobs(ctx, batchID, rows, dispatch, true)
	}
	if err != nil {
		return jobs.Accepted{}, fmt.Errorf("accept jobs: %w", err)
	}
	return acc, nil
}

// errSealed asks for the lock that lets a batch be opened again.
var errSealed = errors.New("the batch is sealed")

func (s *Store) acceptJobs(ctx context.Context, batchID string, rows []jobs.New, dispatch, alone bool) (acc jobs.Accepted, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		acc = jobs.Accepted{}
		var batch openState
		if batchID != "" {
			var err error
			if batch, err = lockBatch(ctx, tx, batchID, alone); err != nil {
				return err
			}
		}
		ours, err := insertNew(ctx, tx, batchID, rows)
		if err != nil {
			return err
		}
		acc.New = len(ours)
		if batch.sealed && len(ours) > 0 {
			if err := reopen(ctx, tx, batchID); err != nil {
				return err
			}
		}
		queued := map[uuid.UUID]inserted{}
		if len(ours) < len(rows) {
			before, err := committedBefore(ctx, tx, ours, queued)
			if err != nil {
				return err
			}
			acc.New += before
			if missing := len(rows) - acc.New; missing > 0 {
				if acc.Conflicts, err = conflicts(ctx, tx, batchID); err != nil {
					return err
				}
				acc.Duplicates = missing - len(acc.Conflicts)
			}
			if _, err := tx.Exec(ctx, `DELETE FROM staged s WHERE NOT EXISTS (SELECT FROM unnest($1::uuid[]) id WHERE id = s.id)`, ours); err != nil {
				return err
			}
		}
		if err := enqueueStaged(ctx, tx, batchID, dispatch && !batch.paused, estimateOf(rows, ours), queued); err != nil {
			return err
		}
		for _, r := range rows {
			if in, ok := queued[r.ID]; ok && in.dispatched {
				acc.Deliveries = append(acc.Deliveries, jobs.Delivery{
					ID: r.ID, Gen: 1, Provider: r.Provider, Lane: orDefault(r.Lane, jobs.Default), Account: orDefault(r.Account, jobs.DefaultAccount),
					Task: r.Request.Task, Model: r.Request.Model, BatchID: batchID, QueueModel: in.model, StartTag: in.startTag, At: in.at, DeliveryID: in.deliveryID,
					Pack: r.Request.PackSize(),
				})
			}
		}
		return nil
	})
	return acc, err
}

// reopen lets rows into a sealed batch, whose end will be told of anew.
func reopen(ctx context.Context, tx pgx.Tx, id string) error {
	if _, err := tx.Exec(ctx, `UPDATE batches SET sealed_at = NULL WHERE id = $1`, id); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE batch_ends SET ended_at = NULL WHERE batch_id = $1`, id)
	return err
}

// openState holds the flags of a batch that takes rows.
type openState struct{ sealed, paused bool }

// lockBatch locks a batch that takes rows until the end of tx: alone, or shared
// with other producers, which fails with errSealed if the batch is sealed.
func lockBatch(ctx context.Context, tx pgx.Tx, id string, alone bool) (b openState, err error) {
	lock := `FOR SHARE`
	if alone {
		lock = `FOR NO KEY UPDATE`
	}
	var cancelled, removed bool
	err = tx.QueryRow(ctx, `
		SELECT cancelled_at IS NOT NULL, removed_at IS NOT NULL, sealed_at IS NOT NULL, paused_at IS NOT NULL
		FROM batches
		WHERE id = $1 `+lock, id).Scan(&cancelled, &removed, &b.sealed, &b.paused)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return b, fmt.Errorf("batch %s: %w", id, jobs.ErrNotFound)
	case err != nil:
		return b, err
	case removed:
		return b, fmt.Errorf("batch %s: %w", id, jobs.ErrBatchRemoved)
	case cancelled:
		return b, fmt.Errorf("batch %s: %w", id, jobs.ErrBatchCancelled)
	case b.sealed && !alone:
		return b, errSealed
	}
	return b, nil
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

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
