package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"oneflow/billing"
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

// sizeOf is about how many bytes a success sends.
func sizeOf(d jobs.Success) int {
	n := len(d.Response.Raw) + len(d.Response.Text)
	if d.Child != nil {
		n += d.Child.Size()
	}
	return n
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
	var children []any
	if slices.ContainsFunc(in, func(d jobs.Success) bool { return d.Child != nil }) {
		if children, err = childrenColumns(in); err != nil {
			return nil, err
		}
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
		if slices.ContainsFunc(in, func(d jobs.Success) bool { return d.Cache != nil }) {
			queueKept(p, in)
		}
		return s.succeedOn.send(ctx, p)
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
		signal(s.ended)
	}
	out := make([]outcome[struct{}], len(in))
	for i, d := range in {
		if !won[d.Settlement.CallID] {
			out[i].err = jobs.ErrLeaseLost
		}
	}
	return out, nil
}

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
const answersSQL = givenAnswers + `, settled AS (
		UPDATE calls c
		SET state = b.outcome,
			cost_nano = b.cost,
			charge_nano = b.cost,
			price_ids = b.prices::text[],
			finished_at = now(),
			` + toldOfCall + `
		FROM given b
		WHERE c.id = ANY (ARRAY[b.id]) AND b.outcome = 'succeeded'
		AND c.finished_at IS NULL AND c.unit_nano IS NULL AND c.markup IS NULL
		AND c.jobs = 1
		AND NOT EXISTS (SELECT FROM charges WHERE call_id = ANY (ARRAY[b.id]))
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
		WHERE s.job_id = ANY (ARRAY[b.job]) AND s.state = 'running' AND s.lease_token = b.token
		RETURNING b.id
	), stored AS (
		` + storeResults + `
		FROM given
	)
	SELECT id FROM given WHERE 1 / ((SELECT count(*) FROM ended) = cardinality($1))::int = 1`

// givenAnswers is the CTE of what succeedSQL and answersSQL take: settlementColumns, then
// resultColumns.
const givenAnswers = `
	WITH given AS (
		SELECT *
		FROM unnest(` + settlementArrays + `,
				$16::uuid[], $17::text[], $18::text[], $19::text[], $20::bytea[], $21::bytea[], $22::text[], $23::uuid[], $24::bytea[])
			AS g (` + settlementNames + `,
				token, provider, model, text, raw, raw_sha256, finish_reason, job, vector)
	)`

// storeResults stores the results of the answers that the FROM after it names.
const storeResults = `INSERT INTO results (job_id, call_id, provider, model, text, vector, raw, raw_sha256, finish_reason, request_id,
			http_status, latency_ms, usage)
		SELECT job, id, provider, model, text, vector, raw, raw_sha256, finish_reason, request_id, coalesce(status, 200), latency, usage`

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
		names[i], models[i], texts[i], reasons[i] = r.Provider, sanitise(r.Model), sanitise(r.Text), sanitise(r.FinishReason)
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
	JOIN results r ON r.job_id = ANY (ARRAY[f.job_id]) AND r.call_id = f.call_id
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
			types, sizes, sums, urls = append(types, sanitise(a.MIME)), append(sizes, a.Size), append(sums, a.SHA256[:]), append(urls, a.URL)
		}
	}
	if len(jobIDs) == 0 {
		return nil
	}
	return []any{jobIDs, places, calls, types, sizes, sums, urls}
}

// toldOfCall sets what the provider has told of the call b.
const toldOfCall = `latency_ms = b.latency, http_status = b.status, request_id = b.request_id,
			error_kind = b.kind, error_message = b.message, error_body = b.body, usage = ` + usageKept + `,
			input_tokens = b.input, output_tokens = b.output, rate_limits = b.limits`

// usageKept is the usage of b as its call keeps it: nothing that its tokens say, which most
// answers have alone. usageOf is what it was, of the call c.
const (
	usageKept = `CASE WHEN b.usage - '{input_tokens,output_tokens}'::text[] = '{}' THEN '{}' ELSE b.usage END`
	usageOf   = `CASE WHEN c.usage = '{}' THEN jsonb_build_object('input_tokens', c.input_tokens, 'output_tokens', c.output_tokens) ELSE c.usage END`
)

