package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// Register implements worker.PresenceStore.
func (s *Store) Register(ctx context.Context, p worker.Presence) error {
	names, slots := make([]string, len(p.Providers)), 0
	for i, served := range p.Providers {
		names[i] = served.Name
		slots += served.Concurrency
	}
	err := s.begin(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO workers (id, host, pid, providers, slots, version)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (id) DO UPDATE
			SET heartbeat_at = now(), stopped_at = NULL, providers = excluded.providers, slots = excluded.slots, version = excluded.version`,
			p.ID, p.Host, p.PID, names, slots, p.Version)
		for _, served := range p.Providers {
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `
				INSERT INTO providers (name, kind, simulated, limits_configured, limits_from_file, concurrency, dispatch_window, chunk_size, by_model, key_ends)
				VALUES ($1, $2, $7, $3, $4, $5, $6, $8, $9, $10)
				ON CONFLICT (name) DO UPDATE
				SET kind = excluded.kind,
					simulated = excluded.simulated,
					limits_configured = excluded.limits_configured,
					limits_from_file = excluded.limits_from_file,
					concurrency = excluded.concurrency,
					dispatch_window = excluded.dispatch_window,
					chunk_size = excluded.chunk_size,
					by_model = excluded.by_model,
					key_ends = excluded.key_ends,
					updated_at = now()`,
				served.Name, served.Kind, served.Limits, texts(served.Written), served.Concurrency, window(served), served.Simulated, max(served.Chunk, 1), served.ByModel,
				texts(served.KeyEnds))
			if err == nil {
				err = registerModels(ctx, tx, served)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("register worker: %w", err)
	}
	return nil
}

// registerModels writes what is known of the models of a provider, in an order in which
// two workers do not wait for each other.
func registerModels(ctx context.Context, tx pgx.Tx, p worker.Served) error {
	if !p.ByModel {
		_, err := tx.Exec(ctx, `DELETE FROM provider_models WHERE provider = $1`, p.Name)
		return err
	}
	names := slices.Sorted(maps.Keys(p.Models))
	limits, windows, chunks := make([]providers.Limits, len(names)), make([]int, len(names)), make([]int, len(names))
	for i, name := range names {
		limits[i], windows[i], chunks[i] = p.Models[name].Limits, p.Models[name].Window, p.Models[name].Chunk
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO provider_models (provider, model, limits, dispatch_window, chunk_size)
		SELECT $1, *
		FROM unnest($2::text[], $3::jsonb[], $4::int[], $5::int[]) AS m (model, limits, dispatch_window, chunk_size)
		ORDER BY model
		ON CONFLICT (provider, model) DO UPDATE
		SET limits = excluded.limits, dispatch_window = excluded.dispatch_window, chunk_size = excluded.chunk_size`, p.Name, names, limits, windows, chunks)
	return err
}

// window returns the number of tasks that each queue of a provider may hold.
func window(p worker.Served) int { return cmp.Or(p.Window, jobs.Window(p.Limits.RPM)) }

// Heartbeat implements worker.PresenceStore. A worker that was thought dead is alive
// again, without the jobs that were taken from it.
func (s *Store) Heartbeat(ctx context.Context, worker uuid.UUID) error {
	_, err := s.pool.Exec(ctx, `UPDATE workers SET heartbeat_at = now(), stopped_at = NULL WHERE id = $1`, worker)
	return err
}

// Retire implements worker.PresenceStore.
func (s *Store) Retire(ctx context.Context, worker uuid.UUID) error {
	_, err := s.pool.Exec(ctx, `UPDATE workers SET stopped_at = now() WHERE id = $1`, worker)
	if err != nil {
		return fmt.Errorf("retire worker: %w", err)
	}
	return nil
}

// Lead implements worker.LeaderStore.
func (s *Store) Lead(ctx context.Context, role string, holder uuid.UUID, ttl time.Duration) (bool, error) {
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO leaders (role, holder, expires_at)
		VALUES ($1, $2, now() + make_interval(secs => $3))
		ON CONFLICT (role) DO UPDATE
		SET holder = excluded.holder, expires_at = excluded.expires_at
		WHERE leaders.holder = excluded.holder OR leaders.expires_at < now()`,
		role, holder, ttl.Seconds())
	if err != nil {
		return false, fmt.Errorf("lead as %s: %w", role, err)
	}
	return tag.RowsAffected() == 1, nil
}

// Resign implements worker.LeaderStore.
func (s *Store) Resign(ctx context.Context, role string, holder uuid.UUID) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM leaders WHERE role = $1 AND holder = $2`, role, holder)
	return err
}

