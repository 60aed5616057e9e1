package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/monitor"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

// noRedis is an address where nothing listens.
func noRedis() asynq.RedisConnOpt { return asynq.RedisClientOpt{Addr: "127.0.0.1:1"} }

func newMonitor(t *testing.T, cfg monitor.Config) *monitor.Monitor {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = &fake{}
	}
	if tokens, ok := cfg.Store.(access.Store); ok {
		cfg.Access = tokens
	}
	if cfg.Redis == nil {
		cfg.Redis = noRedis()
	}
	cfg.Log = zerolog.New(zerolog.NewTestWriter(t))
	m, err := monitor.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// get asks for a page of a monitor on this machine.
func get(t *testing.T, m *monitor.Monitor, path string) *httptest.ResponseRecorder {
	t.Helper()
	return do(t, m, httptest.NewRequest(http.MethodGet, path, http.NoBody))
}

func do(t *testing.T, m *monitor.Monitor, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	if r.Host == "example.com" { // httptest's default
		r.Host = "localhost:8080"
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r.WithContext(t.Context()))
	return w
}

// fake is a store that holds nothing, or fails.
type fake struct{ err error }

func (f *fake) HasTokens(context.Context) (bool, error) { return false, f.err }

func (f *fake) FindToken(context.Context, string) (access.Token, [32]byte, error) {
	return access.Token{}, [32]byte{}, errors.Join(access.ErrUnknownToken, f.err)
}

func (f *fake) TokenUsed(context.Context, string) error { return f.err }

func (f *fake) BeginAction(context.Context, access.Action) (int64, error) { return 1, f.err }

func (f *fake) EndAction(context.Context, int64, int) error { return f.err }

func (f *fake) Ping(context.Context) error { return f.err }

func (f *fake) NewestBatches(context.Context, int) ([]batches.Summary, error) { return nil, f.err }

func (f *fake) Tallies(context.Context, []string) (map[string]batches.Tally, error) {
	return nil, f.err
}

func (f *fake) Fleet(context.Context) (fleet.Snapshot, error) { return fleet.Snapshot{}, f.err }

func (f *fake) BatchDetail(context.Context, string, bool) (batches.Breakdown, error) {
	return batches.Breakdown{}, errors.Join(jobs.ErrNotFound, f.err)
}

const (
	secretPrompt = "a prompt that nobody may see"
	secretAnswer = "an answer that nobody may see"
)

// filled is a database with a worker and a batch of six jobs: two succeeded, one
// of them without a known price, one failed, one retries, one runs and one waits.
func filled(t *testing.T) *store.Store {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	ctx, id := t.Context(), jobs.NewID()
	must(t, db.Register(ctx, worker.Presence{ID: id, Host: "alpha", PID: 7, Providers: []worker.Served{{Name: "mock", Kind: "mock", Limits: providers.Limits{RPM: 60}, Concurrency: 3}}}))
	must(t, db.OpenBatch(ctx, jobs.Batch{ID: "b-1", Account: "default", Source: "<b>prompts</b>.jsonl"}))
	keys, rows := jobs.NewKeys(), make([]jobs.New, 6)
	for i := range rows {
		rows[i] = jobs.New{
			ID: jobs.NewID(), Seq: int64(i + 1), Provider: "mock",
			Request: providers.Request{Task: providers.Text, Model: "mock-text", Prompt: secretPrompt},
		}
		if i > 0 {
			rows[i].Estimate = jobs.Estimate{Jobs: 1, Low: 1_000_000, Expected: 1_500_000, High: 20_000_000}
		}
		must(t, keys.Assign(&rows[i]))
	}
	acc, err := db.AcceptJobs(ctx, "b-1", rows, true)
	must(t, err)
	must(t, db.SealBatch(ctx, "b-1"))
	claimed := make([]*jobs.Job, 0, 5)
	for _, d := range acc.Deliveries[:5] {
		got, err := db.Claim(ctx, id, jobs.Claim{ID: d.ID, Gen: d.Gen, LeaseToken: jobs.NewID()})
		must(t, err)
		claimed = append(claimed, got.Job)
	}
	cost := 1_500_000 * billing.NanoUSD(1)
	succeed(t, db, id, claimed[0], &cost)
	succeed(t, db, id, claimed[1], nil)
	refusal := providers.Error{
		Provider: "mock", Kind: providers.InvalidRequest, Status: 400, Param: "size", URL: "https://api.example/v1/images",
		Reason: `Unsupported size: <script>alert("x")</script>`,
	}
	for i, state := range []jobs.State{jobs.Failed, jobs.Retrying} {
		_, err := db.Complete(ctx, jobs.Completion{
			JobID: claimed[2+i].ID, LeaseToken: claimed[2+i].LeaseToken, State: state, After: time.Hour,
			Class: "invalid_request", Message: refusal.Explain(),
		})
		must(t, err)
	}
	return db
}

func succeed(t *testing.T, db *store.Store, worker [16]byte, j *jobs.Job, cost *billing.NanoUSD) {
	t.Helper()
	c := jobs.Call{CallID: jobs.NewID(), JobID: j.ID, LeaseToken: j.LeaseToken, Provider: "mock", Model: "mock-text", Reserved: cost, Timeout: time.Minute}
	must(t, db.BeginCall(t.Context(), worker, c))
	must(t, db.Succeed(t.Context(), jobs.Success{
		JobID: j.ID, LeaseToken: j.LeaseToken,
		Settlement: jobs.Settlement{
			CallID: c.CallID, Outcome: jobs.CallSucceeded, Cost: cost, Status: 200, Latency: 250 * time.Millisecond,
			Usage: providers.Usage{InputTokens: 11, OutputTokens: 1_000},
		},
		Response: providers.Response{Provider: "mock", Model: "mock-text", Text: secretAnswer, Raw: []byte(secretAnswer), Status: 200},
	}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func redisOf(t *testing.T) asynq.RedisConnOpt {
	t.Helper()
	opt, err := asynq.ParseRedisURI(storetest.Redis(t))
	must(t, err)
	return opt
}

func decode(t *testing.T, w *httptest.ResponseRecorder, into any) {
	t.Helper()
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	must(t, json.Unmarshal(w.Body.Bytes(), into))
}

func (f *fake) Waiting(context.Context, string, string) ([]fleet.WaitingJobs, error) {
	return nil, f.err
}

func (f *fake) Standings(context.Context) ([]fleet.Health, error) { return nil, f.err }

func (f *fake) Alerts(context.Context, bool, int) ([]jobs.Alert, error) { return nil, f.err }
