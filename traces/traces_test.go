package traces_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/traces"
)

// collector keeps what is sent to it.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	bodies  []string
	headers []http.Header
	answers []int
}

func newCollector(t *testing.T, answers ...int) *collector {
	t.Helper()
	c := &collector{answers: answers}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.headers = append(c.headers, r.Header)
		status := http.StatusOK
		if len(c.answers) > 0 {
			status, c.answers = c.answers[0], c.answers[1:]
		}
		if r.URL.Path != "/v1/traces" {
			status = http.StatusNotFound
		}
		if status == http.StatusOK {
			c.bodies = append(c.bodies, string(body))
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(c.Close)
	return c
}

// spans returns what arrived, flattened.
func (c *collector) spans(t *testing.T) []map[string]any {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []map[string]any
	for _, body := range c.bodies {
		var got struct {
			ResourceSpans []struct {
				Resource   struct{ Attributes []map[string]any }
				ScopeSpans []struct{ Spans []map[string]any }
			}
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		for _, r := range got.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, span := range s.Spans {
					span["resource"] = flat(r.Resource.Attributes)
					list, _ := span["attributes"].([]any)
					attributes := make([]map[string]any, len(list))
					for i := range list {
						attributes[i], _ = list[i].(map[string]any)
					}
					span["attributes"] = flat(attributes)
					all = append(all, span)
				}
			}
		}
	}
	return all
}

func flat(attributes []map[string]any) map[string]any {
	out := map[string]any{}
	for _, a := range attributes {
		key, _ := a["key"].(string)
		value, _ := a["value"].(map[string]any)
		for _, v := range value {
			out[key] = v
		}
	}
	return out
}

func open(t *testing.T, log io.Writer, env map[string]string) (*traces.Tracer, error) {
	t.Helper()
	return traces.Open(traces.Config{
		Getenv: func(name string) string { return env[name] }, Vendor: func(string) string { return "gemini" },
		Worker: jobs.NewID(), Version: "v1", Log: zerolog.New(log),
	})
}

func report(tracer *traces.Tracer, job jobs.Job, callID uuid.UUID, started time.Time) {
	cost := billing.NanoUSD(1_500_000)
	tracer.CallEnded(job, "google-eu", job.Request, "gemini-x-001", started, jobs.Settlement{
		CallID: callID, Outcome: jobs.CallSucceeded, Cost: &cost, Latency: 1500 * time.Millisecond, Status: 200, RequestID: "r-1",
		Usage: providers.Usage{InputTokens: 10, CachedInputTokens: 5, OutputTokens: 7, ReasoningTokens: 3},
	})
	tracer.CallEnded(job, "google-eu", job.Request, "", started, jobs.Settlement{
		CallID: jobs.NewID(), Outcome: jobs.CallFailedUnbilled, Latency: time.Second, Status: 429, Kind: providers.RateLimited, Message: "SECRET words of the provider", Body: []byte("SECRET body"),
	})
	tracer.JobEnded(job, jobs.Succeeded, "")
}

func TestAJobIsATraceOfItsCallsWithTokensAndCost(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer, err := open(t, t.Output(), map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20k1, x-team = a", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"})
	if err != nil {
		t.Fatal(err)
	}
	accepted := time.Now().UnixNano()
	job := jobs.Job{
		ID: jobs.NewID(), BatchID: "b1", Account: "default", Attempt: 2, Lane: jobs.Bulk, Provider: "google-eu",
		Request: providers.Request{Task: providers.Text, Model: "gemini-x", Prompt: "SECRET prompt", System: "SECRET system", MaxTokens: 100},
	}
	callID, started := jobs.NewID(), time.Now().Add(-2*time.Second)
	report(tracer, job, callID, started)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(c.bodies, ""); strings.Contains(all, "SECRET") {
		t.Fatalf("what was asked or said is in a span: %s", all)
	}
	if got := c.headers[0].Get("Authorization") + "|" + c.headers[0].Get("X-Team"); got != "Bearer k1|a" {
		t.Errorf("headers were %s", got)
	}
	spans := c.spans(t)
	if len(spans) != 3 {
		t.Fatalf("%d spans arrived, want 2 calls and the job: %v", len(spans), spans)
	}
	traceID := strings.ReplaceAll(job.ID.String(), "-", "")
	for _, span := range spans {
		if span["traceId"] != traceID {
			t.Errorf("the trace is %v, want the job's id %s", span["traceId"], traceID)
		}
		if resource, _ := span["resource"].(map[string]any); resource["service.name"] != "oneflow-worker" || resource["deployment.environment.name"] != "test" || resource["service.version"] != "v1" {
			t.Errorf("the sender is %v", resource)
		}
	}
	call, failed, root := spans[0], spans[1], spans[2]
	want := map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.output.type": "text", "gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gemini-x", "gen_ai.response.model": "gemini-x-001",
		"gen_ai.request.max_tokens": "100", "gen_ai.usage.input_tokens": "15", "gen_ai.usage.output_tokens": "7", "gen_ai.usage.cache_read.input_tokens": "5", "gen_ai.usage.reasoning.output_tokens": "3",
		"oneflow.cost_usd": 0.0015, "oneflow.provider": "google-eu", "oneflow.batch.id": "b1", "oneflow.account": "default", "oneflow.lane": "bulk", "oneflow.job.id": job.ID.String(), "oneflow.job.attempt": "2",
		"oneflow.call.id": callID.String(), "oneflow.call.outcome": "succeeded", "oneflow.call.request_id": "r-1", "http.response.status_code": "200",
	}
	got, _ := call["attributes"].(map[string]any)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %v, want %v", key, got[key], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("attributes are %v, want %d", got, len(want))
	}
	if call["name"] != "chat gemini-x" || call["kind"] != 3.0 || call["parentSpanId"] != root["spanId"] || call["spanId"] != traceIDOf(callID)[16:] {
		t.Errorf("the call's span is %v", call)
	}
	start, end := number(t, call["startTimeUnixNano"]), number(t, call["endTimeUnixNano"])
	if start != started.UnixNano() || end-start != (1500*time.Millisecond).Nanoseconds() {
		t.Errorf("the call lasted from %d to %d, want 1.5 s from %d", start, end, started.UnixNano())
	}
	if a, _ := failed["attributes"].(map[string]any); a["error.type"] != string(providers.RateLimited) || a["gen_ai.response.model"] != nil {
		t.Errorf("the failed call's attributes are %v", a)
	}
	if status, _ := failed["status"].(map[string]any); status["code"] != 2.0 {
		t.Errorf("the failed call's status is %v, want 2 (error)", status)
	}
	if root["name"] != "job text" || root["parentSpanId"] != nil || accepted-number(t, root["startTimeUnixNano"]) > 1e9 {
		t.Errorf("the job's span is %v", root)
	}
}

