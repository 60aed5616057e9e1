package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/jobs"
	"oneflow/worker"
)

// entered adds a finished call to the ledger, as of now.
func (w *database) entered(t *testing.T, provider, model, state string, latency time.Duration, input, output int) {
	t.Helper()
	_, err := w.sql.Exec(t.Context(), `
		INSERT INTO calls (id, worker_id, provider, model, state,
			deadline, finished_at, latency_ms, input_tokens, output_tokens, cost_nano)
		VALUES ($1, $1, $2, $7, $3::text, now(), now(), $4, $5, $6, 0)`,
		jobs.NewID(), provider, state, latency.Milliseconds(), input, output, model)
	if err != nil {
		t.Fatal(err)
	}
}

func (w *database) capacity(t *testing.T, names ...string) map[string]worker.Capacity {
	t.Helper()
	got, err := w.Capacity(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCapacityIsDrawnFromTheLatestCallsThatSucceeded(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	want := map[string]worker.Capacity{"mock": {Workers: 1}, "idle": {}}
	if diff := cmp.Diff(want, w.capacity(t, "mock", "idle")); diff != "" {
		t.Error(diff)
	}
	for i := range 20 {
		w.entered(t, "mock", "m", "succeeded", time.Duration(i+1)*time.Second, 100, 2*i)
		w.entered(t, "mock", "m", "failed_unbilled", time.Millisecond, 0, 0)
		w.entered(t, "mock", "m", "unknown", time.Hour, 0, 0)
		w.entered(t, "other", "m", "succeeded", time.Minute, 7, 7)
	}
	want["mock"] = worker.Capacity{Workers: 1, Calls: 20, Latency: 18 * time.Second, MeanLatency: 10500 * time.Millisecond, InputTokens: 100, OutputTokens: 19}
	want["mock"] = byModel(want["mock"], map[string]worker.Capacity{"m": want["mock"]})
	if diff := cmp.Diff(want, w.capacity(t, "mock", "idle")); diff != "" {
		t.Error(diff)
	}

	// A change shows once it fills the sample, however much there was before.
	_, err := w.sql.Exec(t.Context(), `
		INSERT INTO calls (id, worker_id, provider, model, state,
			deadline, finished_at, latency_ms, input_tokens, output_tokens, cost_nano)
		SELECT overlay(gen_random_uuid()::text PLACING 'ffffffff' FROM 1 FOR 8)::uuid, $1, 'mock', 'm', 'succeeded',
			now(), now(), 250, 1, 1, 0
		FROM generate_series(1, 2500)`, w.worker)
	if err != nil {
		t.Fatal(err)
	}
	want["mock"] = worker.Capacity{Workers: 1, Calls: 2000, Latency: 250 * time.Millisecond, MeanLatency: 250 * time.Millisecond, InputTokens: 1, OutputTokens: 1}
	want["mock"] = byModel(want["mock"], map[string]worker.Capacity{"m": want["mock"]})
	if diff := cmp.Diff(want, w.capacity(t, "mock", "idle")); diff != "" {
		t.Error(diff)
	}
}

// byModel is c with what was seen of its models.
func byModel(c worker.Capacity, models map[string]worker.Capacity) worker.Capacity {
	c.By = models
	return c
}

func TestCapacityTellsModelsApart(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for range 2 {
		w.entered(t, "mock", "film", "succeeded", time.Minute, 0, 0)
		w.entered(t, "mock", "", "succeeded", time.Second, 10, 20)
		w.entered(t, "other", "film", "succeeded", time.Hour, 0, 0)
	}
	want := map[string]worker.Capacity{"mock": {
		Workers: 1, Calls: 4, Latency: time.Minute, MeanLatency: 30500 * time.Millisecond, InputTokens: 5, OutputTokens: 10,
		By: map[string]worker.Capacity{
			"film": {Workers: 1, Calls: 2, Latency: time.Minute, MeanLatency: time.Minute},
			"":     {Workers: 1, Calls: 2, Latency: time.Second, MeanLatency: time.Second, InputTokens: 10, OutputTokens: 20},
		},
	}}
	if diff := cmp.Diff(want, w.capacity(t, "mock")); diff != "" {
		t.Error(diff)
	}
}

func TestCapacityCountsTheWorkersThatLive(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	served := []worker.Served{{Name: "mock", Kind: "mock", Concurrency: 1}, {Name: "svc", Kind: "mock", Concurrency: 1}}
	stopped, silent, live := jobs.NewID(), jobs.NewID(), jobs.NewID()
	for _, p := range []worker.Presence{{ID: stopped}, {ID: silent}, {ID: live}} {
		p.Host, p.PID, p.Providers = "test", 1, served
		if err := w.Register(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Retire(t.Context(), stopped); err != nil {
		t.Fatal(err)
	}
	if _, err := w.sql.Exec(t.Context(), `UPDATE workers SET heartbeat_at = now() - interval '16 seconds' WHERE id = $1`, silent); err != nil {
		t.Fatal(err)
	}
	want := map[string]worker.Capacity{"mock": {Workers: 2}, "svc": {Workers: 1}, "none": {}}
	if diff := cmp.Diff(want, w.capacity(t, "mock", "svc", "none")); diff != "" {
		t.Error(diff)
	}
}

func TestCapacityNamesTheModelsThatAreQueued(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.exec(t, `UPDATE providers SET by_model = true WHERE name = 'mock'`)
	w.window(t, 4)
	if got := w.capacity(t, "mock")["mock"].Queued; len(got) != 0 {
		t.Errorf("an empty queue asks for %q", got)
	}
	for _, lane := range jobs.Lanes() {
		for _, model := range []string{"b", "a"} {
			w.accept(t, 3, func(r *jobs.New) { r.Lane, r.Request.Model = lane, model })
		}
	}
	w.accept(t, 1, func(r *jobs.New) { r.Request.Model, r.RunAt = "later", time.Now().Add(time.Hour) })
	if diff := cmp.Diff([]string{"a", "b"}, w.capacity(t, "mock", "idle")["mock"].Queued); diff != "" {
		t.Errorf("models of jobs in Redis (-want +got):\n%s", diff)
	}
}
