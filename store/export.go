package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/jobs"
)

var _ batches.ExportStore = (*Store)(nil)

// Export implements batches.ExportStore. Rows are read as they are written out.
func (s *Store) Export(ctx context.Context, id string, each func(batches.Record) error) error {
	where := "j.batch_id = $1"
	var arg any = id
	if jobID, err := uuid.Parse(id); err == nil {
		if _, err := s.jobProgress(ctx, jobID); err == nil {
			where, arg = "j.id = $1", jobID
		} else if !errors.Is(err, jobs.ErrNotFound) {
			return err
		}
	}
	if arg == id {
		if err := s.hasBatch(ctx, id); err != nil {
			return err
		}
	}
	rows, err := s.pool.Query(ctx, `
		SELECT j.id::text, coalesce(j.custom_id, ''),
			CASE WHEN strpos(j.request::text, '\u0000') = 0 THEN coalesce(j.request ->> 'prompt', '') ELSE '' END,
			CASE WHEN strpos(j.request::text, '\u0000') > 0 THEN j.request END, -- Postgres reads no field of JSON that has NUL
			j.own, j.task, coalesce(r.provider, j.provider), coalesce(r.model, j.model), j.provider, j.model,
			s.state, s.finished_at, s.error_class, s.error_message,
			(SELECT count(*) FROM call_jobs cj WHERE cj.job_id = j.id),
			s.cost_nano, s.simulated_nano, s.charge_nano, s.unpriced_calls > 0, j.seq,
			coalesce(r.http_status, 0), coalesce(r.request_id, ''), coalesce(r.text, ''), coalesce(r.finish_reason, ''), r.vector, r.raw, coalesce(r.latency_ms, 0), coalesce(r.usage, '{}'),
			coalesce((
				SELECT json_agg(json_build_object('url', f.url, 'mime', f.mime, 'size', f.size, 'sha256', encode(f.sha256, 'hex')) ORDER BY f.idx)
				FROM artifacts f
				WHERE f.job_id = j.id
			), '[]')
		FROM jobs j
		JOIN job_states s ON s.job_id = j.id
		LEFT JOIN results r ON r.job_id = j.id
		WHERE `+where+`
		ORDER BY j.seq, j.id`, arg)
	if err != nil {
		return err
	}
	var r batches.Record
	var artifacts, vector, whole []byte
	var finished *time.Time
	_, err = pgx.ForEachRow(rows, []any{
		&r.ID, &r.CustomID, &r.Prompt, &whole, (*[]byte)(&r.Own), &r.Task, &r.Provider, &r.Model, &r.RequestedProvider, &r.RequestedModel, &r.State, &finished, &r.ErrorClass, &r.ErrorMessage, &r.Calls,
		(*int64)(&r.Cost), (*int64)(&r.Simulated), (*int64)(&r.Charge), &r.Unpriced, &r.Row, &r.HTTPStatus, &r.RequestID, &r.Text, &r.FinishReason, &vector, &r.Raw, &r.LatencyMS, (*[]byte)(&r.Usage), &artifacts,
	}, func() error {
		r.Artifacts, r.FinishedAt, r.Vector = nil, timeOrZero(finished), unpacked(vector)
		if err := json.Unmarshal(artifacts, &r.Artifacts); err != nil {
			return err
		}
		if whole != nil {
			var request struct {
				Prompt string `json:"prompt"`
			}
			if err := json.Unmarshal(whole, &request); err != nil {
				return err
			}
			r.Prompt = request.Prompt
		}
		return each(r)
	})
	return err
}

// Holds implements batches.ExportStore. A field inside of a request that is called n, too, makes it
// say that there may be several answers.
func (s *Store) Holds(ctx context.Context, id string) (batches.Holds, error) {
	one, _ := uuid.Parse(id) // else of no job
	const several = `task = 'text' AND request::text ~ '"(n|candidateCount)"[[:space:]]*:[[:space:]]*[1-9]'`
	rows, err := s.pool.Query(ctx, `
		SELECT EXISTS (SELECT FROM jobs WHERE batch_id = $1 AND task = 'embedding') OR EXISTS (SELECT FROM jobs WHERE id = $2 AND task = 'embedding') AS vectors,
			EXISTS (SELECT FROM jobs WHERE batch_id = $1 AND `+several+`) OR EXISTS (SELECT FROM jobs WHERE id = $2 AND `+several+`) AS answers`, id, one)
	if err != nil {
		return batches.Holds{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[batches.Holds])
}

// OwnColumns implements batches.ExportStore.
func (s *Store) OwnColumns(ctx context.Context, id string) ([]batches.Column, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT c.key, CASE
			WHEN count(*) FILTER (WHERE t.type <> 'null') = 0 THEN 'string'
			WHEN bool_and(t.type IN ('number', 'null')) AND bool_and(c.value::text ~ '^(-?[0-9]{1,18}|null)$') THEN 'whole'
			WHEN count(DISTINCT t.type) FILTER (WHERE t.type <> 'null') = 1 THEN max(t.type) FILTER (WHERE t.type <> 'null')
			ELSE 'mixed' END
		FROM jobs j
		CROSS JOIN LATERAL json_each(replace(j.own::text, '\u0000', '\u2400')::json) WITH ORDINALITY AS c (key, value, place)
		CROSS JOIN LATERAL (SELECT json_typeof(c.value) AS type) t
		WHERE j.batch_id = $1 AND j.own IS NOT NULL
		GROUP BY c.key
		ORDER BY min(c.place), min(j.seq), c.key`, id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[batches.Column])
}
