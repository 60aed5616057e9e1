package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// Dispatched implements worker.DeliveryStore.
func (s *Store) Dispatched(ctx context.Context, after jobs.Delivery, age time.Duration, limit int) ([]jobs.Delivery, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id, gen, provider, lane, account, task, model, coalesce(batch_id, '') AS batch_id, turn,
			greatest(run_at, not_before) AS at
		FROM jobs
		WHERE dispatched_at IS NOT NULL
		AND dispatched_at <= now() - make_interval(secs => $7)
		AND state IN ('scheduled', 'queued', 'retrying')
		AND (provider, lane, account, turn, id) > ($1, $2, $3, $4, $5)
		ORDER BY provider, lane, account, turn, id
		LIMIT $6`, after.Provider, after.Lane, after.Account, after.Turn, after.ID, limit, age.Seconds())
	if err != nil {
		return nil, fmt.Errorf("read dispatched jobs: %w", err)
	}
	page, err := pgx.CollectRows(rows, pgx.RowToStructByName[jobs.Delivery])
	if err != nil {
		return nil, fmt.Errorf("read dispatched jobs: %w", err)
	}
	return page, nil
}

// Redispatch implements worker.DeliveryStore. A row that somebody else holds is
// left alone: it is being claimed or ended, or the next audit finds it again.
func (s *Store) Redispatch(ctx context.Context, lost []jobs.Delivery) (int, error) {
	// No repetition of ours: after a commit that was not heard of, the rows are
	// found undispatched.
	tag, err := s.pool.Exec(ctx, `
		UPDATE jobs j
		SET gen = j.gen + 1, dispatched_at = NULL
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
		ids(lost, func(d jobs.Delivery) uuid.UUID { return d.ID }), gens(lost))
	if err != nil {
		return 0, fmt.Errorf("take lost deliveries back: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
