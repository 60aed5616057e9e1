package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// LookUp implements worker.CacheStore. The job is locked before the entry, as where an
// answer is kept: so either the answer comes first, and is found, or the job follows
// first, and is woken.
func (s *Store) LookUp(ctx context.Context, l jobs.Look) (found jobs.Found, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		found = jobs.CacheNone
		var held bool
		err := tx.QueryRow(ctx, `
			SELECT true
			FROM job_states s
			WHERE job_id = $1 AND lease_token = $2 AND cancel_requested_at IS NULL AND paused_at IS NULL AND deadline > now()
			AND NOT EXISTS (SELECT FROM batches b WHERE b.id = s.batch_id AND (b.cancelled_at IS NOT NULL OR b.paused_at IS NOT NULL))
			FOR NO KEY UPDATE OF s`, l.JobID, l.LeaseToken).Scan(&held)
		if noRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		// Whoever leads may have an answer between the two looks.
		for range 2 {
			var hits int
			if err := tx.QueryRow(ctx, hitSQL, l.Key[:], l.JobID, l.For.Seconds()).Scan(&hits); err != nil {
				return err
			}
			if hits > 0 {
				found = jobs.CacheHit
				return nil
			}
			tag, err := tx.Exec(ctx, leadSQL, l.Key[:], l.Account, l.Provider, l.Model, l.Simulated, l.JobID, l.LeaseToken, l.For.Seconds())
			if err != nil {
				return err
			}
			if tag.RowsAffected() > 0 {
				found = jobs.CacheLead
				return nil
			}
		}
		found = jobs.CacheFollow
		_, err = tx.Exec(ctx, followSQL, l.Key[:], l.JobID, jobs.FollowFor.Seconds(), jobs.WaitForCache)
		return err
	})
	if err != nil {
		return found, fmt.Errorf("look into the cache for job %s: %w", l.JobID, err)
	}
	if found == jobs.CacheHit {
		signal(s.ended)
	}
	return found, nil
}

