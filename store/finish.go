package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"oneflow/jobs"
	"oneflow/providers"
)

// Succeed implements worker.WorkStore.
func (s *Store) Succeed(ctx context.Context, done jobs.Success) error {
	if done.Settlement.Packed {
		return again(ctx, func() error { return s.succeedPack(ctx, done) })
	}
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
	children, err := childrenColumns(in)
	if err != nil {
		return nil, err
	}
	columns := slices.Concat(settle, resultColumns(in))
	won := make(map[uuid.UUID]bool, len(in))
	write := func(sql string) error {
		p := pipeline()
		p.Queue(sql, columns...).Query(func(rows pgx.Rows) error {
			winners, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
			for _, id := range winners {
				won[id] = true
			}
			return err
		})
		if artifacts := artifactColumns(in); artifacts != nil {
			p.Queue(artifactSQL, artifacts...)
		}
		if children != nil {
			p.Queue(childrenSQL, children...)
		}
		queueKept(p, in)
		return s.pool.SendBatch(ctx, p).Close()
	}
	// Where there are budgets, or a group was off just now, the next is, too.
	now, plain := time.Now(), false
	if n := now.UnixNano(); n >= s.budgeted.Load() && n >= s.exact.Load() {
		err = write(answersSQL)
		if plain = !isOff(err); !plain {
			s.exact.Store(now.Add(stayExact).UnixNano())
			clear(won)
		}
	}
	if !plain {
		err = write(succeedSQL)
	}
	if err != nil {
		return nil, fmt.Errorf("record results: %w", err)
	}
	if len(won) > 0 {
		poke(s.ended)
	}
	out := make([]outcome[struct{}], len(in))
	for i, d := range in {
		if !won[d.Settlement.CallID] {
			out[i].err = jobs.ErrLeaseLost
		}
	}
	return out, nil
}

// succeedSQL settles the calls, and ends the job that each answers if it has no
// result and may still get one. The lease does not matter for that: an answer that
// comes late, when somebody else has the job or waits for it, is paid for and as
// good as theirs, whose own writes change nothing any more. A job may be in a group
// twice: both calls are charged, and the holder's answer is the result. It returns
// the calls whose results stand, by this write or by an earlier try of it whose
// commit was not heard of. It takes settlementColumns and resultColumns.
const succeedSQL = `
	WITH given AS (
		SELECT *
		FROM unnest(` + settlementArrays + `,
				$16::uuid[], $17::text[], $18::text[], $19::text[], $20::bytea[], $21::bytea[], $22::text[], $23::uuid[], $24::bytea[])
			AS g (` + settlementNames + `,
				token, provider, model, text, raw, raw_sha256, finish_reason, job, vector)
	), ` + settleSQL + `, ended AS (
		UPDATE job_states s
		SET ` + charged + `,
			state = CASE WHEN ` + wantsResult + ` THEN 'succeeded' ELSE s.state END,
			finished_at = CASE WHEN ` + wantsResult + ` THEN now() ELSE s.finished_at END,
			error_class = CASE WHEN ` + wantsResult + ` THEN '' ELSE s.error_class END,
			error_message = CASE WHEN ` + wantsResult + ` THEN '' ELSE s.error_message END,
			ended_lease = CASE
				WHEN s.lease_token = ANY (b.tokens) THEN s.lease_token
				WHEN ` + wantsResult + ` THEN b.tokens[1]
				ELSE s.ended_lease END,
			not_before = CASE WHEN ` + wantsResult + ` THEN NULL ELSE s.not_before END,
			wait_reason = CASE WHEN ` + wantsResult + ` THEN '' ELSE s.wait_reason END,
			worker_id = CASE WHEN ` + wantsResult + ` THEN NULL ELSE s.worker_id END,
			lease_token = CASE WHEN ` + wantsResult + ` THEN NULL ELSE s.lease_token END
		FROM bill b
		WHERE s.job_id = b.job_id
		RETURNING s.state, s.ended_lease
	), stored AS (
		INSERT INTO results (job_id, call_id, provider, model, text, vector, raw, raw_sha256, finish_reason, request_id,
			http_status, latency_ms, usage)
		SELECT job, id, provider, model, text, vector, raw, raw_sha256, finish_reason, request_id, coalesce(status, 200), latency, usage
		FROM settled
		WHERE (token IN (SELECT ended_lease FROM ended WHERE state = 'succeeded')) IS TRUE
		ON CONFLICT (job_id) DO NOTHING
		RETURNING call_id
	)
	SELECT call_id FROM stored
	UNION ALL
	SELECT r.call_id
	FROM unnest($1::uuid[], $23::uuid[]) AS w (call_id, job_id)
	JOIN results r USING (job_id, call_id)
	WHERE (SELECT count(*) FROM stored) < cardinality($1)`

