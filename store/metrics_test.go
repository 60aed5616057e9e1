package store_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"oneflow/jobs"
)

type metric struct {
	Provider       string    `json:"provider"`
	Model          string    `json:"model"`
	Minute         time.Time `json:"minute"`
	Requests       int64     `json:"requests"`
	Succeeded      int64     `json:"succeeded"`
	FailedUnbilled int64     `json:"failed_unbilled"`
	FailedBilled   int64     `json:"failed_billed"`
	Unknown        int64     `json:"unknown"`
	RateLimited    int64     `json:"rate_limited"`
	InputTokens    int64     `json:"input_tokens"`
	OutputTokens   int64     `json:"output_tokens"`
	CostNano       int64     `json:"cost_nano"`
	Unpriced       int64     `json:"unpriced"`
	LatencySum     int64     `json:"latency_ms_sum"`
	LatencyMax     int64     `json:"latency_ms_max"`
	Timed          int64     `json:"timed"`
}

func (w *database) metrics(t *testing.T) []metric {
	t.Helper()
	return list[metric](t, w, `
		SELECT to_jsonb(m)
		FROM (
			SELECT provider, model, minute, sum(requests) AS requests, sum(succeeded) AS succeeded, sum(failed_unbilled) AS failed_unbilled,
				sum(failed_billed) AS failed_billed, sum(unknown) AS unknown, sum(rate_limited) AS rate_limited,
				sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_nano) AS cost_nano, sum(unpriced) AS unpriced,
				sum(latency_ms_sum) AS latency_ms_sum, max(latency_ms_max) AS latency_ms_max, (
					SELECT sum(calls) FROM provider_latencies l WHERE (l.provider, l.model, l.minute) = (m.provider, m.model, m.minute)) AS timed
			FROM provider_metrics m
			GROUP BY provider, model, minute
			HAVING sum(requests) > 0
			ORDER BY provider, model, minute
		) m`)
}

func list[T any](t *testing.T, w *database, sql string) []T {
	t.Helper()
	rows, err := w.sql.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var data []byte
		if err := rows.Scan(&data); err != nil {
			t.Fatal(err)
		}
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// computed is the same as the roll-up, from the ledger, in Go.
func (w *database) computed(t *testing.T) []metric {
	t.Helper()
	type call struct {
		Provider   string    `json:"provider"`
		Model      string    `json:"model"`
		State      string    `json:"state"`
		FinishedAt time.Time `json:"finished_at"`
		Latency    *int64    `json:"latency_ms"`
		Kind       string    `json:"error_kind"`
		Cost       *int64    `json:"cost_nano"`
		In         int64     `json:"input_tokens"`
		Out        int64     `json:"output_tokens"`
	}
	type key struct {
		provider, model string
		minute          time.Time
	}
	sums := map[key]*metric{}
	for _, c := range list[call](t, w, `SELECT to_jsonb(a) FROM calls a WHERE state <> 'running'`) {
		k := key{c.Provider, c.Model, c.FinishedAt.UTC().Truncate(time.Minute)}
		m := sums[k]
		if m == nil {
			m = &metric{Provider: k.provider, Model: k.model, Minute: k.minute}
			sums[k] = m
		}
		m.Requests++
		*map[string]*int64{"succeeded": &m.Succeeded, "failed_unbilled": &m.FailedUnbilled, "failed_billed": &m.FailedBilled, "unknown": &m.Unknown}[c.State]++
		if c.Kind == "rate_limited" || c.Kind == "concurrency_limit" {
			m.RateLimited++
		}
		m.InputTokens, m.OutputTokens = m.InputTokens+c.In, m.OutputTokens+c.Out
		if c.Cost == nil {
			m.Unpriced++
		} else {
			m.CostNano += *c.Cost
		}
		if c.Latency != nil {
			m.Timed++
			m.LatencySum += *c.Latency
			m.LatencyMax = max(m.LatencyMax, *c.Latency)
		}
	}
	out := make([]metric, 0, len(sums))
	for _, m := range sums {
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b metric) int {
		for _, c := range []int{compare(a.Provider, b.Provider), compare(a.Model, b.Model), a.Minute.Compare(b.Minute)} {
			if c != 0 {
				return c
			}
		}
		return 0
	})
	return out
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestMetricsAreWhatTheLedgerAddsUpTo(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	j := w.running(t, nil)
	w.exec(t, `UPDATE jobs SET max_provider_calls = 100000`)
	add := func(n int, offset string) {
		t.Helper()
		w.exec(t, `
			INSERT INTO calls (id, worker_id, provider, model, reserved_nano, deadline, input_tokens)
			SELECT gen_random_uuid(), $1, (ARRAY['a', 'b'])[1 + i % 2], (ARRAY['m', 'n', 'o'])[1 + i % 3], 1000, now(), i
			FROM generate_series(1, $2::int) i`, j.ID, n)
		w.exec(t, `
			UPDATE calls c
			SET state = s.state,
				cost_nano = CASE WHEN s.state = 'failed_unbilled' THEN 0 WHEN i % 7 = 0 THEN NULL ELSE i * 3 END,
				finished_at = now() - $1::interval - random() * interval '2 minutes',
				latency_ms = CASE WHEN s.state <> 'unknown' AND i % 11 > 0 THEN i * 37 % 1000 END,
				error_kind = CASE WHEN s.state = 'failed_unbilled' THEN (ARRAY['rate_limited', 'concurrency_limit', 'overloaded'])[1 + i % 3] ELSE '' END,
				output_tokens = 2 * i
			FROM (SELECT id, input_tokens AS i FROM calls) n,
				LATERAL (SELECT (ARRAY['succeeded', 'failed_unbilled', 'failed_billed', 'unknown', 'succeeded'])[1 + i % 5] AS state) s
			WHERE c.id = n.id AND c.state = 'running' AND provider IN ('a', 'b')`, offset)
	}
	check := func(what string) {
		t.Helper()
		if diff := cmp.Diff(w.computed(t), w.metrics(t), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-ledger +metrics):\n%s", what, diff)
		}
	}
	check("nothing")
	w.sent(t, j, nano(5)) // under way: counts nowhere
	add(300, "1 hour")
	check("an hour ago")
	first := w.metrics(t)
	if diff := cmp.Diff(first, w.metrics(t)); diff != "" {
		t.Errorf("again (-first +second):\n%s", diff)
	}
	add(300, "20 minutes") // after nobody has rolled up for a while
	check("20 minutes ago")
	add(200, "-1 minutes") // so that it is now, whatever the seconds
	check("now")
	add(100, "-2 minutes")
	check("and more in the same minutes")
	unknown := list[uuid.UUID](t, w, `SELECT to_jsonb(id) FROM calls WHERE state = 'unknown' AND finished_at < now() - interval '50 minutes' LIMIT 20`)
	for _, id := range unknown {
		if err := w.SettleCall(t.Context(), jobs.Settlement{CallID: id, Outcome: jobs.CallFailedUnbilled, Cost: nano(0)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(unknown) == 0 {
		t.Error("no call of an hour ago is unknown: this shows nothing")
	}
	check("unknown calls of an hour ago turned out to be free")
	if got := w.metrics(t); len(got) < 15 {
		t.Errorf("only %d rows: this shows little", len(got))
	}
}