const (
	// hitSQL ends the job $2, which is locked, with the answer under the key $1, if there is
	// one that is no older than $3 seconds. The entry cannot be forgotten before that is
	// committed.
	hitSQL = `
		WITH entry AS (
			SELECT *
			FROM cache_entries
			WHERE key = $1 AND expires_at > now() AND answered_at > now() - make_interval(secs => $3)
			FOR KEY SHARE
		), stored AS (
			INSERT INTO results (job_id, call_id, provider, model, text, vector, raw, raw_sha256, finish_reason, request_id, http_status,
				usage, cached, saved_nano)
			SELECT $2, call_id, provider, answered_by, text, vector, raw, raw_sha256, finish_reason, request_id, http_status, usage, true, cost_nano
			FROM entry
			RETURNING job_id
		), files AS (
			INSERT INTO artifacts (job_id, idx, call_id, mime, size, sha256, url)
			SELECT $2, f.idx, f.call_id, f.mime, f.size, f.sha256, f.url
			FROM entry
			JOIN cache_files f ON f.key = ANY (ARRAY[entry.key]) AND f.call_id = entry.call_id
		), ended AS (
			UPDATE job_states
			SET state = 'succeeded', finished_at = now(), error_class = '', error_message = '', not_before = NULL, wait_reason = '',
				ended_lease = lease_token, lease_token = NULL, worker_id = NULL
			WHERE job_id IN (SELECT job_id FROM stored)
		), counted AS (
			INSERT INTO spending AS m (hour, account, batch_id, provider, model, simulated, kind, slot,
				calls, failed, unpriced, cost_nano, charge_nano, overruns, overrun_nano, saved_nano)
			SELECT date_trunc('hour', now()), j.account, coalesce(j.batch_id, ''), e.provider, e.model, e.simulated, 'cache', counter_slot(),
				1, 0, 0, 0, 0, 0, 0, coalesce(e.cost_nano, 0)
			FROM entry e
			CROSS JOIN (SELECT account, batch_id FROM jobs WHERE id = $2) j
			ON CONFLICT (hour, account, batch_id, provider, model, simulated, kind, slot) DO UPDATE
			SET calls = m.calls + 1, saved_nano = m.saved_nano + excluded.saved_nano
		)
		SELECT count(*) FROM stored`

	// leadSQL makes the job $6 the one that gets the request answered, unless there is an
	// answer that is no older than $8 seconds, or another does.
	leadSQL = `
		INSERT INTO cache_entries AS e (key, account, provider, model, simulated, leader, lease_token)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (key) DO UPDATE
		SET leader = excluded.leader, lease_token = excluded.lease_token
		WHERE (e.expires_at IS NULL OR e.expires_at <= now() OR e.answered_at <= now() - make_interval(secs => $8))
		AND NOT EXISTS (SELECT FROM job_states s WHERE s.job_id = e.leader AND s.lease_token = e.lease_token AND s.job_id <> excluded.leader)`

	// followSQL gives the job $2, which is locked, back, until it is woken.
	followSQL = `
		WITH follower AS (
			INSERT INTO cache_followers (key, job_id)
			VALUES ($1, $2)
			ON CONFLICT DO NOTHING
		)
		UPDATE job_states
		SET state = 'queued', attempt = attempt - 1, not_before = now() + make_interval(secs => $3), wait_reason = $4,
			ended_lease = lease_token, lease_token = NULL, worker_id = NULL
		WHERE job_id = $2`

	// keepSQL keeps answers that are results, under the keys whose leaders they answer.
	keepSQL = `
		WITH w AS (
			SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::uuid[], $4::float8[]) AS w (key, job_id, call_id, secs)
		), kept AS (
			UPDATE cache_entries e
			SET answered_at = now(), expires_at = greatest(e.expires_at, now() + make_interval(secs => a.secs)), leader = NULL, lease_token = NULL, call_id = a.call_id,
				cost_nano = a.cost_nano, answered_by = a.model, text = a.text, vector = a.vector, raw = a.raw, raw_sha256 = a.raw_sha256,
				finish_reason = a.finish_reason, request_id = a.request_id, http_status = a.http_status, usage = a.usage
			FROM (
				SELECT DISTINCT ON (w.key) w.key, w.secs, c.cost_nano, r.*
				FROM w
				CROSS JOIN LATERAL (SELECT * FROM results WHERE job_id = w.job_id AND call_id = w.call_id OFFSET 0) r
				CROSS JOIN LATERAL (SELECT cost_nano FROM calls WHERE id = w.call_id OFFSET 0) c
				ORDER BY w.key
			) a
			WHERE e.key = ANY (ARRAY[a.key])
			RETURNING e.key, e.call_id, a.job_id
		), dropped AS (
			DELETE FROM cache_files f
			USING kept k
			WHERE f.key = ANY (ARRAY[k.key]) AND f.call_id <> k.call_id
			RETURNING f.url
		), loose AS (
			INSERT INTO loose_files (url)
			SELECT DISTINCT url FROM dropped
			ON CONFLICT DO NOTHING
		)
		INSERT INTO cache_files (key, call_id, idx, mime, size, sha256, url)
		SELECT k.key, k.call_id, a.idx, a.mime, a.size, a.sha256, a.url
		FROM kept k
		CROSS JOIN LATERAL (SELECT * FROM artifacts WHERE job_id = k.job_id AND call_id = k.call_id OFFSET 0) a
		ON CONFLICT DO NOTHING`

	// wakeSQL has the jobs dispatched that follow those whose answers were just kept. One
	// that somebody holds just now looks for itself.
	wakeSQL = `
		WITH followers AS (
			DELETE FROM cache_followers f
			USING cache_entries e
			WHERE f.key = ANY ($1) AND e.key = ANY (ARRAY[f.key]) AND e.expires_at > now()
			RETURNING f.job_id
		)` + wakeFollowers

	// releaseSQL ends what the lease $2 leads under the key $1, and has the job dispatched
	// that waits for it longest.
	releaseSQL = `
		WITH led AS (
			UPDATE cache_entries
			SET leader = NULL, lease_token = NULL
			WHERE key = $1 AND lease_token = $2
			RETURNING key
		), followers AS (
			DELETE FROM cache_followers
			WHERE (key, job_id) IN (
				SELECT key, job_id
				FROM cache_followers
				JOIN led USING (key)
				ORDER BY since, job_id
				LIMIT 1)
			RETURNING job_id
		)` + wakeFollowers

	wakeFollowers = `, waiting AS (
			SELECT s.job_id
			FROM followers f
			JOIN job_states s ON s.job_id = ANY (ARRAY[f.job_id])
			WHERE s.state = 'queued' AND s.wait_reason = 'cache'
			FOR NO KEY UPDATE OF s SKIP LOCKED
		)
		UPDATE job_states s
		SET gen = s.gen + 1, not_before = NULL, wait_reason = ''
		FROM waiting w
		WHERE s.job_id = ANY (ARRAY[w.job_id])`
)

// queueKept adds to the transaction that records answers what keeps them in the cache.
func queueKept(p *pgx.Batch, in []jobs.Success) {
	var keys [][]byte
	var jobIDs, calls []uuid.UUID
	var secs []float64
	for _, d := range in {
		if k := d.Cache; k != nil {
			keys, jobIDs, calls, secs = append(keys, k.Key[:]), append(jobIDs, d.JobID), append(calls, d.Settlement.CallID), append(secs, k.For.Seconds())
		}
	}
	if len(keys) > 0 {
		p.Queue(keepSQL, keys, jobIDs, calls, secs)
		p.Queue(wakeSQL, keys)
	}
}

// Release implements worker.CacheStore.
func (s *Store) Release(ctx context.Context, key jobs.CacheKey, lease uuid.UUID) error {
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, releaseSQL, key[:], lease)
		return err
	})
	if err != nil {
		return fmt.Errorf("release a request in the cache: %w", err)
	}
	return nil
}