// Heartbeats implements worker.LeaderStore. The clock is moved by what has passed since
// anybody moved it, but by no more than maxStep; its row's lock puts those who do so in
// order, and what time it is they ask when they have it: now() is when they began to
// wait for it. Of a worker that has stopped one job is looked for, not all that run.
func (s *Store) Heartbeats(ctx context.Context, maxStep time.Duration, isLeader bool) ([]worker.Heartbeat, error) {
	rows, err := s.pool.Query(ctx, `
		WITH clock AS (
			INSERT INTO fleet AS c (advanced_at)
			VALUES (now())
			ON CONFLICT (singleton) DO UPDATE
			SET uptime = c.uptime + least(greatest(clock_timestamp() - c.advanced_at, interval '0'), make_interval(secs => $1)),
				advanced_at = clock_timestamp()
			RETURNING uptime
		), present AS (
			SELECT w.id, w.heartbeat_at, w.heartbeat_at IS DISTINCT FROM w.last_seen_heartbeat_at AS fresh, clock.uptime, w.last_seen_uptime
			FROM clock
			CROSS JOIN workers w
			WHERE w.stopped_at IS NULL OR $2 AND (SELECT true FROM job_queue WHERE worker_id = w.id LIMIT 1)
		), seen AS (
			UPDATE workers w
			SET last_seen_heartbeat_at = p.heartbeat_at, last_seen_uptime = p.uptime
			FROM present p
			WHERE w.id = p.id AND p.fresh
		)
		SELECT id AS worker, CASE WHEN fresh THEN interval '0' ELSE uptime - last_seen_uptime END AS silent
		FROM present`, maxStep.Seconds(), isLeader)
	if err != nil {
		return nil, fmt.Errorf("read heartbeats: %w", err)
	}
	beats, err := pgx.CollectRows(rows, pgx.RowToStructByName[worker.Heartbeat])
	if err != nil {
		return nil, fmt.Errorf("read heartbeats: %w", err)
	}
	return beats, nil
}

// FleetID returns the id of the fleet that this database belongs to. It is made at
// the first call.
func (s *Store) FleetID(ctx context.Context) (id uuid.UUID, err error) {
	err = again(ctx, func() error {
		err := s.pool.QueryRow(ctx, `SELECT id FROM fleet`).Scan(&id)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if _, err := s.pool.Exec(ctx, `INSERT INTO fleet DEFAULT VALUES ON CONFLICT DO NOTHING`); err != nil {
			return err
		}
		return s.pool.QueryRow(ctx, `SELECT id FROM fleet`).Scan(&id)
	})
	if err != nil {
		return id, fmt.Errorf("read the fleet's id: %w", err)
	}
	return id, nil
}

// TakeOver implements worker.RecoveryStore. A job whose call was under way has an
// unknown outcome; on_unknown decides whether it may be sent again, once.
func (s *Store) TakeOver(ctx context.Context, worker uuid.UUID) (int, error) {
	died := loss{crash: true, kind: "worker_died", message: "the worker died during this call: its outcome is not known"}
	total := 0
	for {
		n, err := s.take(ctx, worker, nil, died)
		total += n
		if err != nil {
			return total, err
		}
		if n == 0 {
			return total, s.Retire(ctx, worker)
		}
	}
}

