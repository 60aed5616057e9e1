package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
	"oneflow/providers"
)

// OpenBatch implements jobs.AcceptStore. A sealed batch stays sealed until a row
// comes in: a producer that brings nothing new, or dies before, has not opened it.
func (s *Store) OpenBatch(ctx context.Context, b jobs.Batch) error {
	return s.begin(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO batches (id, account, source)
			VALUES ($1, $2, $3)
			ON CONFLICT (id) DO NOTHING`, b.ID, b.Account, b.Source)
		if err != nil {
			return fmt.Errorf("open batch %s: %w", b.ID, err)
		}
		var cancelled bool
		if err := tx.QueryRow(ctx, `SELECT cancelled_at IS NOT NULL FROM batches WHERE id = $1`, b.ID).Scan(&cancelled); err != nil {
			return fmt.Errorf("open batch %s: %w", b.ID, err)
		}
		if cancelled {
			return fmt.Errorf("batch %s: %w", b.ID, jobs.ErrBatchCancelled)
		}
		return nil
	})
}

// SealBatch implements jobs.AcceptStore.
func (s *Store) SealBatch(ctx context.Context, id string) error {
	return again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `UPDATE batches SET sealed_at = coalesce(sealed_at, now()) WHERE id = $1`, id)
		return err
	})
}

// AcceptJobs implements jobs.AcceptStore: COPY into a staging table, then insert
// what is new. The batch's row is locked against a cancellation in between, so
// that a row is either refused or seen by the cancellation.
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
		if err := stage(ctx, tx, rows); err != nil {
			return err
		}
		inserted, err := insertStaged(ctx, tx, batchID, dispatch && !batch.paused)
		if err != nil {
			return err
		}
		if batch.sealed && len(inserted) > 0 {
			if _, err := tx.Exec(ctx, `UPDATE batches SET sealed_at = NULL WHERE id = $1`, batchID); err != nil {
				return err
			}
		}
		if len(inserted) < len(rows) {
			if err := committedBefore(ctx, tx, inserted); err != nil {
				return err
			}
		}
		acc.New = len(inserted)
		for _, r := range rows {
			if in, ok := inserted[r.ID]; ok && in.dispatched {
				acc.Deliveries = append(acc.Deliveries, jobs.Delivery{
					ID: r.ID, Gen: 1, Provider: r.Provider, Lane: orDefault(r.Lane, jobs.Default), Account: orDefault(r.Account, jobs.DefaultAccount),
					Task: r.Request.Task, Model: r.Request.Model, BatchID: batchID, Turn: in.turn, At: in.at,
				})
			}
		}
		if missing := len(rows) - len(inserted); missing > 0 {
			acc.Conflicts, err = conflicts(ctx, tx, batchID)
			acc.Duplicates = missing - len(acc.Conflicts)
		}
		return err
	})
	return acc, err
}

// openState is what matters of a batch that takes rows.
type openState struct{ sealed, paused bool }

// lockBatch locks a batch that takes rows until the end of tx: alone, or shared
// with other producers, which fails with errSealed if the batch is sealed.
func lockBatch(ctx context.Context, tx pgx.Tx, id string, alone bool) (b openState, err error) {
	lock := `FOR SHARE`
	if alone {
		lock = `FOR NO KEY UPDATE`
	}
	var cancelled bool
	err = tx.QueryRow(ctx, `
		SELECT cancelled_at IS NOT NULL, sealed_at IS NOT NULL, paused_at IS NOT NULL
		FROM batches
		WHERE id = $1 `+lock, id).Scan(&cancelled, &b.sealed, &b.paused)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return b, fmt.Errorf("batch %s: %w", id, jobs.ErrNotFound)
	case err != nil:
		return b, err
	case cancelled:
		return b, fmt.Errorf("batch %s: %w", id, jobs.ErrBatchCancelled)
	case b.sealed && !alone:
		return b, errSealed
	}
	return b, nil
}

func stage(ctx context.Context, tx pgx.Tx, rows []jobs.New) error {
	_, err := tx.Exec(ctx, `
		CREATE TEMP TABLE staged (
			id uuid, seq bigint, key text, content_sha256 bytea, custom_id text, account text, task text,
			provider text, model text, lane text, request json, max_attempts int, on_unknown text, chain text[], fallback text, run_at timestamptz
		) ON COMMIT DROP`)
	if err != nil {
		return err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"staged"},
		[]string{
			"id", "seq", "key", "content_sha256", "custom_id", "account", "task",
			"provider", "model", "lane", "request", "max_attempts", "on_unknown", "chain", "fallback", "run_at",
		},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			r := rows[i]
			if len(r.Encoded) == 0 {
				return nil, fmt.Errorf("row %d: its request is not encoded: it has not been given a key", r.Seq)
			}
			return []any{
				r.ID, r.Seq, r.Key, r.ContentSHA256[:], orNull(r.CustomID), orDefault(r.Account, jobs.DefaultAccount), string(r.Request.Task),
				r.Provider, r.Request.Model, string(orDefault(r.Lane, jobs.Default)), r.Encoded,
				orDefault(r.MaxAttempts, jobs.DefaultMaxAttempts), string(orDefault(r.OnUnknown, jobs.RetryUnknown)),
				r.Chain, string(orDefault(r.Fallback, providers.FallbackAuto)), timeOrNull(r.RunAt),
			}, nil
		}))
	return err
}

// inserted is what became of a new row.
type inserted struct {
	at         time.Time
	dispatched bool
	turn       int64
}

// insertStaged inserts what is new and returns its ids.
//
// Where dispatch holds, as many rows as the windows of their queues have room for
// are marked as dispatched at once, which saves writing each again; none of a
// queue in which others wait already. The rest, and what is not due, is left to
// TopUp, whose order of turns this keeps to. Whether others wait is asked as the
// first of them: an EXISTS may be planned as a hash of all jobs.
func insertStaged(ctx context.Context, tx pgx.Tx, batchID string, dispatch bool) (map[uuid.UUID]inserted, error) {
	rows, err := tx.Query(ctx, `
		WITH queue AS MATERIALIZED (
			SELECT q.provider, q.lane, inside.clock, CASE
				WHEN NOT $3 OR (
					SELECT true
					FROM jobs j
					WHERE j.provider = q.provider AND j.lane = q.lane
					AND j.dispatched_at IS NULL AND j.paused_at IS NULL AND j.state IN ('scheduled', 'queued', 'retrying')
					AND j.run_at <= now()
					ORDER BY j.provider, j.lane, j.account
					LIMIT 1) THEN 0
				ELSE coalesce(p.dispatch_window, $4) - inside.jobs
				END AS room
			FROM (SELECT DISTINCT provider, lane FROM staged) q
			LEFT JOIN providers p ON p.name = q.provider
			CROSS JOIN LATERAL (
				SELECT count(*) AS jobs, coalesce(min(j.turn),
					(SELECT max(last) + 1 FROM turns t WHERE t.provider = q.provider AND t.lane = q.lane), 0) AS clock
				FROM jobs j
				WHERE j.provider = q.provider AND j.lane = q.lane
				AND j.dispatched_at IS NOT NULL AND j.state IN ('scheduled', 'queued', 'retrying')
			) inside
		), account AS MATERIALIZED (
			SELECT a.*, q.room, greatest(q.clock, (
				SELECT t.last + 1
				FROM turns t
				WHERE t.provider = a.provider AND t.lane = a.lane AND t.account = a.account), (
				SELECT max(j.turn) + 1
				FROM jobs j
				WHERE j.provider = a.provider AND j.lane = a.lane AND j.account = a.account
				AND j.dispatched_at IS NOT NULL AND j.state IN ('scheduled', 'queued', 'retrying'))) AS turn
			FROM (SELECT DISTINCT provider, lane, account FROM staged) a
			JOIN queue q USING (provider, lane)
		), row AS (
			SELECT s.*, coalesce(s.run_at, now()) <= now() + interval '30 seconds'
					AND row_number() OVER (PARTITION BY s.provider, s.lane ORDER BY s.seq) <= a.room AS dispatch,
				a.turn + row_number() OVER (PARTITION BY s.provider, s.lane, s.account ORDER BY s.seq) - 1 AS turn
			FROM staged s
			JOIN account a USING (provider, lane, account)
		)
		INSERT INTO jobs (id, batch_id, seq, key, content_sha256, custom_id, account, task, provider, model, lane,
			request, max_attempts, on_unknown, chain, fallback, state, run_at, deadline, dispatched_at, turn)
		SELECT id, $1, seq, key, content_sha256, custom_id, account, task, provider, model, lane,
			request, max_attempts, on_unknown, chain, fallback,
			CASE WHEN run_at > now() THEN 'scheduled' ELSE 'queued' END,
			greatest(run_at, now()),
			greatest(run_at, now()) + make_interval(secs => $2),
			CASE WHEN dispatch THEN now() END,
			CASE WHEN dispatch THEN turn ELSE 0 END
		FROM row
		ORDER BY seq
		ON CONFLICT DO NOTHING
		RETURNING id, run_at, dispatched_at IS NOT NULL, turn`, orNull(batchID), jobs.DefaultDeadline.Seconds(), dispatch, jobs.Window(1))
	if err != nil {
		return nil, err
	}
	return collectInserted(rows, map[uuid.UUID]inserted{})
}

func collectInserted(rows pgx.Rows, all map[uuid.UUID]inserted) (map[uuid.UUID]inserted, error) {
	var id uuid.UUID
	var in inserted
	_, err := pgx.ForEachRow(rows, []any{&id, &in.at, &in.dispatched, &in.turn}, func() error {
		all[id] = in
		return nil
	})
	return all, err
}

// committedBefore adds the rows that an earlier try of the same call committed
// without hearing of it: they have our ids.
func committedBefore(ctx context.Context, tx pgx.Tx, all map[uuid.UUID]inserted) error {
	rows, err := tx.Query(ctx, `
		SELECT j.id, j.run_at, j.dispatched_at IS NOT NULL, j.turn
		FROM staged s
		JOIN jobs j USING (id)`)
	if err != nil {
		return err
	}
	_, err = collectInserted(rows, all)
	return err
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
