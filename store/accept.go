package store

import (
	"context"
	"encoding/json"
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
func (s *Store) AcceptJobs(ctx context.Context, batchID string, rows []jobs.New) (jobs.Accepted, error) {
	acc, err := s.acceptJobs(ctx, batchID, rows, false)
	if errors.Is(err, errSealed) {
		acc, err = s.acceptJobs(ctx, batchID, rows, true)
	}
	if err != nil {
		return jobs.Accepted{}, fmt.Errorf("accept jobs: %w", err)
	}
	return acc, nil
}

// errSealed asks for the lock that lets a batch be opened again.
var errSealed = errors.New("the batch is sealed")

func (s *Store) acceptJobs(ctx context.Context, batchID string, rows []jobs.New, alone bool) (acc jobs.Accepted, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		acc = jobs.Accepted{}
		sealed := false
		if batchID != "" {
			var err error
			if sealed, err = lockBatch(ctx, tx, batchID, alone); err != nil {
				return err
			}
		}
		if err := stage(ctx, tx, rows); err != nil {
			return err
		}
		inserted, err := insertStaged(ctx, tx, batchID)
		if err != nil {
			return err
		}
		if sealed && len(inserted) > 0 {
			if _, err := tx.Exec(ctx, `UPDATE batches SET sealed_at = NULL WHERE id = $1`, batchID); err != nil {
				return err
			}
		}
		if len(inserted) < len(rows) {
			if err := committedBefore(ctx, tx, inserted); err != nil {
				return err
			}
		}
		acc.Deliveries = make([]jobs.Delivery, 0, len(inserted))
		for _, r := range rows {
			if at, ok := inserted[r.ID]; ok {
				acc.Deliveries = append(acc.Deliveries, jobs.Delivery{
					ID: r.ID, Gen: 1, Provider: r.Provider, Lane: orDefault(r.Lane, jobs.Default),
					Task: r.Request.Task, Model: r.Request.Model, BatchID: batchID, At: at,
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

// lockBatch locks a batch that takes rows until the end of tx: alone, or shared
// with other producers, which fails with errSealed if the batch is sealed.
func lockBatch(ctx context.Context, tx pgx.Tx, id string, alone bool) (sealed bool, err error) {
	lock := `FOR SHARE`
	if alone {
		lock = `FOR NO KEY UPDATE`
	}
	var cancelled bool
	err = tx.QueryRow(ctx, `SELECT cancelled_at IS NOT NULL, sealed_at IS NOT NULL FROM batches WHERE id = $1 `+lock, id).Scan(&cancelled, &sealed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, fmt.Errorf("batch %s: %w", id, jobs.ErrNotFound)
	case err != nil:
		return false, err
	case cancelled:
		return false, fmt.Errorf("batch %s: %w", id, jobs.ErrBatchCancelled)
	case sealed && !alone:
		return false, errSealed
	}
	return sealed, nil
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
			request, err := json.Marshal(r.Request)
			if err != nil {
				return nil, fmt.Errorf("row %d: %w", r.Seq, err)
			}
			return []any{
				r.ID, r.Seq, r.Key, r.ContentSHA256[:], orNull(r.CustomID), orDefault(r.Account, jobs.DefaultAccount), string(r.Request.Task),
				r.Provider, r.Request.Model, string(orDefault(r.Lane, jobs.Default)), request,
				orDefault(r.MaxAttempts, jobs.DefaultMaxAttempts), string(orDefault(r.OnUnknown, jobs.RetryUnknown)),
				r.Chain, string(orDefault(r.Fallback, providers.FallbackAuto)), timeOrNull(r.RunAt),
			}, nil
		}))
	return err
}

// insertStaged inserts what is new and returns its ids with their run times.
func insertStaged(ctx context.Context, tx pgx.Tx, batchID string) (map[uuid.UUID]time.Time, error) {
	rows, err := tx.Query(ctx, `
		INSERT INTO jobs (id, batch_id, seq, key, content_sha256, custom_id, account, task, provider, model, lane,
			request, max_attempts, on_unknown, chain, fallback, state, run_at, deadline, dispatch_marked_at)
		SELECT id, $1, seq, key, content_sha256, custom_id, account, task, provider, model, lane,
			request, max_attempts, on_unknown, chain, fallback,
			CASE WHEN run_at > now() THEN 'scheduled' ELSE 'queued' END,
			greatest(run_at, now()),
			greatest(run_at, now()) + make_interval(secs => $2),
			now()
		FROM staged
		ORDER BY seq
		ON CONFLICT DO NOTHING
		RETURNING id, run_at`, orNull(batchID), jobs.DefaultDeadline.Seconds())
	if err != nil {
		return nil, err
	}
	inserted := map[uuid.UUID]time.Time{}
	var id uuid.UUID
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		inserted[id] = at
		return nil
	})
	return inserted, err
}

// committedBefore adds the rows that an earlier try of the same call committed
// without hearing of it: they have our ids.
func committedBefore(ctx context.Context, tx pgx.Tx, inserted map[uuid.UUID]time.Time) error {
	rows, err := tx.Query(ctx, `SELECT j.id, j.run_at FROM staged s JOIN jobs j USING (id)`)
	if err != nil {
		return err
	}
	var id uuid.UUID
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		inserted[id] = at
		return nil
	})
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
