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

// Succeed implements worker.WorkStore.
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
	won := make(map[uuid.UUID]bool, len(in))
	p := pipeline()
	p.Queue(succeedSQL(), append(settle, resultColumns(in)...)...).Query(func(rows pgx.Rows) error {
		winners, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		for _, id := range winners {
			won[id] = true
		}
		return err
	})
	if artifacts := artifactColumns(in); artifacts != nil {
		p.Queue(artifactSQL, artifacts...)
	}
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return nil, fmt.Errorf("record results: %w", err)
	}
	out := make([]outcome[struct{}], len(in))
	for i, d := range in {
		if !won[d.Settlement.CallID] {
			out[i].err = jobs.ErrLeaseLost
		}
	}
	return out, nil
}

// succeedSQL settles the calls, and for each call that it settled charges the
// job, and ends it if it has no result and may still get one. The lease does not
// matter for that: an answer that comes late, when somebody else has the job or
// waits for it, is paid for and as good as theirs, whose own writes change
// nothing any more. A job may be in a group twice: both calls are charged, and
// the holder's answer is the result. It returns the attempts whose results
// stand, by this write or by an earlier try of it whose commit was not heard of.
// It takes settlementColumns and resultColumns.
func succeedSQL() string {
	return `
	WITH ` + settleSQL(
		`, $15::uuid[], $16::text[], $17::text[], $18::text[], $19::bytea[], $20::bytea[], $21::text[]`,
		`, token, provider, model, text, raw, raw_sha256, finish_reason`) + `, bill AS (
		SELECT job_id, sum(charge)::bigint AS charge, sum(unpriced)::int AS unpriced, array_agg(token) AS tokens
		FROM settled
		GROUP BY job_id
	), ended AS (
		UPDATE jobs j
		SET cost_nano = j.cost_nano + b.charge,
			unpriced_calls = j.unpriced_calls + b.unpriced,
			state = CASE WHEN ` + wantsResult + ` THEN 'succeeded' ELSE j.state END,
			finished_at = CASE WHEN ` + wantsResult + ` THEN now() ELSE j.finished_at END,
			error_class = CASE WHEN ` + wantsResult + ` THEN '' ELSE j.error_class END,
			error_message = CASE WHEN ` + wantsResult + ` THEN '' ELSE j.error_message END,
			ended_lease = CASE
				WHEN j.lease_token = ANY (b.tokens) THEN j.lease_token
				WHEN ` + wantsResult + ` THEN b.tokens[1]
				ELSE j.ended_lease END,
			not_before = CASE WHEN ` + wantsResult + ` THEN NULL ELSE j.not_before END,
			worker_id = NULL,
			lease_token = NULL
		FROM bill b
		WHERE j.id = b.job_id
		RETURNING j.state, j.ended_lease
	), stored AS (
		INSERT INTO results (job_id, attempt_id, provider, model, text, raw, raw_sha256, finish_reason, request_id,
			http_status, latency_ms, usage)
		SELECT job_id, id, provider, model, text, raw, raw_sha256, finish_reason, request_id, coalesce(status, 200), latency, usage
		FROM settled
		WHERE (token IN (SELECT ended_lease FROM ended WHERE state = 'succeeded')) IS TRUE
		ON CONFLICT (job_id) DO NOTHING
		RETURNING attempt_id
	)
	SELECT attempt_id FROM stored
	UNION ALL
	SELECT r.attempt_id
	FROM unnest($1::uuid[], $22::uuid[]) AS w (attempt_id, job_id)
	JOIN results r USING (job_id, attempt_id)
	WHERE (SELECT count(*) FROM stored) < cardinality($1)`
}

// wantsResult holds for a job that has no result and may still get one: all that
// have not ended, and those of which it is not known how they have.
const wantsResult = `(j.finished_at IS NULL OR j.state = 'unknown')`

// resultColumns are what a result has beside its settlement.
func resultColumns(in []jobs.Success) []any {
	n := len(in)
	jobIDs, tokens := make([]uuid.UUID, n), make([]uuid.UUID, n)
	names, models, texts, raws, sums, reasons := make([]string, n), make([]string, n), make([]string, n), make([][]byte, n), make([][]byte, n), make([]string, n)
	for i, d := range in {
		r := d.Response
		jobIDs[i], tokens[i] = d.JobID, d.LeaseToken
		names[i], models[i], texts[i], reasons[i] = r.Provider, Sanitise(r.Model), Sanitise(r.Text), Sanitise(r.FinishReason)
		if r.Raw != nil {
			sum := sha256.Sum256(r.Raw)
			raws[i], sums[i] = r.Raw, sum[:]
		}
	}
	return []any{tokens, names, models, texts, raws, sums, reasons, jobIDs}
}

// artifactSQL stores the artifacts of results that stand.
const artifactSQL = `
	INSERT INTO artifacts (job_id, idx, attempt_id, mime, size, sha256, url)
	SELECT f.job_id, f.idx, f.attempt_id, f.mime, f.size, f.sha256, f.url
	FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::bigint[], $6::bytea[], $7::text[])
		AS f (job_id, idx, attempt_id, mime, size, sha256, url)
	JOIN results r ON r.job_id = f.job_id AND r.attempt_id = f.attempt_id
	ON CONFLICT DO NOTHING`

