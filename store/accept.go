package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"oneflow/jobs"
	"oneflow/providers"
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

// insertNew inserts what is new, and returns its ids. What enqueueStaged needs of the
// rows is in the table staged then.
func insertNew(ctx context.Context, tx pgx.Tx, batchID string, rows []jobs.New) ([]uuid.UUID, error) {
	// What is to run later is compared with Postgres' clock, which COPY cannot do.
	later := slices.ContainsFunc(rows, func(r jobs.New) bool { return !r.RunAt.IsZero() })
	if !later {
		switch err := copyStraight(ctx, tx, batchID, rows); {
		case err == nil:
			return ids(rows, func(r jobs.New) uuid.UUID { return r.ID }), stage(ctx, tx, rows, false)
		case !taken(err):
			return nil, err
		}
	}
	if err := stage(ctx, tx, rows, true); err != nil {
		return nil, err
	}
	return insertStaged(ctx, tx, batchID)
}

// taken reports whether a row was refused because its key is there already.
func taken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505"
}

// copyStraight copies rows into jobs: all, or none if one is there already.
func copyStraight(ctx context.Context, tx pgx.Tx, batchID string, rows []jobs.New) error {
	return pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
		return copyRows(ctx, inner, "jobs", append(jobColumns(), "batch_id"), rows, func(r jobs.New) []any {
			return append(jobValues(r), orNull(batchID))
		})
	})
}

// copyRows copies rows into a table.
func copyRows(ctx context.Context, tx pgx.Tx, table string, columns []string, rows []jobs.New, values func(jobs.New) []any) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		if len(rows[i].Encoded) == 0 {
			return nil, fmt.Errorf("row %d: its request is not encoded: it has not been given a key", rows[i].Seq)
		}
		return values(rows[i]), nil
	}))
	return err
}

// jobColumns are the columns of jobs that a row brings, but for the time at which it may
// run, and jobValues what they get.
func jobColumns() []string {
	return []string{
		"id", "seq", "account", "provider", "lane", "model", "pack", "key", "content_sha256", "custom_id", "task", "request", "own",
		"max_attempts", "on_unknown", "chain", "fallback", "least_nano",
	}
}

func jobValues(r jobs.New) []any {
	return []any{
		r.ID, r.Seq, orDefault(r.Account, jobs.DefaultAccount), r.Provider, string(orDefault(r.Lane, jobs.Default)), r.Request.Model, r.Request.PackSize(),
		r.Key, r.ContentSHA256[:], orNull(r.CustomID), string(r.Request.Task), r.Encoded, r.Own,
		orDefault(r.MaxAttempts, jobs.DefaultMaxAttempts), string(orDefault(r.OnUnknown, jobs.RetryUnknown)),
		r.Chain, string(orDefault(r.Fallback, providers.FallbackAuto)), max(int64(r.Least), 0),
	}
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
