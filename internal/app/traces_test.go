package app_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/internal/app"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

// A worker tells a collector of jobs and of calls, those that failed too, and of no prompt.
func TestAWorkerTellsACollectorOfJobsAndTheirCalls(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var sent []string
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, string(body))
	}))
	t.Cleanup(collector.Close)
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}

	cfg := parse(t, "providers: {mock: {mock: {latency: 1ms}}, broken: {kind: mock, mock: {latency: 1ms, error_rate: 1}}}\nartifacts: "+t.TempDir()+"\nstate: ''\n")
	url := storetest.Database(t)
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	redisURL := storetest.Redis(t)
	redis, err := asynq.ParseRedisURI(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- app.RunWorker(ctx, app.WorkerOptions{Config: cfg, Store: db, Redis: redis, Log: zerolog.Nop(), Getenv: func(name string) string { return env[name] }})
	}()
	rows := []jobs.New{
		{ID: jobs.NewID(), Provider: "mock", Lane: jobs.High},
		{ID: jobs.NewID(), Provider: "broken", Lane: jobs.High, MaxAttempts: 1},
	}
	keys := jobs.NewKeys()
	for i := range rows {
		rows[i].Seq, rows[i].Request = int64(i+1), providers.Request{Task: providers.Text, Model: "mock-text", Prompt: "SECRET " + rows[i].Provider}
		if err := keys.Assign(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, dispatchErr, err := jobs.NewProducer(db, jobs.NewDispatcher(storetest.Client(t, redisURL), db)).Enqueue(t.Context(), "", rows); err != nil || dispatchErr != nil {
		t.Fatal(dispatchErr, err)
	}
	eventually(t, "both jobs have ended", func() bool {
		ended := 0
		for _, row := range rows {
			p, err := db.Progress(t.Context(), row.ID.String())
			if err != nil {
				t.Fatal(err)
			}
			if jobs.State(p.State).Finished() {
				ended++
			}
		}
		return ended == len(rows)
	})
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	calls := map[string]int{} // by job and whether they failed
	roots := map[string]bool{}
	for _, body := range sent {
		if strings.Contains(body, "SECRET") {
			t.Fatalf("a prompt left with a trace: %s", body)
		}
		var got struct {
			ResourceSpans []struct {
				ScopeSpans []struct {
					Spans []struct {
						TraceID, ParentSpanID, Name string
						Status                      struct{ Code int }
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		for _, r := range got.ResourceSpans {
			for _, span := range r.ScopeSpans[0].Spans {
				failed := span.Status.Code == 2
				if span.ParentSpanID == "" {
					roots[span.TraceID] = failed
				} else if calls[span.TraceID]++; failed != (span.TraceID == traceID(rows[1])) {
					t.Errorf("call %+v", span)
				}
			}
		}
	}
	if failed, told := roots[traceID(rows[0])]; !told || failed || calls[traceID(rows[0])] != 1 {
		t.Errorf("of the job that succeeded: %v, %v", roots, calls)
	}
	if failed, told := roots[traceID(rows[1])]; !told || !failed || calls[traceID(rows[1])] < 1 {
		t.Errorf("of the job that failed: %v, %v", roots, calls)
	}
}

func TestAMistakeInOpenTelemetrysVariablesStopsTheWorker(t *testing.T) {
	t.Parallel()
	url := storetest.Database(t)
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	redis, err := asynq.ParseRedisURI(storetest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	err = app.RunWorker(t.Context(), app.WorkerOptions{
		Config: parse(t, "artifacts: "+t.TempDir()+"\nstate: ''\n"), Store: db, Redis: redis, Log: zerolog.Nop(),
		Getenv: func(name string) string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}[name]
		},
	})
	if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_ENDPOINT: must be the collector's address, such as http://127.0.0.1:4318") {
		t.Errorf("%v", err)
	}
}

func traceID(row jobs.New) string { return strings.ReplaceAll(row.ID.String(), "-", "") }
