package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/fleet"
)

// Waiting implements fleet.WaitStore.
func (s *Store) Waiting(ctx context.Context, batch, job string) ([]fleet.WaitingJobs, error) {
	var id *uuid.UUID
	if job != "" {
		parsed, err := uuid.Parse(job)
		if err != nil {
			return nil, nil //nolint:nilerr // no job has such an id, and none waits
		}
		id = &parsed
	}
	rows, err := s.pool.Query(ctx, `
		SELECT q.provider, s.state, s.paused_at IS NOT NULL OR b.paused_at IS NOT NULL AS paused, s.wait_reason,
			CASE WHEN s.state = 'retrying' THEN s.error_class ELSE '' END AS error_class,
			count(*), min(q.run_at) FILTER (WHERE q.run_at > now()), min(s.not_before) FILTER (WHERE s.not_before > now())
		FROM (
			SELECT job_id, provider, batch_id, run_at
			FROM job_queue
			WHERE worker_id IS NULL AND ($1 = '' OR batch_id = $1) AND ($2::uuid IS NULL OR job_id = $2)
			LIMIT $3
		) q
		JOIN job_states s ON s.job_id = q.job_id
		LEFT JOIN batches b ON b.id = q.batch_id
		GROUP BY q.provider, s.state, paused, s.wait_reason, 5, q.run_at > now()
		ORDER BY count(*) DESC, q.provider
		LIMIT 100`, batch, id, fleet.MaxWaiting)
	if err != nil {
		return nil, fmt.Errorf("read what jobs wait for: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (fleet.WaitingJobs, error) {
		var w fleet.WaitingJobs
		var runAt, notBefore *time.Time
		err := row.Scan(&w.Provider, &w.State, &w.Paused, &w.Reason, &w.ErrorClass, &w.Jobs, &runAt, &notBefore)
		w.RunAt, w.NotBefore = timeOrZero(runAt), timeOrZero(notBefore)
		return w, err
	})
	if err != nil {
		return nil, fmt.Errorf("read what jobs wait for: %w", err)
	}
	return list, nil
}

// WaitingOf returns what those of the jobs that wait, wait for, by their ids.
func (s *Store) WaitingOf(ctx context.Context, ids []string) (map[string]fleet.WaitingJobs, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT q.job_id::text, q.provider, s.state, s.paused_at IS NOT NULL OR b.paused_at IS NOT NULL, s.wait_reason,
			CASE WHEN s.state = 'retrying' THEN s.error_class ELSE '' END, q.run_at, s.not_before
		FROM job_queue q
		JOIN job_states s ON s.job_id = q.job_id
		LEFT JOIN batches b ON b.id = q.batch_id
		WHERE q.job_id = ANY ($1::uuid[]) AND q.worker_id IS NULL`, ids)
	if err != nil {
		return nil, fmt.Errorf("read what %d jobs wait for: %w", len(ids), err)
	}
	list := map[string]fleet.WaitingJobs{}
	var id string
	var w fleet.WaitingJobs
	var runAt, notBefore *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &w.Provider, &w.State, &w.Paused, &w.Reason, &w.ErrorClass, &runAt, &notBefore}, func() error {
		w.Jobs, w.RunAt, w.NotBefore = 1, timeOrZero(runAt), timeOrZero(notBefore)
		list[id] = w
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what %d jobs wait for: %w", len(ids), err)
	}
	return list, nil
}
