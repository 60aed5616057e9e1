package metrics_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/metrics"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// house is a fleet of one worker.
type house struct {
	dsn    string
	db     *store.Store
	worker uuid.UUID
	tasks  asynq.RedisConnOpt
}

func open(t *testing.T) *house {
	t.Helper()
	dsn := storetest.Database(t)
	db, err := store.Open(t.Context(), dsn)
	must(t, err)
	t.Cleanup(db.Close)
	tasks, err := asynq.ParseRedisURI(storetest.Redis(t))
	must(t, err)
	h := &house{dsn, db, jobs.NewID(), tasks}
	must(t, db.Register(t.Context(), worker.Presence{ID: h.worker, Host: "alpha", PID: 7, Providers: []worker.Served{{Name: "mock", Kind: "mock", Limits: providers.Limits{RPM: 60}, Concurrency: 3}}}))
	return h
}

// accept accepts n jobs, which were due 7 s ago.
func (h *house) accept(t *testing.T, n int, model string) []jobs.Delivery {
	t.Helper()
	rows, keys := make([]jobs.New, n), jobs.NewKeys()
	for i := range rows {
		rows[i] = jobs.New{
			ID: jobs.NewID(), Seq: int64(i + 1), Provider: "mock", Lane: jobs.Bulk,
			Request: providers.Request{Task: providers.Text, Model: model, Prompt: "secret"},
		}
		must(t, keys.Assign(&rows[i]))
	}
	acc, err := h.db.AcceptJobs(t.Context(), "", rows, true)
	must(t, err)
	_, err = storetest.Pool(t, h.dsn).Exec(t.Context(), `UPDATE job_queue SET run_at = run_at - interval '7 seconds'`)
	must(t, err)
	return acc.Deliveries
}

// run runs a job with one call to its end.
func (h *house) run(t *testing.T, d jobs.Delivery, state jobs.State) {
	t.Helper()
	got, err := h.db.Claim(t.Context(), h.worker, jobs.Claim{ID: d.ID, Gen: d.Gen, LeaseToken: jobs.NewID()})
	must(t, err)
	j, cost := got.Job, 2_000_000*billing.NanoUSD(1)
	c := jobs.Call{CallID: jobs.NewID(), JobID: j.ID, LeaseToken: j.LeaseToken, Provider: "mock", Model: j.Request.Model, Reserved: &cost, Timeout: time.Minute}
	must(t, h.db.BeginCall(t.Context(), h.worker, c))
	s := jobs.Settlement{
		CallID: c.CallID, Outcome: jobs.CallSucceeded, Cost: &cost, Status: 200, Latency: 250 * time.Millisecond,
		Usage: providers.Usage{InputTokens: 11, OutputTokens: 100},
	}
	if state == jobs.Succeeded {
		must(t, h.db.Succeed(t.Context(), jobs.Success{JobID: j.ID, LeaseToken: j.LeaseToken, Settlement: s, Response: providers.Response{Provider: "mock", Model: j.Request.Model, Text: "x", Raw: []byte("x"), Status: 200}}))
		return
	}
	none := billing.NanoUSD(0)
	s.Outcome, s.Cost, s.Kind, s.Status = jobs.CallFailedUnbilled, &none, providers.RateLimited, http.StatusTooManyRequests
	must(t, h.db.SettleCall(t.Context(), s))
	_, err = h.db.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: state, Class: "rate_limited", Message: "no"})
	must(t, err)
}

// told holds what /metrics says, by line without the value.
type told map[string]float64

func tell(t *testing.T, cfg metrics.Config) told {
	t.Helper()
	cfg.Log = zerolog.New(zerolog.NewTestWriter(t))
	m, err := metrics.New(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return scrape(t, m)
}

func scrape(t *testing.T, m http.Handler) told {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	all := told{}
	lines := bufio.NewScanner(w.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "} ")
		if name += "}"; !ok {
			name, value, ok = strings.Cut(lines.Text(), " ")
		}
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
			all[name] = n
		}
	}
	return all
}

func (all told) hold(t *testing.T, want map[string]float64) {
	t.Helper()
	for name, n := range want {
		got, ok := all[name]
		if !ok || got != n {
			near := []string{}
			for line := range all {
				if strings.HasPrefix(line, name[:strings.IndexAny(name+"{", "{")]) {
					near = append(near, line)
				}
			}
			t.Errorf("%s is %v (%v), not %v; there is %v", name, got, ok, n, near)
		}
	}
}

func pressure(context.Context) (map[string]fleet.Pressure, error) {
	return map[string]fleet.Pressure{"mock": {Wait: 1.5, Used: map[string]float64{"rpm": 0.5}, Limits: map[string]float64{"rpm": 60}}}, nil
}

