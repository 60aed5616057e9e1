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
		SELECT q.job_id AS id, q.gen, q.provider, q.lane, q.model AS queue_model, q.account, j.task, j.model, q.batch_id, q.start_tag,
			greatest(q.run_at, q.not_before) AS at, coalesce(q.delivery_id, '') AS delivery_id, q.pack
		FROM (
			SELECT *
			FROM job_queue
			WHERE `+isDispatched+`
			AND dispatched_at <= now() - make_interval(secs => $7)
			AND (provider, lane, model, account, start_tag, job_id) > ($1, $2, $8, $3, $4, $5)
			ORDER BY provider, lane, model, account, start_tag, job_id
			LIMIT $6
		) q
		CROSS JOIN LATERAL (SELECT task, model FROM jobs WHERE id = q.job_id OFFSET 0) j
		ORDER BY q.provider, q.lane, q.model, q.account, q.start_tag, q.job_id`, after.Provider, after.Lane, after.Account, after.StartTag, after.ID, limit, age.Seconds(), after.QueueModel)
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
		UPDATE job_states s
		SET gen = s.gen + 1
		FROM (
			SELECT s.job_id
			FROM unnest($1::uuid[], $2::int[]) AS w (id, gen)
			CROSS JOIN LATERAL (
				SELECT job_id
				FROM job_states
				WHERE job_id = w.id AND gen = w.gen AND state IN `+waitingStates+`
				AND (SELECT dispatched_at IS NOT NULL FROM job_queue q WHERE q.job_id = w.id)
				FOR NO KEY UPDATE SKIP LOCKED
			) s
		) free
		WHERE s.job_id = free.job_id`,
		ids(lost, func(d jobs.Delivery) uuid.UUID { return d.ID }), gens(lost))
	if err != nil {
		return 0, fmt.Errorf("take lost deliveries back: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