// stayExact is the time for which answers are not tried to be written by answersSQL after it
// has left a group to succeedSQL.
const stayExact = 100 * time.Millisecond

// isOff reports whether answersSQL has found something that it leaves to succeedSQL.
func isOff(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == pgDivisionByZero || e.ConstraintName == resultsKey)
}

// answersSQL does what succeedSQL does where each call is under way, serves one job, which
// is held by its claim, and takes from no budget or rate card, as of nearly all groups: then
// nothing has to be locked to be read, shared out or compared. Where one of them is off, it fails, in
// a division by zero, and nothing has happened. It takes succeedSQL's parameters. A call is
// under way that has not finished: to ask for its state would let a plan read the partial
// index of all that are, for each.
const answersSQL = `
	WITH given AS (
		SELECT *
		FROM unnest(` + settlementArrays + `,
				$16::uuid[], $17::text[], $18::text[], $19::text[], $20::bytea[], $21::bytea[], $22::text[], $23::uuid[], $24::bytea[])
			AS g (` + settlementNames + `,
				token, provider, model, text, raw, raw_sha256, finish_reason, job, vector)
	), settled AS (
		UPDATE calls c
		SET state = b.outcome,
			cost_nano = b.cost,
			charge_nano = b.cost,
			price_ids = b.prices::text[],
			finished_at = now(),
			` + toldOfCall + `
		FROM given b
		WHERE c.id = b.id AND b.outcome = 'succeeded'
		AND c.finished_at IS NULL AND c.unit_nano IS NULL AND c.markup IS NULL
		AND c.jobs = 1
		AND NOT EXISTS (SELECT FROM charges WHERE call_id = b.id)
		RETURNING b.id, b.job, b.token, CASE WHEN c.simulated THEN 0 ELSE coalesce(b.cost, 0) END AS charge,
			CASE WHEN c.simulated THEN coalesce(b.cost, 0) ELSE 0 END AS simulated, (b.cost IS NULL)::int AS unpriced
	), ended AS (
		UPDATE job_states s
		SET cost_nano = saturated(s.cost_nano + b.charge),
			simulated_nano = saturated(s.simulated_nano + b.simulated),
			charge_nano = saturated(s.charge_nano + b.charge),
			unpriced_calls = s.unpriced_calls + b.unpriced,
			state = 'succeeded',
			finished_at = now(),
			error_class = '',
			error_message = '',
			ended_lease = b.token,
			not_before = NULL,
			wait_reason = '',
			worker_id = NULL,
			lease_token = NULL
		FROM settled b
		WHERE s.job_id = b.job AND s.state = 'running' AND s.lease_token = b.token
		RETURNING b.id
	), stored AS (
		INSERT INTO results (job_id, call_id, provider, model, text, vector, raw, raw_sha256, finish_reason, request_id,
			http_status, latency_ms, usage)
		SELECT job, id, provider, model, text, vector, raw, raw_sha256, finish_reason, request_id, coalesce(status, 200), latency, usage
		FROM given
	)
	SELECT id FROM given WHERE 1 / ((SELECT count(*) FROM ended) = cardinality($1))::int = 1`

// wantsResult holds for a job of the bill that is answered, has no result and may
// still get one: all that have not ended, and those of which it is not known how
// they have.
const wantsResult = `(b.tokens IS NOT NULL AND (s.finished_at IS NULL OR s.state = 'unknown'))`