func TestTracesAreTriedAgainAndThenDroppedWithAWord(t *testing.T) {
	t.Parallel()
	job := jobs.Job{ID: jobs.NewID(), Request: providers.Request{Task: providers.Image, Model: "m"}}
	for _, c := range []struct {
		name    string
		answers []int
		spans   int
		said    bool
	}{
		{"busy once", []int{503}, 3, false},
		{"refused", []int{401}, 0, true},
		{"busy for long", []int{503, 429, 502}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at, log := newCollector(t, c.answers...), &strings.Builder{}
			tracer, err := open(t, log, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": at.URL + "/v1/traces", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "k=SECRET"})
			if err != nil {
				t.Fatal(err)
			}
			report(tracer, job, jobs.NewID(), time.Now())
			ctx, done := context.WithTimeout(t.Context(), time.Minute)
			defer done()
			if err := tracer.Close(ctx); err != nil {
				t.Fatal(err)
			}
			if got := len(at.spans(t)); got != c.spans {
				t.Errorf("%d spans were taken, want %d", got, c.spans)
			}
			if said := strings.Contains(log.String(), `"spans":3`); said != c.said || strings.Contains(log.String(), "SECRET") {
				t.Errorf("the log says %q", log.String())
			}
		})
	}
}

func TestAFractionOfJobsIsToldWithAllOfItsCalls(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer, err := open(t, t.Output(), map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"})
	if err != nil {
		t.Fatal(err)
	}
	const all = 600 // 1,800 spans: fewer than the queue holds
	for range all {
		report(tracer, jobs.Job{ID: jobs.NewID(), Request: providers.Request{Task: providers.Text, Model: "m"}}, jobs.NewID(), time.Now())
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	count := map[any]int{}
	for _, span := range c.spans(t) {
		count[span["traceId"]]++
	}
	if got := len(count); got < 90 || got > 220 { // 150 of 600; six standard deviations are 64
		t.Errorf("%d of %d jobs were told of, want a quarter", got, all)
	}
	for id, spans := range count {
		if spans != 3 {
			t.Errorf("of job %v %d spans were told, want 3", id, spans)
		}
	}
}

func TestTracesAreOffUnlessAskedForAndMistakesNameTheVariable(t *testing.T) {
	t.Parallel()
	const address = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, c := range []struct {
		env  map[string]string
		want string // "" = off
	}{
		{map[string]string{}, ""},
		{map[string]string{address: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "TRUE"}, ""},
		{map[string]string{address: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, ""},
		{map[string]string{address: "127.0.0.1:4318"}, address + ": must be the collector's address"},
		{map[string]string{address: "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL grpc: traces are sent over HTTP"},
		{map[string]string{address: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "SECRET"}, "OTEL_EXPORTER_OTLP_HEADERS: must be a list"},
		{map[string]string{address: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "jaeger_remote"}, `OTEL_TRACES_SAMPLER "jaeger_remote": must be`},
		{map[string]string{address: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "25%"}, `OTEL_TRACES_SAMPLER_ARG "25%": must be the fraction`},
		{map[string]string{address: "http://127.0.0.1:1", "OTEL_RESOURCE_ATTRIBUTES": "a"}, "OTEL_RESOURCE_ATTRIBUTES"},
	} {
		tracer, err := open(t, t.Output(), c.env)
		switch {
		case c.want == "" && (tracer != nil || err != nil):
			t.Errorf("%v: %v, %v, want none", c.env, tracer, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "SECRET")):
			t.Errorf("%v: %v, want %s", c.env, err, c.want)
		}
	}
}

func traceIDOf(id uuid.UUID) string { return strings.ReplaceAll(id.String(), "-", "") }

func number(t *testing.T, v any) int64 {
	t.Helper()
	text, ok := v.(string)
	if !ok {
		t.Fatalf("%v is no 64-bit integer in OTLP's JSON, which has them as text", v)
	}
	n, err := json.Number(text).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}