func TestTheFleetIsTold(t *testing.T) {
	t.Parallel()
	h := open(t)
	d := h.accept(t, 7, "mock-text")
	for i, state := range []jobs.State{jobs.Succeeded, jobs.Succeeded, jobs.Succeeded, jobs.Failed} {
		h.run(t, d[i], state)
	}
	_, err := h.db.Claim(t.Context(), h.worker, jobs.Claim{ID: d[4].ID, Gen: d[4].Gen, LeaseToken: jobs.NewID()})
	must(t, err)
	must(t, h.db.StopJobs(t.Context(), d[6].ID.String()))
	must(t, h.db.RecordActions(t.Context(), map[string]int64{"job_expired": 2}))
	must(t, h.db.RecordActions(t.Context(), map[string]int64{"job_expired": 3, "job_taken_over": 1}))
	waits := make([]int64, len(fleet.WaitBounds())+1)
	waits[fleet.WaitBucket(0)], waits[fleet.WaitBucket(7*time.Second)] = 3, 1
	for range 2 {
		must(t, h.db.AddLimiterWaits(t.Context(), map[string]fleet.LimiterWaits{"mock": {Calls: waits, Seconds: 7.5}}))
	}
	_, err = billing.NewMoney(h.db, "ada").Set(t.Context(), billing.Budget{Scope: billing.Scope{Provider: "mock"}, Period: billing.Day, Limit: 10 * billing.USD, Blocks: true})
	must(t, err)
	_, _, err = h.db.RaiseAlerts(t.Context(), []string{jobs.AlertBudget}, []jobs.Alert{{Kind: jobs.AlertBudget, Subject: "x", Text: "y"}}, "")
	must(t, err)
	client := asynq.NewClient(h.tasks)
	t.Cleanup(func() { must(t, client.Close()) })
	_, err = client.EnqueueContext(t.Context(), asynq.NewTask("text", nil), asynq.Queue("mock.bulk"))
	must(t, err)

	all := tell(t, metrics.Config{Store: h.db, Redis: h.tasks, Pressure: pressure, Waiting: func() int { return 3 }})
	all.hold(t, map[string]float64{
		`oneflow_up{service="postgres"}`: 1, `oneflow_up{service="redis"}`: 1,
		`oneflow_jobs{lane="bulk",provider="mock",state="queued"}`:                         1,
		`oneflow_jobs_ended_total{lane="bulk",provider="mock",state="cancelled"}`:          1,
		`oneflow_jobs{lane="bulk",provider="mock",state="running"}`:                        1,
		`oneflow_jobs_ended_total{lane="bulk",provider="mock",state="succeeded"}`:          3,
		`oneflow_jobs_ended_total{lane="bulk",provider="mock",state="failed"}`:             1,
		`oneflow_job_queue_wait_seconds_count{lane="bulk",provider="mock"}`:                4,
		`oneflow_job_queue_wait_seconds_bucket{lane="bulk",provider="mock",le="5"}`:        0,
		`oneflow_job_queue_wait_seconds_bucket{lane="bulk",provider="mock",le="60"}`:       4,
		`oneflow_calls_total{model="mock-text",outcome="succeeded",provider="mock"}`:       3,
		`oneflow_calls_total{model="mock-text",outcome="failed_unbilled",provider="mock"}`: 1,
		`oneflow_calls_rate_limited_total{model="mock-text",provider="mock"}`:              1,
		`oneflow_calls_by_reason_total{provider="mock",reason="first"}`:                    4,
		`oneflow_call_duration_seconds_count{provider="mock"}`:                             4,
		`oneflow_call_duration_seconds_sum{provider="mock"}`:                               1,
		`oneflow_call_duration_seconds_bucket{provider="mock",le="0.127"}`:                 0,
		`oneflow_call_duration_seconds_bucket{provider="mock",le="0.255"}`:                 4,
		`oneflow_tokens_total{direction="output",model="mock-text",provider="mock"}`:       400,
		`oneflow_cost_usd_total{model="mock-text",provider="mock",simulated="false"}`:      0.006,
		`oneflow_provider_status{provider="mock",status="available"}`:                      1,
		`oneflow_breaker_state{provider="mock",state="open"}`:                              0,
		`oneflow_limit_used_ratio{dimension="rpm",provider="mock"}`:                        0.5,
		`oneflow_limiter_wait_seconds{provider="mock"}`:                                    1.5,
		`oneflow_limiter_waited_seconds_count{provider="mock"}`:                            8,
		`oneflow_limiter_waited_seconds_sum{provider="mock"}`:                              15,
		`oneflow_limiter_waited_seconds_bucket{provider="mock",le="0.1"}`:                  6,
		`oneflow_limiter_waited_seconds_bucket{provider="mock",le="5"}`:                    6,
		`oneflow_limiter_waited_seconds_bucket{provider="mock",le="10"}`:                   8,
		`oneflow_workers{state="alive"}`:                                                   1,
		`oneflow_reconciler_actions_total{action="job_expired"}`:                           5,
		`oneflow_alerts{kind="budget"}`:                                                    1,
		`oneflow_alerts{kind="spending"}`:                                                  0,
		`oneflow_queue_tasks{queue="mock.bulk",state="pending"}`:                           1,
		`oneflow_frontdoor_waiting_calls`:                                                  3,
	})
	for name := range all {
		if strings.Contains(name, "secret") {
			t.Errorf("a prompt is told: %s", name)
		}
	}

	// Dashboards and rules name what is there.
	names := map[string]bool{}
	for line := range all {
		name := line[:strings.IndexAny(line+"{", "{")]
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, end)
		}
		names[name] = true
	}
	for _, file := range []string{"../deploy/prometheus/rules.yml", "../deploy/grafana/oneflow.json"} {
		text, err := os.ReadFile(file)
		must(t, err)
		named := regexp.MustCompile(`\boneflow_[a-z0-9_]+`).FindAllString(string(text), -1)
		if len(named) < 15 {
			t.Errorf("%s names only %v", file, named)
		}
		for _, name := range named {
			if !names[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s names %s, and /metrics has no such metric", file, name)
			}
		}
	}
}