// settlementNames and settlementArrays are the columns of a settlement, and their
// arrays as parameters: see settlementColumns.
const (
	settlementNames  = `id, outcome, cost, prices, latency, status, request_id, kind, message, body, usage, input, output, limits, units`
	settlementArrays = `$1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::int[], $7::text[], $8::text[],
		$9::text[], $10::bytea[], $11::jsonb[], $12::bigint[], $13::bigint[], $14::jsonb[], $15::bigint[]`
)

// maxTokens, maxAnswers and maxCost bound what one call may say of itself: beyond a million
// times what any model takes, several times the answers that any gives, and a hundred million dollars.
const (
	maxTokens  = 1 << 40
	maxAnswers = 1 << 10
	maxCost    = 100_000_000 * billing.USD
)

// bounded is an amount as a call may have it.
func bounded(n *billing.NanoUSD) *int64 {
	if n == nil {
		return nil
	}
	v := int64(min(max(*n, 0), maxCost))
	return &v
}

func settlementColumns(in []jobs.Settlement) ([]any, error) {
	n := len(in)
	ids, outcomes, costs, prices := make([]uuid.UUID, n), make([]string, n), make([]*int64, n), make([]string, n)
	latencies, statuses := make([]int64, n), make([]*int, n)
	requests, kinds, messages, bodies := make([]string, n), make([]string, n), make([]string, n), make([][]byte, n)
	usages, inputs, outputs, limits, units := make([]string, n), make([]int64, n), make([]int64, n), make([]string, n), make([]int64, n)
	for i, c := range in {
		usage, err := usageJSON(c.Usage)
		if err != nil {
			return nil, fmt.Errorf("settle calls: %w", err)
		}
		if limits[i], err = encoded(c.Limits); err != nil {
			return nil, fmt.Errorf("settle calls: rate limits: %w", err)
		}
		ids[i], outcomes[i], costs[i], prices[i] = c.CallID, string(c.Outcome), bounded(c.Cost), arrayOf(c.PriceIDs)
		latencies[i], requests[i], kinds[i], messages[i], bodies[i] = c.Latency.Milliseconds(), sanitise(c.RequestID), string(c.Kind), sanitise(c.Message), c.Body
		usages[i], inputs[i], outputs[i] = usage, min(max(c.Usage.TotalInput(), 0), maxTokens), min(max(c.Usage.TotalOutput(), 0), maxTokens)
		units[i] = min(max(c.Units, 0), maxTokens)
		if c.Status != 0 {
			statuses[i] = &c.Status
		}
	}
	return []any{ids, outcomes, costs, prices, latencies, statuses, requests, kinds, messages, bodies, usages, inputs, outputs, limits, units}, nil
}

// signal puts a value into a channel that holds one, unless there is one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sanitise makes a text that Postgres takes: NUL becomes U+2400, the symbol for
// it, and what is not UTF-8 becomes U+FFFD. The raw body is kept beside it.
func sanitise(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\u2400")
}

// arrayOf writes a list as Postgres writes an array of text: arrays of lists of several
// lengths cannot be parameters.
func arrayOf(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, text := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for _, part := range sanitise(text) {
			if part == '"' || part == '\\' {
				b.WriteByte('\\')
			}
			b.WriteRune(part)
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// usageJSON encodes usage so that jsonb takes it.
func usageJSON(u providers.Usage) (string, error) {
	u.Variant, u.Answers = sanitise(u.Variant), min(max(u.Answers, 0), maxAnswers)
	data, err := encoded(u)
	if err != nil {
		return "", fmt.Errorf("usage: %w", err)
	}
	return data, nil
}

// encoded is v as JSON; an empty object where it says nothing, as of most calls.
func encoded[T comparable](v T) (string, error) {
	if v == *new(T) {
		return "{}", nil
	}
	data, err := json.Marshal(v)
	return string(data), err
}

// packed is a vector as it is stored: 32 bits a number, the lowest byte first. Nil: there
// is none.
func packed(vector []float32) []byte {
	if vector == nil {
		return nil
	}
	data := make([]byte, 0, 4*len(vector))
	for _, v := range vector {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return data
}

// unpacked is the vector that packed has stored.
func unpacked(data []byte) []float32 {
	if data == nil {
		return nil
	}
	vector := make([]float32, len(data)/4)
	for i := range vector {
		vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return vector
}