// artifactColumns is nil where there are none.
func artifactColumns(in []jobs.Success) []any {
	var jobIDs, attempts []uuid.UUID
	var places []int
	var types, urls []string
	var sizes []int64
	var sums [][]byte
	for _, d := range in {
		for i, a := range d.Artifacts {
			jobIDs, places, attempts = append(jobIDs, d.JobID), append(places, i), append(attempts, d.Settlement.CallID)
			types, sizes, sums, urls = append(types, Sanitise(a.MIME)), append(sizes, a.Size), append(sums, a.SHA256[:]), append(urls, a.URL)
		}
	}
	if len(jobIDs) == 0 {
		return nil
	}
	return []any{jobIDs, places, attempts, types, sizes, sums, urls}
}

// Complete implements worker.WorkStore.
func (s *Store) Complete(ctx context.Context, e jobs.Completion) (jobs.State, error) {
	return s.ends.do(ctx, e)
}

// endMany ends claims. A job whose cancellation was asked for meanwhile is
// cancelled in place of going on or failing. A call of this claim that nobody has
// settled has an unknown outcome, and then the job goes on only if it may be sent
// once more.
func (s *Store) endMany(ctx context.Context, in []jobs.Completion) ([]outcome[jobs.State], error) {
	n := len(in)
	jobIDs, tokens, states := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n)
	refunds, afters, classes, messages := make([]bool, n), make([]float64, n), make([]string, n), make([]string, n)
	for i, e := range in {
		jobIDs[i], tokens[i], states[i], refunds[i] = e.JobID, e.LeaseToken, string(e.State), e.RefundAttempt
		afters[i], classes[i], messages[i] = e.After.Seconds(), e.Class, Sanitise(e.Message)
	}
	ended := make(map[uuid.UUID]jobs.State, n)
	p := pipeline()
	p.Queue(endSQL, jobIDs, tokens, states, refunds, afters, classes, messages).Query(func(rows pgx.Rows) error {
		var token uuid.UUID
		var state jobs.State
		_, err := pgx.ForEachRow(rows, []any{&token, &state}, func() error {
			ended[token] = state
			return nil
		})
		return err
	})
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
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

const endSQL = `
	WITH w AS (
		SELECT *
		FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bool[], $5::float8[], $6::text[], $7::text[])
			AS w (id, token, state, refund, after, class, message)
	), held AS (
		SELECT w.*, j.on_unknown,
			j.cancel_requested_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.cancelled_at IS NOT NULL) AS cancelled,
			(SELECT count(*) FROM attempts a WHERE a.job_id = j.id AND a.gen >= j.retry_gen AND a.state IN ('unknown', 'failed_billed')) AS before
		FROM w
		JOIN jobs j ON j.id = w.id
		WHERE j.lease_token = w.token
		FOR NO KEY UPDATE OF j
	), lost AS (
		UPDATE attempts a
		SET state = 'unknown', cost_nano = a.reserved_nano, finished_at = now(), error_kind = 'unknown',
			error_message = 'the claim ended before the outcome of this call was known'
		FROM held
		WHERE a.job_id = held.id AND a.lease_token = held.token AND a.finished_at IS NULL
		RETURNING a.job_id, coalesce(a.cost_nano, 0) AS cost, (a.cost_nano IS NULL)::int AS unpriced
	), n AS (
		SELECT held.*, l.cost, l.unpriced, CASE
			WHEN held.cancelled AND held.state IN ('queued', 'retrying', 'failed') THEN 'cancelled'
			WHEN l.calls > 0 AND held.state IN ('queued', 'retrying')
				AND (held.on_unknown = 'fail' OR held.before + l.calls > 1) THEN 'unknown'
			ELSE held.state
			END AS becomes
		FROM held
		CROSS JOIN LATERAL (
			SELECT count(*) AS calls, coalesce(sum(cost), 0)::bigint AS cost, coalesce(sum(unpriced), 0)::int AS unpriced
			FROM lost
			WHERE lost.job_id = held.id
		) l
	), ended AS (
		UPDATE jobs j
		SET state = n.becomes,
			cost_nano = j.cost_nano + n.cost,
			unpriced_calls = j.unpriced_calls + n.unpriced,
			attempt = j.attempt - n.refund::int,
			not_before = CASE WHEN n.becomes = 'retrying' THEN now() + make_interval(secs => n.after) END,
			finished_at = CASE WHEN n.becomes NOT IN ('queued', 'retrying') THEN now() END,
			lease_token = NULL,
			worker_id = NULL,
			ended_lease = n.token,
			error_class = CASE WHEN n.becomes = 'unknown' AND n.class = '' THEN 'unknown' ELSE n.class END,
			error_message = n.message
		FROM n
		WHERE j.id = n.id AND j.lease_token = n.token
		RETURNING n.token, j.state
	)
	SELECT token, state FROM ended
	UNION ALL
	SELECT w.token, j.state FROM w JOIN jobs j ON j.id = w.id AND j.ended_lease = w.token`

// Sanitise makes a text that Postgres takes: NUL becomes U+2400, the symbol for
// it, and what is not UTF-8 becomes U+FFFD. The raw body is kept beside it.
func Sanitise(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\u2400")
}
