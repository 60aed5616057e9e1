package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// MarkUndispatched implements jobs.DispatchStore.
func (s *Store) MarkUndispatched(ctx context.Context, limit int) ([]jobs.Delivery, error) {
	rows, err := s.pool.Query(ctx, `
		UPDATE jobs j
		SET dispatch_marked_at = now()
		FROM (
			SELECT id
			FROM jobs
			WHERE dispatched_at IS NULL
			AND state IN ('scheduled', 'queued', 'retrying')
			AND (dispatch_marked_at IS NULL OR dispatch_marked_at < now() - interval '30 seconds')
			ORDER BY run_at
			LIMIT $1
			FOR NO KEY UPDATE SKIP LOCKED
		) free
		WHERE j.id = free.id
		RETURNING j.id, j.gen, j.provider, j.lane, j.task, j.model,
			coalesce(j.batch_id, '') AS batch_id, greatest(j.run_at, j.not_before) AS at`, limit)
	if err != nil {
		return nil, fmt.Errorf("mark undispatched jobs: %w", err)
	}
	marked, err := pgx.CollectRows(rows, pgx.RowToStructByName[jobs.Delivery])
	if err != nil {
		return nil, fmt.Errorf("mark undispatched jobs: %w", err)
	}
	return marked, nil
}

// ConfirmDispatched implements jobs.DispatchStore. A row that somebody else
// holds is left alone: a claim confirms by itself, and what stays unconfirmed is
// dispatched once more, which Redis refuses as known.
func (s *Store) ConfirmDispatched(ctx context.Context, pushed []jobs.Delivery) error {
	gens := make([]int, len(pushed))
	for i, d := range pushed {
		gens[i] = d.Gen
	}
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			UPDATE jobs j
			SET dispatched_at = now()
			FROM (
				SELECT j.id
				FROM jobs j
				JOIN unnest($1::uuid[], $2::int[]) AS w (id, gen) USING (id)
				WHERE j.gen = w.gen AND j.dispatched_at IS NULL
				FOR NO KEY UPDATE OF j SKIP LOCKED
			) free
			WHERE j.id = free.id`,
			ids(pushed, func(d jobs.Delivery) uuid.UUID { return d.ID }), gens)
		return err
	})
	if err != nil {
		return fmt.Errorf("confirm dispatched jobs: %w", err)
	}
	return nil
}
