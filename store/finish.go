package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// Succeed implements jobs.WorkStore.
func (s *Store) Succeed(ctx context.Context, done jobs.Success) error {
	_, err := s.succeed.do(ctx, done)
	return err
}

// succeedMany settles the calls, ends the jobs and stores the results in one
// transaction. A result is stored only for a job that this very write ended.
func (s *Store) succeedMany(ctx context.Context, in []jobs.Success) ([]outcome[struct{}], error) {
	settlements := make([]jobs.Settlement, len(in))
	for i, d := range in {
		settlements[i] = d.Settlement
	}
	settle, err := settlementColumns(settlements)
	if err != nil {
		return nil, err
	}
	results, err := resultColumns(in)
	if err != nil {
		return nil, err
	}
	won := make(map[uuid.UUID]bool, len(in))
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		clear(won)
		if _, err := tx.Exec(ctx, `WITH `+settleSQL+` SELECT count(*) FROM charged`, settle...); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, finishSQL, results...)
		if err != nil {
			return err
		}
		winners, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		for _, id := range winners {
			won[id] = true
		}
		return insertArtifacts(ctx, tx, in, won)
	})
	if err != nil {
		return nil, fmt.Errorf("record results: %w", err)
	}
	out := make([]outcome[struct{}], len(in))
	for i, d := range in {
		if !won[d.Settlement.AttemptID] {
			out[i].err = jobs.ErrLeaseLost
		}
	}
	return out, nil
}

// finishSQL returns the attempts whose results stand, by this write or by an
// earlier try of it whose commit was not heard of.
const finishSQL = `
	WITH r AS (
		SELECT *
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[],
				$9::text[], $10::text[], $11::int[], $12::bigint[], $13::jsonb[])
			AS r (job_id, token, attempt_id, provider, model, text, raw, raw_sha256, finish_reason, request_id, status, latency, usage)
	), ended AS (
		UPDATE jobs j
		SET state = 'succeeded', finished_at = now(), lease_token = NULL, worker_id = NULL, ended_lease = r.token,
			error_class = '', error_message = ''
		FROM r
		WHERE j.id = r.job_id AND j.state = 'running' AND j.lease_token = r.token
		RETURNING j.id
	), stored AS (
		INSERT INTO results (job_id, attempt_id, provider, model, text, raw, raw_sha256, finish_reason, request_id,
			http_status, latency_ms, usage)
		SELECT r.job_id, r.attempt_id, r.provider, r.model, r.text, r.raw, r.raw_sha256, r.finish_reason, r.request_id,
			r.status, r.latency, r.usage
		FROM r
		JOIN ended ON ended.id = r.job_id
		RETURNING attempt_id
	)
	SELECT attempt_id FROM stored
	UNION ALL
	SELECT results.attempt_id FROM results JOIN r USING (job_id, attempt_id)`

func resultColumns(in []jobs.Success) ([]any, error) {
	n := len(in)
	jobIDs, tokens, attempts := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n)
	providers, models, texts, raws, sums := make([]string, n), make([]string, n), make([]string, n), make([][]byte, n), make([][]byte, n)
	reasons, requests, statuses, latencies, usages := make([]string, n), make([]string, n), make([]int, n), make([]int64, n), make([]string, n)
	for i, d := range in {
		usage, err := usageJSON(d.Response.Usage)
		if err != nil {
			return nil, fmt.Errorf("record results: %w", err)
		}
		r := d.Response
		jobIDs[i], tokens[i], attempts[i] = d.JobID, d.LeaseToken, d.Settlement.AttemptID
		providers[i], models[i], texts[i] = r.Provider, Sanitise(r.Model), Sanitise(r.Text)
		if r.Raw != nil {
			sum := sha256.Sum256(r.Raw)
			raws[i], sums[i] = r.Raw, sum[:]
		}
		reasons[i], requests[i], statuses[i] = Sanitise(r.FinishReason), Sanitise(r.RequestID), r.Status
		latencies[i], usages[i] = r.Latency.Milliseconds(), usage
	}
	return []any{jobIDs, tokens, attempts, providers, models, texts, raws, sums, reasons, requests, statuses, latencies, usages}, nil
}

