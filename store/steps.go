package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/jobs"
	"oneflow/providers"
)

var _ batches.StepStore = (*Store)(nil)

// addSteps makes the batches of a pipeline's steps, before a row of the first comes in. It
// fails with jobs.ErrOtherSource where there are others.
func addSteps(ctx context.Context, tx pgx.Tx, b jobs.Batch) error {
	var plain bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM jobs WHERE batch_id = $1) AND NOT EXISTS (SELECT FROM steps WHERE batch_id = $1)`, b.ID).Scan(&plain)
	if err != nil {
		return err
	}
	if plain {
		return fmt.Errorf("batch %s: %w", b.ID, jobs.ErrOtherSource)
	}
	tags := b.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	for place, step := range b.Steps {
		_, err := tx.Exec(ctx, `
			INSERT INTO batches (id, account, source, origin, tags)
			VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (id) DO NOTHING`, step.Batch, b.Account, b.Source, stepOrigin+b.ID, tags)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO steps (batch_id, pipeline, place, name, definition)
			VALUES ($1, $2, $3, $4, $5::json)
			ON CONFLICT DO NOTHING`, step.Batch, b.ID, place, step.Name, step.Definition)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO batch_ends (batch_id, webhook, per_job)
			VALUES ($1, $2, $3)
			ON CONFLICT (batch_id) DO UPDATE SET webhook = excluded.webhook, per_job = excluded.per_job WHERE excluded.webhook <> ''`,
			step.Batch, b.Webhook, b.PerJob)
		if err != nil {
			return err
		}
	}
	names, definitions, ids := make([]string, len(b.Steps)), make([]string, len(b.Steps)), make([]string, len(b.Steps))
	for i, step := range b.Steps {
		names[i], definitions[i], ids[i] = step.Name, string(step.Definition), step.Batch
	}
	var same bool
	err = tx.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM steps WHERE pipeline = $1) = cardinality($2::text[])
			AND NOT EXISTS (
				SELECT
				FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS w (batch_id, name, definition, place)
				LEFT JOIN steps s ON s.pipeline = $1 AND s.place = w.place - 1
				LEFT JOIN batches b ON b.id = w.batch_id
				WHERE (s.batch_id, s.name, s.definition::jsonb) IS DISTINCT FROM (w.batch_id, w.name, w.definition::jsonb)
				OR w.place > 1 AND b.origin <> $5 || $1)`, b.ID, ids, names, definitions, stepOrigin).Scan(&same)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("batch %s: %w", b.ID, jobs.ErrOtherSource)
	}
	return nil
}

// stepOrigin stands before a pipeline's id in the origin of its steps' batches.
const stepOrigin = "step of "

// StepAfter implements batches.StepStore.
func (s *Store) StepAfter(ctx context.Context, batch string) (*jobs.Step, string, error) {
	var next jobs.Step
	var name string
	err := s.pool.QueryRow(ctx, `
		SELECT m.name, n.batch_id, n.name, n.definition
		FROM steps m
		JOIN steps n ON n.pipeline = m.pipeline AND n.place = m.place + 1
		WHERE m.batch_id = $1`, batch).Scan(&name, &next.Batch, &next.Name, &next.Definition)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("look for the step after batch %s: %w", batch, err)
	}
	return &next, name, nil
}

// Parent implements batches.StepStore.
func (s *Store) Parent(ctx context.Context, job uuid.UUID) (p jobs.Parent, err error) {
	err = s.pool.QueryRow(ctx, `SELECT seq, coalesce(custom_id, ''), own FROM jobs WHERE id = $1`, job).Scan(&p.Seq, &p.CustomID, &p.Own)
	if err != nil {
		return p, fmt.Errorf("read the row of job %s: %w", job, err)
	}
	return p, nil
}