func TestCountsOfEndsStayRightWhenTheyAreSummedUp(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, d := range h.accept(t, 3, "m") {
		h.run(t, d, jobs.Succeeded)
	}
	pool := storetest.Pool(t, h.dsn)
	_, err := pool.Exec(t.Context(), `INSERT INTO job_ends SELECT date_trunc('minute', now()), 'mock', 'bulk', 'succeeded', n % 3, 1, 0.5 FROM generate_series(1, 600) n`)
	must(t, err)
	before, err := h.db.EndedJobs(t.Context())
	must(t, err)
	for range 2 {
		must(t, h.db.CompactEnds(t.Context()))
	}
	after, err := h.db.EndedJobs(t.Context())
	must(t, err)
	var rows int
	must(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM job_ends`).Scan(&rows))
	if len(before) != 1 || len(after) != 1 || before[0].Jobs != 603 || after[0].Jobs != 603 || !slices.Equal(before[0].Waits, after[0].Waits) || rows > 8 {
		t.Errorf("before %+v, after %+v in %d rows", before, after, rows)
	}
}

func TestModelsBeyondAHundredShareOneName(t *testing.T) {
	t.Parallel()
	h := open(t)
	many := &manyModels{Store: h.db, n: 250}
	m, err := metrics.New(metrics.Config{Store: many, Redis: h.tasks, Log: zerolog.Nop()})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	all := scrape(t, m)
	n := 0
	for name := range all {
		if strings.HasPrefix(name, "oneflow_calls_unpriced_total") {
			n++
		}
	}
	if n != 101 {
		t.Errorf("%d models are told", n)
	}
	// The busiest have names; the others are together.
	all.hold(t, map[string]float64{
		`oneflow_calls_total{model="m249",outcome="succeeded",provider="p"}`:  250 * 2,
		`oneflow_calls_total{model="other",outcome="succeeded",provider="p"}`: 150 * 151,
	})
}

// manyModels has calls of many models, of m0 the fewest; half of them ended long ago.
type manyModels struct {
	*store.Store
	n int
}

func (s *manyModels) CallTotals(context.Context, time.Time, time.Time) (fleet.CallTotals, error) {
	all := fleet.NewCallTotals()
	for i := range s.n {
		all.Models[fleet.ModelKey{Provider: "p", Model: "m" + strconv.Itoa(i)}] = fleet.ModelTotals{Succeeded: int64(i + 1)}
	}
	return all, nil
}

// broken has no Postgres.
type broken struct{ metrics.Store }

func (broken) Fleet(context.Context) (fleet.Snapshot, error) {
	return fleet.Snapshot{}, errors.New("connection refused")
}

func TestWithoutPostgresOrRedisTheRestIsTold(t *testing.T) {
	t.Parallel()
	h := open(t)
	all := tell(t, metrics.Config{Store: broken{}, Redis: h.tasks, Pressure: pressure})
	all.hold(t, map[string]float64{`oneflow_up{service="postgres"}`: 0, `oneflow_up{service="redis"}`: 1, `oneflow_limiter_wait_seconds{provider="mock"}`: 1.5})
	all = tell(t, metrics.Config{Store: h.db, Redis: asynq.RedisClientOpt{Addr: "127.0.0.1:1", DialTimeout: time.Second}, Pressure: pressure})
	all.hold(t, map[string]float64{`oneflow_up{service="postgres"}`: 1, `oneflow_up{service="redis"}`: 0, `oneflow_workers{state="alive"}`: 1})
}
