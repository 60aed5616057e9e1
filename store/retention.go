package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// resumedFor is for how long a removal that was interrupted is gone on with.
const resumedFor = 7 * 24 * time.Hour

// Outdated implements batches.OutdatedStore. What has not ended, what nobody knows the
// outcome of, and a batch whose rows still come in are never among them.
func (s *Store) Outdated(ctx context.Context, age time.Duration, limit int) (ids []string, err error) {
	rows, err := s.pool.Query(ctx, `
		SELECT b.id
		FROM batches b
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(scheduled + queued + running + retrying), 0) AS unfinished, coalesce(sum(unknown), 0) AS unknown,
				coalesce(max(last_finished_at), b.created_at) AS finished_at
			FROM batch_counts
			WHERE batch_id = b.id
		) c
		WHERE b.created_at < now() - make_interval(secs => $1)
		AND (b.sealed_at IS NOT NULL OR b.cancelled_at IS NOT NULL)
		AND NOT EXISTS (
			SELECT
			FROM steps m
			JOIN steps n ON n.pipeline = m.pipeline
			JOIN batches x ON x.id = n.batch_id
			WHERE m.batch_id = b.id AND x.sealed_at IS NULL AND x.cancelled_at IS NULL)
		AND (
			b.removed_at IS NULL AND c.unfinished = 0 AND c.unknown = 0 AND c.finished_at < now() - make_interval(secs => $1)
			AND NOT EXISTS (
				SELECT
				FROM jobs j
				JOIN call_jobs cj ON cj.job_id = j.id
				JOIN calls x ON x.id = cj.call_id
				WHERE j.batch_id = b.id AND x.state IN ('running', 'unknown'))
			OR b.removed_at > now() - make_interval(secs => $2) AND EXISTS (SELECT FROM jobs WHERE batch_id = b.id)
		)
		ORDER BY b.created_at
		LIMIT $3`, age.Seconds(), resumedFor.Seconds(), limit)
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return nil, fmt.Errorf("look for outdated batches: %w", err)
	}
	return ids, nil
}