// resultColumns are the columns of a result beside its settlement.
func resultColumns(in []jobs.Success) []any {
	n := len(in)
	jobIDs, tokens := make([]uuid.UUID, n), make([]uuid.UUID, n)
	names, models, texts, raws, sums, reasons := make([]string, n), make([]string, n), make([]string, n), make([][]byte, n), make([][]byte, n), make([]string, n)
	vectors := make([][]byte, n)
	for i, d := range in {
		r := d.Response
		vectors[i] = packed(r.Vector)
		jobIDs[i], tokens[i] = d.JobID, d.LeaseToken
		names[i], models[i], texts[i], reasons[i] = r.Provider, Sanitise(r.Model), Sanitise(r.Text), Sanitise(r.FinishReason)
		if r.Raw != nil {
			sum := sha256.Sum256(r.Raw)
			raws[i], sums[i] = r.Raw, sum[:]
			if len(d.Artifacts) > 0 {
				raws[i] = providers.WithoutMedia(r.Raw)
			}
		}
	}
	return []any{tokens, names, models, texts, raws, sums, reasons, jobIDs, vectors}
}

// artifactSQL stores the artifacts of results that stand.
const artifactSQL = `
	INSERT INTO artifacts (job_id, idx, call_id, mime, size, sha256, url)
	SELECT f.job_id, f.idx, f.call_id, f.mime, f.size, f.sha256, f.url
	FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::bigint[], $6::bytea[], $7::text[])
		AS f (job_id, idx, call_id, mime, size, sha256, url)
	JOIN results r ON r.job_id = f.job_id AND r.call_id = f.call_id
	ON CONFLICT DO NOTHING`

// artifactColumns is nil where there are none.
func artifactColumns(in []jobs.Success) []any {
	var jobIDs, calls []uuid.UUID
	var places []int
	var types, urls []string
	var sizes []int64
	var sums [][]byte
	for _, d := range in {
		for i, a := range d.Artifacts {
			jobIDs, places, calls = append(jobIDs, d.JobID), append(places, i), append(calls, d.Settlement.CallID)
			types, sizes, sums, urls = append(types, Sanitise(a.MIME)), append(sizes, a.Size), append(sums, a.SHA256[:]), append(urls, a.URL)
		}
	}
	if len(jobIDs) == 0 {
		return nil
	}
	return []any{jobIDs, places, calls, types, sizes, sums, urls}
}

// Complete implements worker.WorkStore.
func (s *Store) Complete(ctx context.Context, e jobs.Completion) (jobs.State, error) {
	return s.ends.do(ctx, e)
}

// completeMany ends claims. A job whose cancellation was asked for meanwhile is
// cancelled in place of going on or failing. A call of this claim that nobody has
// settled has an unknown outcome, and then the job goes on only if it may be sent
// once more.
func (s *Store) completeMany(ctx context.Context, in []jobs.Completion) ([]outcome[jobs.State], error) {
	n := len(in)
	jobIDs, tokens, states := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n)
	refunds, afters, classes, messages, waits := make([]bool, n), make([]float64, n), make([]string, n), make([]string, n), make([]string, n)
	budgets, ats, poor := make([]int64, n), make([]time.Time, n), false
	for i, e := range in {
		jobIDs[i], tokens[i], states[i], refunds[i] = e.JobID, e.LeaseToken, string(e.State), e.RefundAttempt
		afters[i], classes[i], messages[i], waits[i] = e.After.Seconds(), e.Class, Sanitise(e.Message), e.WaitReason
		budgets[i], ats[i], poor = e.Budget, e.BudgetAt, poor || e.Budget != 0
	}
	ended := make(map[uuid.UUID]jobs.State, n)
	p := pipeline()
	if poor {
		// Whoever raises a budget wakes what waits for it. Either they come after this
		// commit and find the job, or endSQL finds that the budget was changed. Jobs are
		// locked before budgets, as where calls begin.
		// Whoever sets a budget has locked the table of calls before, which endSQL writes to:
		// so this waits for them before it has a lock that they need. (LOCK TABLE wants BEGIN.)
		p.Queue(`UPDATE calls SET id = id WHERE false`)
		p.Queue(`SELECT FROM job_states WHERE job_id = ANY ($1) ORDER BY job_id FOR NO KEY UPDATE`, jobIDs)
		p.Queue(`SELECT FROM budgets WHERE id = ANY ($1) ORDER BY id FOR SHARE`, budgets)
	}
	p.Queue(endSQL, jobIDs, tokens, states, refunds, afters, classes, messages, waits, budgets, ats).Query(func(rows pgx.Rows) error {
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
		if ended[e.LeaseToken].Finished() {
			poke(s.ended)
		}
		if out[i].out = ended[e.LeaseToken]; out[i].out == "" {
			out[i].err = jobs.ErrLeaseLost
		}
	}
	return out, nil
}