func insertArtifacts(ctx context.Context, tx pgx.Tx, in []jobs.Success, won map[uuid.UUID]bool) error {
	var batch pgx.Batch
	for _, d := range in {
		if !won[d.Settlement.AttemptID] {
			continue
		}
		for i, a := range d.Artifacts {
			batch.Queue(`
				INSERT INTO artifacts (job_id, idx, attempt_id, mime, size, sha256, url)
				VALUES ($1, $2, $3, $4, $5, $6, $7)
				ON CONFLICT DO NOTHING`,
				d.JobID, i, d.Settlement.AttemptID, a.MIME, a.Size, a.SHA256[:], a.URL)
		}
	}
	if batch.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, &batch).Close()
}

// End implements jobs.WorkStore.
func (s *Store) End(ctx context.Context, e jobs.End) (jobs.State, error) {
	return s.ends.do(ctx, e)
}

// endMany ends claims. A job whose cancellation was asked for meanwhile is
// cancelled in place of going on or failing.
func (s *Store) endMany(ctx context.Context, in []jobs.End) ([]outcome[jobs.State], error) {
	n := len(in)
	jobIDs, tokens, states := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n)
	refunds, afters, classes, messages := make([]bool, n), make([]float64, n), make([]string, n), make([]string, n)
	for i, e := range in {
		jobIDs[i], tokens[i], states[i], refunds[i] = e.JobID, e.LeaseToken, string(e.State), e.RefundAttempt
		afters[i], classes[i], messages[i] = e.After.Seconds(), e.Class, Sanitise(e.Message)
	}
	rows, err := s.pool.Query(ctx, `
		WITH w AS (
			SELECT *
			FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bool[], $5::float8[], $6::text[], $7::text[])
				AS w (id, token, state, refund, after, class, message)
		), n AS (
			SELECT w.*,
				CASE WHEN w.state IN ('queued', 'retrying', 'failed') AND (j.cancel_requested_at IS NOT NULL
						OR EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.cancelled_at IS NOT NULL))
					THEN 'cancelled' ELSE w.state END AS becomes
			FROM w
			JOIN jobs j ON j.id = w.id
			WHERE j.state = 'running' AND j.lease_token = w.token
			FOR NO KEY UPDATE OF j
		), ended AS (
			UPDATE jobs j
			SET state = n.becomes,
				attempt = j.attempt - n.refund::int,
				not_before = CASE WHEN n.becomes = 'retrying' THEN now() + make_interval(secs => n.after) END,
				finished_at = CASE WHEN n.becomes NOT IN ('queued', 'retrying') THEN now() END,
				lease_token = NULL,
				worker_id = NULL,
				ended_lease = n.token,
				error_class = n.class,
				error_message = n.message
			FROM n
			WHERE j.id = n.id AND j.state = 'running' AND j.lease_token = n.token
			RETURNING n.token, j.state
		)
		SELECT token, state FROM ended
		UNION ALL
		SELECT w.token, j.state FROM w JOIN jobs j ON j.id = w.id AND j.ended_lease = w.token`,
		jobIDs, tokens, states, refunds, afters, classes, messages)
	if err != nil {
		return nil, fmt.Errorf("end jobs: %w", err)
	}
	ended := make(map[uuid.UUID]jobs.State, n)
	var token uuid.UUID
	var state jobs.State
	if _, err := pgx.ForEachRow(rows, []any{&token, &state}, func() error {
		ended[token] = state
		return nil
	}); err != nil {
		return nil, fmt.Errorf("end jobs: %w", err)
	}
	out := make([]outcome[jobs.State], n)
	for i, e := range in {
		if out[i].out = ended[e.LeaseToken]; out[i].out == "" {
			out[i].err = jobs.ErrLeaseLost
		}
	}
	return out, nil
}

// Sanitise makes a text that Postgres takes: NUL becomes U+2400, the symbol for
// it, and what is not UTF-8 becomes U+FFFD. The raw body is kept beside it.
func Sanitise(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\u2400")
}
