package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/jobs"
)

// Bought returns up to limit requests that were answered at a price, with what that was: of a
// job, of a batch or of all steps of a pipeline; of the empty id, the last ones since a time.
// It fails with jobs.ErrNotFound.
func (s *Store) Bought(ctx context.Context, id string, since time.Time, limit int) ([]batches.Bought, error) {
	of, sql, from := any(firstUUID(since)), `
		SELECT c.provider, c.model, j.request, `+usageOf+`, c.cost_nano, 1
		FROM (
			SELECT *
			FROM calls
			WHERE id >= $1 AND state = 'succeeded' AND cost_nano > 0
			ORDER BY id DESC
			LIMIT $2
		) c
		CROSS JOIN LATERAL (SELECT job_id FROM call_jobs WHERE call_id = c.id ORDER BY job_id LIMIT 1) f
		JOIN jobs j ON j.id = f.job_id`, "the last answers"
	if id != "" {
		selected, _, err := s.selection(ctx, id)
		if errors.Is(err, jobs.ErrBatchRemoved) {
			return nil, nil // and so are its requests
		}
		if err != nil && !errors.Is(err, jobs.ErrBatchCancelled) {
			return nil, fmt.Errorf("read what was bought for %s: %w", id, err)
		}
		of, sql, from = selected.id, `
			SELECT c.provider, c.model, j.request, CASE WHEN f.share_nano IS NULL THEN `+usageOf+` ELSE coalesce(r.usage, '{}') END,
				coalesce(f.share_nano, c.cost_nano), (SELECT count(*) FROM call_jobs WHERE call_id = c.id)
			FROM (SELECT id, request FROM jobs WHERE `+selected.jobs+` LIMIT $2) j
			JOIN call_jobs f ON f.job_id = j.id
			JOIN calls c ON c.id = f.call_id
			LEFT JOIN results r ON r.job_id = j.id AND r.call_id = c.id
			WHERE c.state = 'succeeded' AND c.cost_nano > 0`, id
	}
	rows, err := s.pool.Query(ctx, sql, of, limit)
	if err != nil {
		return nil, fmt.Errorf("read what was bought for %s: %w", from, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b batches.Bought, err error) {
		return b, row.Scan(&b.Provider, &b.Model, &b.Request, &b.Usage, (*int64)(&b.Cost), &b.Shared)
	})
	if err != nil {
		return nil, fmt.Errorf("read what was bought for %s: %w", from, err)
	}
	return list, nil
}

// firstUUID is the lowest id (UUID version 7) that is made at a time.
func firstUUID(at time.Time) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], uint64(max(at.UnixMilli(), 0))<<16)
	return id
}