// Leases implements worker.PresenceStore.
func (s *Store) Leases(ctx context.Context, worker uuid.UUID) ([]uuid.UUID, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT lease_token
		FROM job_states
		WHERE job_id = ANY (ARRAY(SELECT job_id FROM job_queue WHERE worker_id = $1)) AND state = 'running' AND worker_id = $1`, worker)
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	leases, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	return leases, nil
}

// TakeBack implements worker.PresenceStore.
func (s *Store) TakeBack(ctx context.Context, worker uuid.UUID, leases []uuid.UUID) (int, error) {
	return s.take(ctx, worker, leases, loss{kind: "unknown", message: "the outcome of this call was not recorded"})
}

// loss is the reason why jobs are taken from their holder.
type loss struct {
	// crash counts against the job: the holder may have died of it.
	crash bool
	// kind and message are what stands in the ledger for a call under way.
	kind, message string
}

// take takes up to 1,000 jobs from a worker: those of the leases, or any if that
// is nil.
func (s *Store) take(ctx context.Context, worker uuid.UUID, leases []uuid.UUID, why loss) (n int, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		n = 0
		// The locks first, in a statement of their own: a call that was begun
		// while this waited or looked is in the next statement's snapshot.
		rows, err := tx.Query(ctx, `
			SELECT job_id
			FROM job_states
			WHERE job_id = ANY (ARRAY(SELECT job_id FROM job_queue WHERE worker_id = $1))
			AND state = 'running' AND worker_id = $1 AND ($2::uuid[] IS NULL OR lease_token = ANY ($2))
			LIMIT 1000
			FOR NO KEY UPDATE SKIP LOCKED`, worker, leases)
		if err != nil {
			return err
		}
		held, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil || len(held) == 0 {
			return err
		}
		n, err = takeHeld(ctx, tx, held, why)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("take over from worker %s: %w", worker, err)
	}
	return n, nil
}

// takeHeld takes jobs, whose rows are locked, from their holder.
func takeHeld(ctx context.Context, tx pgx.Tx, held []uuid.UUID, why loss) (n int, err error) {
	err = tx.QueryRow(ctx, takeOverSQL, held, jobs.MaxCrashes, why.crash, why.kind, why.message).Scan(&n)
	return n, err
}

// takeOverSQL takes jobs, whose rows are locked, from their holder. One that has died is
// held against the job, but where its last call is known not to have been sent: then the job only
// waited. A holder that
// lives has lost sight of its job: that is no crash, but cannot go on for ever
// either, and ends with the job's attempts.
//
// last is the settled call, if any, for which the holder was about to end the job: one
// that was billed for what cannot be used is never followed by another, and one whose
// outcome is not known only where on_unknown allows. Where something was ordered that
// may still be made, whatever on_unknown says, the next holder goes on with the order.
const takeOverSQL = `
	WITH taken AS (
		SELECT unnest($1::uuid[]) AS id
	), given AS (
		` + lostCalls + `
		FROM (SELECT $4::text AS kind, $5::text AS message) loss
		CROSS JOIN taken t
		CROSS JOIN LATERAL (SELECT * FROM call_jobs WHERE job_id = t.id OFFSET 0) cj
		CROSS JOIN LATERAL (SELECT * FROM calls WHERE id = cj.call_id OFFSET 0) c
		WHERE c.state = 'running'
	), ` + settleSQL + `, fate AS (
		SELECT t.id, coalesce(b.charge, 0) AS charge, coalesce(b.simulated, 0) AS simulated, coalesce(b.due, 0) AS due, coalesce(b.unpriced, 0) AS unpriced,
			CASE WHEN b.calls > 0 AND last.useless IS NOT TRUE THEN $4 ELSE coalesce(nullif(last.error_kind, ''), 'unknown') END AS class,
			CASE WHEN b.calls > 0 AND last.useless IS NOT TRUE THEN $5 ELSE last.error_message END AS message,
			CASE
			WHEN s.cancel_requested_at IS NOT NULL
				OR EXISTS (SELECT FROM batches x WHERE x.id = s.batch_id AND x.cancelled_at IS NOT NULL) THEN 'cancelled'
			WHEN last.useless THEN 'useless'
			WHEN EXISTS (
				SELECT FROM call_jobs cj JOIN calls c ON c.id = cj.call_id
				WHERE cj.job_id = t.id AND c.handle <> '' AND c.state IN ('running', 'unknown')
			) AND NOT (d.died AND s.crashes + 1 >= $2) THEN CASE WHEN NOT $3 AND s.attempt >= j.max_attempts THEN 'unknown' ELSE 'queued' END
			WHEN (b.calls > 0 OR last.useless IS NOT NULL)
				AND (j.on_unknown = 'fail' OR ` + unknownCalls + ` + coalesce(b.calls, 0) > 1) THEN 'unknown'
			WHEN d.died AND s.crashes + 1 >= $2 OR NOT $3 AND s.attempt >= j.max_attempts THEN 'failed'
			ELSE 'queued'
			END AS state, d.died
		FROM taken t
		JOIN job_states s ON s.job_id = t.id
		CROSS JOIN LATERAL (
			SELECT $3 AND coalesce((
				SELECT c.state <> 'failed_unbilled' OR c.error_kind <> 'not_asked'
				FROM call_jobs cj
				JOIN calls c ON c.id = cj.call_id
				WHERE cj.job_id = t.id AND cj.lease_token = s.lease_token
				ORDER BY c.started_at DESC, c.id DESC
				LIMIT 1), true) AS died
		) d
		JOIN jobs j ON j.id = t.id
		LEFT JOIN bill b ON b.job_id = t.id
		LEFT JOIN LATERAL (
			SELECT c.state = 'failed_billed' AND c.error_kind NOT IN ('artifact_store', 'result_store') AS useless, c.error_kind, c.error_message
			FROM call_jobs cj
			JOIN calls c ON c.id = cj.call_id
			WHERE cj.job_id = t.id AND cj.lease_token = s.lease_token AND c.state IN ('unknown', 'failed_billed')
			AND c.error_kind NOT IN ` + missKinds + `
			ORDER BY useless DESC, c.started_at DESC
			LIMIT 1
		) last ON true
	), moved AS (
		UPDATE job_states s
		SET ` + charged + `,
			state = CASE b.state WHEN 'useless' THEN 'failed' ELSE b.state END,
			gen = s.gen + 1,
			crashes = s.crashes + b.died::int,
			finished_at = CASE WHEN b.state <> 'queued' THEN now() END,
			error_class = CASE
				WHEN b.state IN ('unknown', 'useless') THEN b.class
				WHEN b.state <> 'failed' THEN ''
				WHEN $3 THEN 'poison'
				ELSE 'internal' END,
			error_message = CASE
				WHEN b.state IN ('unknown', 'useless') THEN concat_ws('; ', nullif(b.message, ''), 'it is not sent again')
				WHEN b.state <> 'failed' THEN ''
				WHEN $3 THEN 'quarantined: ' || s.crashes + 1 || ' workers died while they ran it'
				ELSE 'its worker lost sight of it ' || s.attempt || ' times' END,
			lease_token = NULL,
			worker_id = NULL
		FROM fate b
		WHERE s.job_id = b.id
		RETURNING s.job_id
	), others AS (
		` + chargeSQL + ` AND b.job_id <> ALL ($1)
	)
	SELECT count(*) FROM moved`

// ExpireOverdue implements worker.RecoveryStore.
func (s *Store) ExpireOverdue(ctx context.Context) (int, error) {
	tag, err := s.pool.Exec(ctx, `
		UPDATE job_states s
		SET state = 'expired', finished_at = now()
		FROM (
			SELECT job_id
			FROM job_states
			WHERE job_id = ANY (ARRAY(
				SELECT job_id FROM job_queue WHERE deadline < now() AND worker_id IS NULL ORDER BY deadline LIMIT 5000))
			AND deadline < now() AND state IN `+waitingStates+`
			FOR NO KEY UPDATE SKIP LOCKED
		) overdue
		WHERE s.job_id = overdue.job_id`)
	if err != nil {
		return 0, fmt.Errorf("expire jobs: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// SweepCancelled implements worker.RecoveryStore. A cancelled batch is looked at until
// an hour after its cancellation, when nobody is writing rows of it any more, and
// for as long after it as there is something to sweep.
func (s *Store) SweepCancelled(ctx context.Context) (int, error) {
	tag, err := s.pool.Exec(ctx, cancelWaiting(`
		SELECT q.job_id
		FROM batches b
		CROSS JOIN LATERAL (SELECT job_id FROM job_queue WHERE batch_id = b.id AND worker_id IS NULL LIMIT 5000) q
		WHERE b.cancelled_at IS NOT NULL AND b.drained_at IS NULL
		LIMIT 5000`))
	if err == nil && tag.RowsAffected() == 0 {
		// Running jobs may come back to wait; then, too, the batch is not drained yet.
		_, err = s.pool.Exec(ctx, `
			UPDATE batches b
			SET drained_at = now()
			WHERE b.cancelled_at < now() - interval '1 hour' AND b.drained_at IS NULL
			AND NOT EXISTS (SELECT FROM job_queue q WHERE q.batch_id = b.id)`)
	}
	if err != nil {
		return 0, fmt.Errorf("sweep cancelled batches: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
