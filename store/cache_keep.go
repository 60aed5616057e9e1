package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

func noRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// CacheStats sums up the cache.
func (s *Store) CacheStats(ctx context.Context) (st jobs.CacheStats, err error) {
	var oldest, expires *time.Time
	err = s.pool.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE expires_at > now()),
			coalesce(sum(octet_length(text) + coalesce(octet_length(raw), 0) + coalesce(octet_length(vector), 0)), 0)
				+ (SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT url, size FROM cache_files) f),
			count(*) FILTER (WHERE EXISTS (SELECT FROM job_states s WHERE s.job_id = e.leader AND s.lease_token = e.lease_token)),
			(SELECT count(*) FROM cache_followers f JOIN job_states s USING (job_id) WHERE s.wait_reason = $1),
			min(answered_at) FILTER (WHERE expires_at > now()), min(expires_at) FILTER (WHERE expires_at > now())
		FROM cache_entries e`, jobs.WaitForCache).Scan(&st.Answers, &st.Bytes, &st.Leading, &st.Following, &oldest, &expires)
	if err != nil {
		return st, fmt.Errorf("sum up the cache: %w", err)
	}
	st.Oldest, st.Expires = timeOrZero(oldest), timeOrZero(expires)
	return st, nil
}

// ClearCache forgets the answers of a scope, and returns how many they were. What is under
// way goes on, and is kept.
func (s *Store) ClearCache(ctx context.Context, of jobs.CacheScope) (n int64, err error) {
	return s.forget(ctx, `
		answered_at IS NOT NULL AND $2 IN ('', account) AND $3 IN ('', provider) AND $4 IN ('', model)`, of.Account, of.Provider, of.Model)
}

// ForgetCached forgets answers that have expired, and what is left of requests that
// nobody leads or follows.
func (s *Store) ForgetCached(ctx context.Context) error {
	_, err := s.forget(ctx, `
		(expires_at <= now() OR answered_at IS NULL AND created_at < now() - interval '1 hour')
		AND NOT EXISTS (SELECT FROM job_states s WHERE s.job_id = e.leader AND s.lease_token = e.lease_token)`)
	if err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, `
		DELETE FROM cache_followers f
		WHERE since < now() - interval '1 hour' AND NOT EXISTS (SELECT FROM job_queue q WHERE q.job_id = f.job_id)`)
	if err != nil {
		return fmt.Errorf("forget jobs that follow nobody: %w", err)
	}
	return nil
}

// forget deletes the entries e for which a condition holds, in chunks. Those that lead a
// request keep their row.
func (s *Store) forget(ctx context.Context, where string, args ...any) (n int64, err error) {
	for {
		var chunk int64
		err := again(ctx, func() error {
			return s.pool.QueryRow(ctx, `
				WITH gone AS (
					DELETE FROM cache_entries
					WHERE key IN (SELECT key FROM cache_entries e WHERE `+where+` LIMIT $1 FOR UPDATE SKIP LOCKED)
					RETURNING key
				), dropped AS (
					DELETE FROM cache_files WHERE key IN (SELECT key FROM gone) RETURNING url
				), loose AS (
					INSERT INTO loose_files (url)
					SELECT DISTINCT url FROM dropped
					ON CONFLICT DO NOTHING
				)
				SELECT count(*) FROM gone`, append([]any{manyJobs}, args...)...).Scan(&chunk)
		})
		if err != nil {
			return n, fmt.Errorf("forget cached answers: %w", err)
		}
		if n += chunk; chunk == 0 {
			return n, nil
		}
	}
}

// LooseFiles returns up to limit files that the cache has let go of and that nobody has any
// more. It returns none while a worker makes pictures, sound or film: equal ones share a
// file, and theirs may be one of these.
func (s *Store) LooseFiles(ctx context.Context, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, `
		WITH used AS (
			DELETE FROM loose_files l
			WHERE EXISTS (SELECT FROM artifacts a WHERE a.url = l.url) OR EXISTS (SELECT FROM cache_files c WHERE c.url = l.url)
			RETURNING url
		)
		SELECT url
		FROM loose_files
		WHERE url NOT IN (SELECT url FROM used)
		AND NOT EXISTS (SELECT FROM job_queue q JOIN jobs j ON j.id = q.job_id WHERE q.worker_id IS NOT NULL AND j.task <> 'text')
		LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list files that nobody has: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list files that nobody has: %w", err)
	}
	return list, nil
}

// ForgetFile takes a file off that list.
func (s *Store) ForgetFile(ctx context.Context, url string) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM loose_files WHERE url = $1`, url); err != nil {
		return fmt.Errorf("forget the file %s: %w", url, err)
	}
	return nil
}

// Cached returns those of some keys that have an answer in the cache.
func (s *Store) Cached(ctx context.Context, keys []jobs.CacheKey) ([]jobs.CacheKey, error) {
	list := make([][]byte, len(keys))
	for i, k := range keys {
		list[i] = k[:]
	}
	rows, err := s.pool.Query(ctx, `SELECT key FROM cache_entries WHERE key = ANY ($1) AND expires_at > now()`, list)
	if err != nil {
		return nil, fmt.Errorf("look into the cache: %w", err)
	}
	var found []jobs.CacheKey
	var key []byte
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error {
		found = append(found, jobs.CacheKey(key))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look into the cache: %w", err)
	}
	return found, nil
}