const endSQL = `
	WITH w AS (
		SELECT *
		FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bool[], $5::float8[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::timestamptz[])
			AS w (id, token, state, refund, after, class, message, wait_reason, budget, budget_at)
	), held AS (
		SELECT w.*, j.on_unknown,
			w.budget <> 0 AND NOT EXISTS (SELECT FROM budgets m WHERE m.id = w.budget AND m.changed_at = w.budget_at) AS raised,
			s.cancel_requested_at IS NOT NULL
				OR EXISTS (SELECT FROM batches b WHERE b.id = s.batch_id AND b.cancelled_at IS NOT NULL) AS cancelled,
			` + unknownCalls + ` AS before
		FROM w
		JOIN job_states s ON s.job_id = w.id
		JOIN jobs j ON j.id = w.id
		WHERE s.lease_token = w.token
		FOR NO KEY UPDATE OF s
	), given AS (
		` + lostCalls + `
		FROM (SELECT 'unknown' AS kind, 'the claim ended before the outcome of this call was known' AS message) loss
		CROSS JOIN held
		CROSS JOIN LATERAL (SELECT * FROM call_jobs WHERE job_id = held.id AND lease_token = held.token OFFSET 0) cj
		CROSS JOIN LATERAL (SELECT * FROM calls WHERE id = cj.call_id AND finished_at IS NULL OFFSET 0) c
	), ` + settleSQL + `, n AS (
		SELECT held.*, b.*, CASE
			WHEN held.cancelled AND held.state IN ('queued', 'retrying', 'failed') THEN 'cancelled'
			WHEN b.calls > 0 AND held.state IN ('queued', 'retrying')
				AND (held.on_unknown = 'fail' OR held.before + b.calls > 1) THEN 'unknown'
			ELSE held.state
			END AS becomes
		FROM held
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(charge), 0) AS charge, coalesce(sum(simulated), 0) AS simulated,
				coalesce(sum(due), 0) AS due, coalesce(sum(unpriced), 0)::int AS unpriced
			FROM bill
			WHERE bill.job_id = held.id
		) b
	), ended AS (
		UPDATE job_states s
		SET ` + charged + `,
			state = b.becomes,
			gen = s.gen + (b.raised AND b.becomes = 'queued')::int, -- its delivery comes too late: it is dispatched anew
			attempt = s.attempt - b.refund::int,
			not_before = CASE
				WHEN b.becomes = 'retrying' OR b.becomes = 'queued' AND b.after > 0 AND NOT b.raised THEN now() + make_interval(secs => b.after) END,
			wait_reason = CASE WHEN b.becomes = 'queued' AND NOT b.raised THEN b.wait_reason ELSE '' END,
			finished_at = CASE WHEN b.becomes NOT IN ('queued', 'retrying') THEN now() END,
			lease_token = NULL,
			worker_id = NULL,
			ended_lease = b.token,
			error_class = CASE
				WHEN b.becomes = 'queued' AND b.wait_reason <> '' THEN s.error_class
				WHEN b.becomes = 'unknown' AND b.class = '' THEN 'unknown'
				ELSE b.class END,
			error_message = CASE WHEN b.becomes = 'queued' AND b.wait_reason <> '' THEN s.error_message ELSE b.message END
		FROM n b
		WHERE s.job_id = b.id AND s.lease_token = b.token
		RETURNING b.token, s.state
	), others AS (
		` + chargeSQL + ` AND b.job_id NOT IN (SELECT id FROM held)
	)
	SELECT token, state FROM ended
	UNION ALL
	SELECT w.token, s.state FROM w JOIN job_states s ON s.job_id = w.id AND s.ended_lease = w.token`
