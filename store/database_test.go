package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"oneflow/billing"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

// database is the database of one test: through the Store, and behind its back.
type database struct {
	*store.Store
	url    string
	sql    *pgxpool.Pool
	worker uuid.UUID
}

// newDatabase opens a new database with one registered worker.
func newDatabase(t *testing.T) *database {
	t.Helper()
	url := storetest.Database(t)
	w := &database{url: url, Store: openStore(t, url), sql: storetest.Pool(t, url), worker: jobs.NewID()}
	w.register(t, w.worker)
	return w
}

func openStore(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (w *database) register(t *testing.T, id uuid.UUID) {
	t.Helper()
	err := w.Register(t.Context(), worker.Presence{ID: id, Host: "test", PID: 1, Providers: []worker.Served{{Name: "mock", Kind: "mock", Concurrency: 1}}})
	if err != nil {
		t.Fatal(err)
	}
}

// rows makes n distinct rows with keys, after change.
func rows(t *testing.T, n int, change func(*jobs.New)) []jobs.New {
	t.Helper()
	keys := jobs.NewKeys()
	out := make([]jobs.New, n)
	for i := range out {
		out[i] = jobs.New{
			ID: jobs.NewID(), Seq: int64(i + 1), Provider: "mock", Lane: jobs.Default,
			Request: providers.Request{Task: providers.Text, Model: "m", Prompt: fmt.Sprint("prompt ", i)},
		}
		if change != nil {
			change(&out[i])
		}
		if err := keys.Assign(&out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// accept accepts n jobs that belong to no batch.
func (w *database) accept(t *testing.T, n int, change func(*jobs.New)) []jobs.Delivery {
	t.Helper()
	in := rows(t, n, change)
	acc, err := w.AcceptJobs(t.Context(), "", in, true)
	if err != nil || acc.New != n {
		t.Fatalf("accepted %d of %d: %v", acc.New, n, err)
	}
	return deliveries(in, "")
}

// batch opens a batch and accepts n jobs into it.
func (w *database) batch(t *testing.T, id string, n int) []jobs.Delivery {
	t.Helper()
	if err := w.OpenBatch(t.Context(), jobs.Batch{ID: id, Account: "default"}); err != nil {
		t.Fatal(err)
	}
	in := rows(t, n, nil)
	acc, err := w.AcceptJobs(t.Context(), id, in, true)
	if err != nil || acc.New != n {
		t.Fatalf("accepted %d of %d: %v", acc.New, n, err)
	}
	return deliveries(in, id)
}

// deliveries are the first deliveries of accepted rows, dispatched or not.
func deliveries(in []jobs.New, batchID string) []jobs.Delivery {
	out := make([]jobs.Delivery, len(in))
	for i, r := range in {
		out[i] = jobs.Delivery{
			ID: r.ID, Gen: 1, Provider: r.Provider, Lane: r.Lane, Account: jobs.DefaultAccount, Task: r.Request.Task, Model: r.Request.Model,
			BatchID: batchID, At: r.RunAt,
		}
	}
	return out
}

// topUp marks up to limit jobs of the mock's default lane.
func (w *database) topUp(t *testing.T, limit int) []jobs.Delivery {
	t.Helper()
	marked, _, err := w.TopUp(t.Context(), jobs.Queue{Provider: "mock", Lane: jobs.Default}, limit)
	if err != nil {
		t.Error(err)
	}
	return marked
}

// claim claims a delivery for the database's worker; the job is nil if it was refused.
func (w *database) claim(t *testing.T, d jobs.Delivery) jobs.Claimed {
	t.Helper()
	got, err := w.Claim(t.Context(), w.worker, jobs.Claim{ID: d.ID, Gen: d.Gen, LeaseToken: jobs.NewID()})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (w *database) mustClaim(t *testing.T, d jobs.Delivery) *jobs.Job {
	t.Helper()
	got := w.claim(t, d)
	if got.Job == nil {
		t.Fatalf("job %s was not claimed: wait %s, row %+v", d.ID, got.Wait, w.job(t, d.ID))
	}
	return got.Job
}

// running accepts one job and claims it.
func (w *database) running(t *testing.T, change func(*jobs.New)) *jobs.Job {
	t.Helper()
	return w.mustClaim(t, w.accept(t, 1, change)[0])
}

func callOf(j *jobs.Job, reserved *billing.NanoUSD) jobs.Call {
	return jobs.Call{CallID: jobs.NewID(), JobID: j.ID, LeaseToken: j.LeaseToken, Provider: "mock", Model: "m", Reserved: reserved, Timeout: time.Minute}
}

// sent begins a call.
func (w *database) sent(t *testing.T, j *jobs.Job, reserved *billing.NanoUSD) jobs.Call {
	t.Helper()
	c := callOf(j, reserved)
	if err := w.BeginCall(t.Context(), w.worker, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func success(j *jobs.Job, c jobs.Call, cost *billing.NanoUSD) jobs.Success {
	return jobs.Success{
		JobID: j.ID, LeaseToken: j.LeaseToken,
		Settlement: jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallSucceeded, Cost: cost, Status: 200},
		Response:   providers.Response{Provider: "mock", Model: "m", Text: "answer", Raw: []byte(`{"a":1}`), Status: 200},
	}
}

func nano(n int64) *billing.NanoUSD {
	v := billing.NanoUSD(n)
	return &v
}

type jobRow struct {
	State      jobs.State `json:"state"`
	Gen        int        `json:"gen"`
	Attempt    int        `json:"attempt"`
	Crashes    int        `json:"crashes"`
	CostNano   int64      `json:"cost_nano"`
	Unpriced   int        `json:"unpriced_calls"`
	ErrorClass string     `json:"error_class"`
	Error      string     `json:"error_message"`
	LeaseToken *uuid.UUID `json:"lease_token"`
	WorkerID   *uuid.UUID `json:"worker_id"`
	NotBefore  *time.Time `json:"not_before"`
	FinishedAt *time.Time `json:"finished_at"`
	Dispatched *time.Time `json:"dispatched_at"`
}

func (w *database) job(t *testing.T, id uuid.UUID) jobRow {
	t.Helper()
	var row jobRow
	w.one(t, &row, `
		SELECT to_jsonb(j) || to_jsonb(s) || coalesce(to_jsonb(q), '{}')
		FROM jobs j
		JOIN job_states s ON s.job_id = j.id
		LEFT JOIN job_queue q ON q.job_id = j.id
		WHERE j.id = $1`, id)
	return row
}

type callRow struct {
	State      string     `json:"state"`
	Reserved   *int64     `json:"reserved_nano"`
	Cost       *int64     `json:"cost_nano"`
	PriceIDs   []string   `json:"price_ids"`
	ErrorKind  string     `json:"error_kind"`
	Error      string     `json:"error_message"`
	RequestID  string     `json:"request_id"`
	HTTPStatus *int       `json:"http_status"`
	FinishedAt *time.Time `json:"finished_at"`
}

func (w *database) call(t *testing.T, id uuid.UUID) callRow {
	t.Helper()
	var row callRow
	w.one(t, &row, `SELECT to_jsonb(a) FROM calls a WHERE id = $1`, id)
	return row
}

func (w *database) one(t *testing.T, into any, sql string, args ...any) {
	t.Helper()
	var data []byte
	if err := w.sql.QueryRow(t.Context(), sql, args...).Scan(&data); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// count runs a query that gives one number.
func (w *database) count(t *testing.T, sql string, args ...any) int {
	t.Helper()
	var n int
	if err := w.sql.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (w *database) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.sql.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// withinAMinute does something, which is counted by the minute, until it began and ended in the same one.
func (w *database) withinAMinute(t *testing.T, do func()) {
	t.Helper()
	minute := func() (at time.Time) {
		w.one(t, &at, `SELECT to_jsonb(date_trunc('minute', now()))`)
		return at
	}
	for began := minute(); ; {
		do()
		now := minute()
		if now.Equal(began) {
			return
		}
		began = now
	}
}

// everything is all rows of the ledger, to show that nothing changed.
func (w *database) everything(t *testing.T) map[string]any {
	t.Helper()
	all := map[string]any{}
	w.one(t, &all, `
		SELECT jsonb_build_object(
			'jobs', (SELECT jsonb_object_agg(id, to_jsonb(j)) FROM jobs j),
			'states', (SELECT jsonb_object_agg(job_id, to_jsonb(s)) FROM job_states s),
			'queue', (SELECT jsonb_object_agg(job_id, to_jsonb(q)) FROM job_queue q),
			'calls', (SELECT jsonb_object_agg(id, to_jsonb(c)) FROM calls c),
			'shares', (SELECT jsonb_agg(to_jsonb(cj) ORDER BY job_id, call_id) FROM call_jobs cj),
			'results', (SELECT jsonb_object_agg(job_id, to_jsonb(r)) FROM results r),
			'artifacts', (SELECT jsonb_agg(to_jsonb(f) ORDER BY job_id, idx) FROM artifacts f),
			'batches', (SELECT jsonb_object_agg(id, to_jsonb(b)) FROM batches b))`)
	return all
}

// unchanged fails the test if do changes a row.
func (w *database) unchanged(t *testing.T, what string, do func()) {
	t.Helper()
	before := w.everything(t)
	do()
	if diff := cmp.Diff(before, w.everything(t)); diff != "" {
		t.Errorf("%s changed rows (-before +after):\n%s", what, diff)
	}
}

// holds checks what must be true of every database at rest.
func (w *database) holds(t *testing.T) {
	t.Helper()
	storetest.Invariants(t, w.sql)
}

// eventually waits until is holds, for up to a minute.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute", what)
		case <-tick.C:
		}
	}
}

// together runs n functions at once and waits for all.
func together(n int, do func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	all.Wait()
}