// Steps returns where the steps of a pipeline stand, in their order; none: it is none.
func (s *Store) Steps(ctx context.Context, pipeline string) ([]jobs.StepProgress, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT s.name, s.batch_id, (SELECT count(*) FROM step_links l WHERE l.batch_id = s.batch_id AND l.child_id IS NULL)
		FROM steps s
		WHERE s.pipeline = $1
		ORDER BY s.place`, pipeline)
	if err != nil {
		return nil, fmt.Errorf("read the steps of %s: %w", pipeline, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p jobs.StepProgress, err error) {
		return p, row.Scan(&p.Name, &p.BatchID, &p.LeftOut)
	})
	if err != nil {
		return nil, fmt.Errorf("read the steps of %s: %w", pipeline, err)
	}
	for i := range list {
		if list[i].Progress, err = batchProgress(ctx, s.pool, list[i].BatchID, false); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// sealNext seals the step after a batch that has ended: what its jobs led to is there.
const sealNext = `
	UPDATE batches
	SET sealed_at = now()
	WHERE sealed_at IS NULL AND id IN (
		SELECT n.batch_id FROM steps m JOIN steps n ON n.pipeline = m.pipeline AND n.place = m.place + 1 WHERE m.batch_id = $1)`

// allSteps selects, as an array, a batch and the others of the pipeline whose first it is.
const allSteps = `ARRAY(SELECT $1::text UNION SELECT batch_id FROM steps WHERE pipeline = $1::text)`

// childrenSQL makes what the results that stand have led to: a link for each, which makes
// each of them one, and a job for those that the filter lets through. It locks the batches
// of the steps, so that a cancellation comes before, and then the child is cancelled, or
// after, and then it sees the child. A batch that was sealed, since its parents had ended
// when one was brought back, is open again until that one has ended.
//
// The jobs are counted in slots of their own: their transaction has counted others already,
// in the order of their batches.
const childrenSQL = `
	WITH given AS MATERIALIZED (
		SELECT *
		FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bytea[], $10::text[],
				$11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::json[], $17::json[], $18::int[], $19::text[], $20::json[],
				$21::text[], $22::timestamptz[], $23::bigint[], $25::smallint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[])
			AS g (parent, call, batch, id, class, message, seq, key, sha, custom_id, account, task, provider, model, lane, request, own,
				max_attempts, on_unknown, chain, fallback, deadline, least, pack, estimated, low, expected, high)
	), open AS MATERIALIZED (
		SELECT b.*
		FROM (SELECT DISTINCT batch FROM given ORDER BY batch) g
		CROSS JOIN LATERAL (
			SELECT id, cancelled_at IS NOT NULL AS cancelled, removed_at IS NOT NULL AS removed
			FROM batches
			WHERE id = g.batch
			OFFSET 0
			FOR NO KEY UPDATE
		) b
	), link AS (
		INSERT INTO step_links (parent_id, batch_id, child_id)
		SELECT g.parent, g.batch, CASE WHEN NOT o.removed THEN g.id END
		FROM given g
		JOIN open o ON o.id = g.batch
		CROSS JOIN LATERAL (SELECT call_id FROM results WHERE job_id = g.parent OFFSET 0) r
		WHERE r.call_id = g.call
		ON CONFLICT DO NOTHING
		RETURNING child_id
	), row AS MATERIALIZED (
		SELECT g.*, CASE WHEN o.cancelled THEN 'cancelled' WHEN g.class <> '' THEN 'failed' ELSE 'queued' END AS state,
			coalesce(g.deadline, now() + make_interval(secs => $24)) AS until
		FROM given g
		JOIN open o ON o.id = g.batch
		WHERE g.id = ANY (ARRAY(SELECT child_id FROM link))
		ORDER BY g.seq
	), job AS (
		INSERT INTO jobs (id, batch_id, seq, key, content_sha256, custom_id, account, task, provider, model, lane,
			request, own, max_attempts, on_unknown, chain, fallback, least_nano, pack)
		SELECT id, batch, seq, key, sha, custom_id, account, task, provider, model, lane,
			request, own, max_attempts, on_unknown,
			CASE WHEN chain IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(chain)) END, fallback, least, pack
		FROM row
	), state AS (
		INSERT INTO job_states (job_id, batch_id, state, deadline, finished_at, error_class, error_message)
		SELECT id, batch, state, until, CASE WHEN state <> 'queued' THEN now() END,
			CASE WHEN state = 'failed' THEN class ELSE '' END, CASE WHEN state = 'failed' THEN message ELSE '' END
		FROM row
	), waits AS (
		INSERT INTO job_queue (job_id, provider, lane, model, account, batch_id, seq, pack, run_at, gen, deadline, paused)
		SELECT id, provider, lane, queue_model(provider, model), account, batch, seq, pack, now(), 1, until, false
		FROM row
		WHERE state = 'queued'
	), counted AS (
		INSERT INTO batch_counts AS c (batch_id, slot, queued, failed, cancelled, last_finished_at, first_job, last_job,
			estimated_jobs, low_nano, expected_nano, high_nano)
		SELECT batch, counter_slot() + 8, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'failed'),
			count(*) FILTER (WHERE state = 'cancelled'), max(now()) FILTER (WHERE state <> 'queued'), min(id::text)::uuid, max(id::text)::uuid,
			sum(estimated), sum(low), sum(expected), sum(high)
		FROM row
		GROUP BY batch
		ORDER BY batch
		ON CONFLICT (batch_id, slot) DO UPDATE
		SET queued = c.queued + excluded.queued, failed = c.failed + excluded.failed, cancelled = c.cancelled + excluded.cancelled,
			last_finished_at = greatest(c.last_finished_at, excluded.last_finished_at),
			first_job = least(c.first_job, excluded.first_job), last_job = greatest(c.last_job, excluded.last_job),
			estimated_jobs = c.estimated_jobs + excluded.estimated_jobs, low_nano = c.low_nano + excluded.low_nano,
			expected_nano = c.expected_nano + excluded.expected_nano, high_nano = c.high_nano + excluded.high_nano
	), reopened AS (
		UPDATE batches
		SET sealed_at = NULL
		WHERE sealed_at IS NOT NULL AND id = ANY (ARRAY(SELECT DISTINCT batch FROM row))
		RETURNING id
	), goes_on AS (
		UPDATE batch_ends SET ended_at = NULL WHERE batch_id = ANY (ARRAY(SELECT id FROM reopened))
	), told AS (
		SELECT add_webhook(e.webhook, 'job.' || r.state, r.id::text, jsonb_strip_nulls(jsonb_build_object(
			'job_id', r.id, 'batch_id', r.batch, 'custom_id', r.custom_id, 'row', r.seq, 'state', r.state, 'error', r.class, 'finished_at', now(),
			'cost_usd', '0', 'simulated_cost_usd', '0')), r.batch)
		FROM row r
		JOIN batch_ends e ON e.batch_id = r.batch AND e.per_job
		WHERE r.state <> 'queued'
	)
	SELECT count(*) FROM told`

// childrenColumns are the parameters of childrenSQL; nil: no result leads to anything.
func childrenColumns(in []jobs.Success) ([]any, error) {
	var parents, calls []uuid.UUID
	var ids []*uuid.UUID
	var batch, classes, messages, keys, accounts, tasks, names, models, lanes, unknowns, fallbacks []string
	var customIDs []*string
	var seqs, least, estimated, low, expected, high []int64
	var sums [][]byte
	var requests, own, chains []*string
	var attempts []int
	var packs []int16
	var deadlines []*time.Time
	for _, d := range in {
		if d.Child == nil {
			continue
		}
		row := jobs.New{Request: providers.Request{Task: providers.Text}, Encoded: []byte("{}")}
		var id *uuid.UUID
		if d.Child.New != nil {
			row = *d.Child.New
			id = &row.ID
		}
		request, columns := string(row.Encoded), (*string)(nil)
		if row.Own != nil {
			text := string(row.Own)
			columns = &text
		}
		var chain *string
		if row.Chain != nil {
			encoded, err := json.Marshal(row.Chain)
			if err != nil {
				return nil, fmt.Errorf("record results: the chain of a child: %w", err)
			}
			text := string(encoded)
			chain = &text
		}
		parents, calls, ids = append(parents, d.JobID), append(calls, d.Settlement.CallID), append(ids, id)
		batch, classes, messages = append(batch, d.Child.Batch), append(classes, d.Child.Class), append(messages, sanitise(d.Child.Message))
		keys, accounts, tasks = append(keys, row.Key), append(accounts, orDefault(row.Account, jobs.DefaultAccount)), append(tasks, string(row.Request.Task))
		names, models, lanes = append(names, row.Provider), append(models, row.Request.Model), append(lanes, string(orDefault(row.Lane, jobs.Default)))
		unknowns = append(unknowns, string(orDefault(row.OnUnknown, jobs.RetryUnknown)))
		fallbacks = append(fallbacks, string(orDefault(row.Fallback, providers.FallbackAuto)))
		customIDs, seqs, least = append(customIDs, orNull(row.CustomID)), append(seqs, row.Seq), append(least, max(int64(row.Least), 0))
		estimated, low = append(estimated, row.Estimate.Jobs), append(low, int64(row.Estimate.Low))
		expected, high = append(expected, int64(row.Estimate.Expected)), append(high, int64(row.Estimate.High))
		sums, requests, own, chains = append(sums, row.ContentSHA256[:]), append(requests, &request), append(own, columns), append(chains, chain)
		packs = append(packs, int16(row.Request.PackSize())) //nolint:gosec // it is at most providers.maxPack
		attempts, deadlines = append(attempts, orDefault(row.MaxAttempts, jobs.DefaultMaxAttempts)), append(deadlines, timeOrNull(row.Deadline))
	}
	if len(parents) == 0 {
		return nil, nil
	}
	return []any{
		parents, calls, batch, ids, classes, messages, seqs, keys, sums, customIDs, accounts, tasks, names, models, lanes, requests, own,
		attempts, unknowns, chains, fallbacks, deadlines, least, jobs.DefaultDeadline.Seconds(), packs,
		estimated, low, expected, high,
	}, nil
}
