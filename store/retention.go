package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// resumedFor is for how long a removal that was interrupted is continued.
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

// RemoveSingles deletes the jobs without a batch that ended before age and are settled, with
// their results, and returns how many there were. Files that nobody else has become loose:
// see LooseFiles. What the calls have cost stays in the ledger.
func (s *Store) RemoveSingles(ctx context.Context, age time.Duration) (int64, error) {
	n, err := s.removeOld(ctx, age, `
		WITH gone AS MATERIALIZED (
			SELECT j.id
			FROM jobs j
			JOIN job_states st ON st.job_id = j.id
			WHERE j.batch_id IS NULL AND j.id > $1 AND j.id < $2
			AND st.finished_at < now() - make_interval(secs => $3) AND st.state <> 'unknown'
			AND NOT EXISTS (
				SELECT
				FROM call_jobs cj
				CROSS JOIN LATERAL (SELECT state FROM calls WHERE id = cj.call_id OFFSET 0) c
				WHERE cj.job_id = j.id AND c.state IN ('running', 'unknown'))
			ORDER BY j.id
			LIMIT $4
			FOR UPDATE OF st SKIP LOCKED
		), result AS (
			DELETE FROM results WHERE job_id IN (SELECT id FROM gone)
		), file AS (
			DELETE FROM artifacts WHERE job_id IN (SELECT id FROM gone) RETURNING url
		), loose AS (
			INSERT INTO loose_files (url) SELECT DISTINCT url FROM file ON CONFLICT DO NOTHING
		), call AS (
			UPDATE calls SET error_body = NULL, error_message = ''
			WHERE id IN (SELECT call_id FROM call_jobs WHERE job_id IN (SELECT id FROM gone)) AND (error_body IS NOT NULL OR error_message <> '')
		), state AS (
			DELETE FROM job_states WHERE job_id IN (SELECT id FROM gone)
		), job AS (
			DELETE FROM jobs WHERE id IN (SELECT id FROM gone)
		)
		SELECT count(*), coalesce(max(id::text)::uuid, $1) FROM gone`)
	if err != nil {
		return n, fmt.Errorf("remove jobs without a batch: %w", err)
	}
	return n, nil
}

// RemoveCalls deletes the calls that ended before age, are settled, and whose jobs are all
// gone, and returns how many there were. Sums of the past, budgets and wallets keep what
// they have cost.
func (s *Store) RemoveCalls(ctx context.Context, age time.Duration) (int64, error) {
	n, err := s.removeOld(ctx, age, `
		WITH gone AS MATERIALIZED (
			SELECT c.id
			FROM calls c
			WHERE c.id > $1 AND c.id < $2
			AND c.finished_at < now() - make_interval(secs => $3) AND c.state NOT IN ('running', 'unknown')
			AND NOT EXISTS (SELECT FROM call_jobs cj JOIN jobs j ON j.id = cj.job_id WHERE cj.call_id = c.id)
			ORDER BY c.id
			LIMIT $4
			FOR UPDATE
		), charge AS (
			DELETE FROM charges WHERE call_id IN (SELECT id FROM gone) RETURNING budget_id, began_at, spent_nano
		), budget AS (
			UPDATE budgets b
			SET forgotten_nano = CASE WHEN b.period = 'total' THEN saturated(b.forgotten_nano + h.spent) ELSE b.forgotten_nano END,
				-- Of a period that is long over, though no call has begun another since.
				spent_nano = CASE WHEN b.period = 'total' THEN b.spent_nano ELSE saturated(b.spent_nano - h.spent) END
			FROM (SELECT budget_id, began_at, sum(spent_nano) AS spent FROM charge GROUP BY budget_id, began_at) h
			WHERE b.id = h.budget_id AND b.began_at = h.began_at
		), share AS (
			DELETE FROM call_jobs WHERE call_id IN (SELECT id FROM gone)
		), call AS (
			DELETE FROM calls WHERE id IN (SELECT id FROM gone)
		)
		SELECT count(*), coalesce(max(id::text)::uuid, $1) FROM gone`)
	if err != nil {
		return n, fmt.Errorf("remove old calls: %w", err)
	}
	return n, nil
}

// removeOld runs a statement that removes rows of a certain age in chunks: of ids after $1
// and before $2, that ended $3 seconds ago, up to $4 of them. It returns their number and the last of their ids.
func (s *Store) removeOld(ctx context.Context, age time.Duration, sql string) (n int64, err error) {
	for after := uuid.Nil; ; {
		var chunk int64
		err := again(ctx, func() error {
			return s.pool.QueryRow(ctx, sql, after, firstID(time.Now().Add(-age)), age.Seconds(), manyJobs).Scan(&chunk, &after)
		})
		if err != nil {
			return n, err
		}
		if n += chunk; chunk == 0 {
			return n, nil
		}
	}
}

// firstID returns the least id of what begins at a time: ids are of version 7, and begin
// with its milliseconds.
func firstID(at time.Time) (id uuid.UUID) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(at.UnixMilli(), 0)))
	copy(id[:6], ms[2:])
	return id
}
