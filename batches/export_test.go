package batches_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/internal/golden"
	"oneflow/jobs"
	"oneflow/providers"
)

// records are an export's source.
type records []batches.Record

func (r records) Export(_ context.Context, _ string, each func(batches.Record) error) error {
	for _, one := range r {
		if err := each(one); err != nil {
			return err
		}
	}
	return nil
}

func (r records) Holds(context.Context, string) (h batches.Holds, err error) {
	for _, one := range r {
		h.Vectors = h.Vectors || one.Task == providers.Embedding
		h.Answers = h.Answers || one.Answers() != nil
	}
	return h, nil
}

func (r records) OwnColumns(context.Context, string) ([]batches.Column, error) {
	return []batches.Column{{Name: "label", Type: "string"}, {Name: "n", Type: "whole"}, {Name: "score", Type: "number"}, {Name: "good", Type: "boolean"}, {Name: "text", Type: "mixed"}}, nil
}

const hostile = "</script>\u0000\u001b[2J\u2028\u2029\r\n\t\"quoted\" \\ 😀 \u202e ' <b>&amp;</b> \ufffd"

func samples() records {
	picture := batches.ArtifactRef{URL: "file:///a%20b/f7/f7.png", MIME: "image/png", Size: 68, SHA256: strings.Repeat("f7", 32)}
	return records{
		{
			ID: "018f-1", CustomID: "row 1", Task: providers.Text, Provider: "mock", Model: "mock-text", State: jobs.Succeeded, Calls: 1, Cost: 1_234_567,
			HTTPStatus: 200, RequestID: "req_1", Text: "hello", Raw: []byte("{\n  \"id\": \"x\",\n  \"n\": 1.50, \"text\": \"hel\\ud83d\\ude00lo\"\n}\n"), LatencyMS: 42,
		},
		{
			ID: "018f-2", Task: providers.Image, Provider: "mock", Model: "mock-image", State: jobs.Succeeded, Calls: 3, Cost: 40_000_000,
			HTTPStatus: 200, RequestID: "req_2", LatencyMS: 1500, Artifacts: []batches.ArtifactRef{picture, picture},
		},
		{ID: "018f-3", CustomID: "row 3", Task: providers.Text, Provider: "openai", Model: "m", State: jobs.Failed, Calls: 5, ErrorClass: "server", ErrorMessage: "upstream said \"no\"\n" + hostile},
		{ID: "018f-4", Task: providers.Text, Provider: "mock", Model: "mock-text", State: jobs.Cancelled},
		{ID: "018f-5", Task: providers.Text, Provider: "local", Model: "llama", State: jobs.Succeeded, Calls: 1, Unpriced: true, HTTPStatus: 200, Text: "free?", Raw: []byte(`{"a":1}`)},
		{ID: "018f-6", CustomID: hostile, Task: providers.Text, Provider: "mock", Model: "mock-text", State: jobs.Succeeded, Calls: 1, HTTPStatus: 200, Text: hostile, Raw: []byte("no JSON: " + hostile)},
		{ID: "018f-7", Task: providers.Text, Provider: "mock", Model: "mock-text", State: jobs.Succeeded, Calls: 1, HTTPStatus: 200, Raw: []byte("{\"text\":\"bad \xff\xfe utf-8\"}")},
		{ID: "018f-8", Task: providers.Text, Provider: "mock", Model: "mock-text", State: jobs.Queued},
		{ID: "018f-9", Task: providers.Text, Provider: "mock", Model: "mock-text", State: jobs.Unknown, Calls: 1, Cost: 5, ErrorClass: "unknown_outcome", ErrorMessage: "the line broke"},
		{ID: "018f-10", Task: providers.Text, Provider: "mock", Model: "mock-text", State: jobs.Expired},
	}
}

func TestAnExportIsOneLineAJobInInputOrder(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	n, err := batches.Export{}.Write(t.Context(), samples(), "b1", &out)
	if err != nil || n.Lines != int64(len(samples())) || n.Unfinished != 1 {
		t.Fatalf("%+v, %v", n, err)
	}
	golden.Compare(t, "export.jsonl", out.String())
	if !utf8.Valid(out.Bytes()) {
		t.Error("the export is not UTF-8")
	}
	var ids []string
	for line := range strings.Lines(out.String()) {
		var row struct{ ID string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		ids = append(ids, row.ID)
	}
	want := []string{"018f-1", "018f-2", "018f-3", "018f-4", "018f-5", "018f-6", "018f-7", "018f-8", "018f-9", "018f-10"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
}

func TestAnExportsLinesHaveTheShapeOfOpenAIsBatchOutput(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if _, err := (batches.Export{}).Write(t.Context(), samples(), "b1", &out); err != nil {
		t.Fatal(err)
	}
	names := func(v any) []string { m, _ := v.(map[string]any); return slices.Sorted(maps.Keys(m)) }
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		r := samples()[i]
		own := []string{
			"artifacts", "attempts", "charge_usd", "columns", "cost_usd", "finish_reason", "latency_ms", "model", "provider", "row", "simulated_cost_usd", "state", "text", "usage",
		}
		if diff := cmp.Diff([]string{"custom_id", "error", "id", "oneflow", "response"}, names(row)) + cmp.Diff(own, names(row["oneflow"])); diff != "" {
			t.Errorf("%s: %s", r.ID, diff)
		}
		ok := r.State == jobs.Succeeded
		if (row["response"] != nil) != ok || (row["error"] != nil) != (!ok && r.State.Finished()) {
			t.Errorf("%s is %s: response %v, error %v", r.ID, r.State, row["response"], row["error"])
		}
		if ok {
			if diff := cmp.Diff([]string{"body", "request_id", "status_code"}, names(row["response"])); diff != "" {
				t.Errorf("%s: %s", r.ID, diff)
			}
		} else if r.State.Finished() {
			if diff := cmp.Diff([]string{"code", "message"}, names(row["error"])); diff != "" {
				t.Errorf("%s: %s", r.ID, diff)
			}
		}
		cost := row["oneflow"].(map[string]any)["cost_usd"]
		if text, isText := cost.(string); r.Unpriced && cost != nil || !r.Unpriced && (!isText || text != r.Cost.String()) {
			t.Errorf("%s: cost_usd is %v", r.ID, cost)
		}
	}
}

// answers are one text of each kind of vendor, as it came.
func answers() records {
	of := func(provider, finish, raw string) batches.Record {
		return batches.Record{
			ID: provider, Row: 7, Task: providers.Text, Provider: provider, Model: "m", State: jobs.Succeeded, HTTPStatus: 200, RequestID: "req", Text: "hello",
			FinishReason: finish, Raw: []byte(raw), Usage: json.RawMessage(`{"input_tokens":3,"cached_input_tokens":4,"output_tokens":5}`),
		}
	}
	return records{
		of("openai", "stop", `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"logprobs":null,"finish_reason":"stop"}],"system_fingerprint":"fp"}`),
		of("anthropic", "max_tokens", `{"id":"msg","content":[{"type":"text","text":"hello"}],"stop_reason":"max_tokens"}`),
		of("mock", "", `{"text":"hello"}`),
		of("broken", "refusal", `not JSON`),
		of("empty", "end_turn", ``),
	}
}

func TestEveryTextIsWhereOpenAIHasItWhoeverAnswered(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if _, err := (batches.Export{}).Write(t.Context(), answers(), "b1", &out); err != nil {
		t.Fatal(err)
	}
	finish := []string{"stop", "length", "stop", "content_filter", "stop"}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var row struct {
			Response struct {
				Body struct {
					Choices []struct {
						Message      struct{ Role, Content string }
						FinishReason string `json:"finish_reason"`
					}
					Usage map[string]int64
				}
			}
			OneFlow struct {
				Text         string
				Row          int64
				FinishReason string `json:"finish_reason"`
				Usage        map[string]int64
			}
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		body, own := row.Response.Body, row.OneFlow
		if len(body.Choices) != 1 || body.Choices[0].Message.Content != "hello" || body.Choices[0].Message.Role != "assistant" || body.Choices[0].FinishReason != finish[i] {
			t.Errorf("%s", line)
		}
		if i > 0 && (body.Usage["prompt_tokens"] != 7 || body.Usage["completion_tokens"] != 5 || body.Usage["total_tokens"] != 12) {
			t.Errorf("usage: %s", line)
		}
		if own.Text != "hello" || own.Row != 7 || own.FinishReason != finish[i] || own.Usage["output_tokens"] != 5 {
			t.Errorf("oneflow: %s", line)
		}
	}
	if !strings.Contains(out.String(), "system_fingerprint") {
		t.Error("what OpenAI says itself is lost")
	}
}

func TestCallsOfToolsAreKeptByEachExportWhoeverAnswered(t *testing.T) {
	t.Parallel()
	for vendor, raw := range map[string]string{
		"openai":    `{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Ulm\"}"}}]},"finish_reason":"tool_calls"}]}`,
		"no null":   `{"choices":[{"message":{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Ulm\"}"}}]},"finish_reason":"tool_calls"}]}`,
		"anthropic": `{"type":"message","content":[{"type":"tool_use","id":"c1","name":"weather","input":{"city":"Ulm"}}],"stop_reason":"tool_use"}`,
		"gemini":    `{"candidates":[{"content":{"parts":[{"functionCall":{"id":"c1","name":"weather","args":{"city":"Ulm"}}}]},"finishReason":"STOP"}]}`,
	} {
		r := batches.Record{ID: vendor, Task: providers.Text, Provider: vendor, State: jobs.Succeeded, HTTPStatus: 200, FinishReason: "tool_use", Raw: []byte(raw)}
		for format, want := range map[batches.Format][]string{
			batches.FormatOpenAI:    {`"id":"c1"`, `"name":"weather"`, `"arguments":"{\"city\":\"Ulm\"}"`, `"finish_reason":"tool_calls"`},
			batches.FormatAnthropic: {`"type":"tool_use"`, `"id":"c1"`, `"name":"weather"`, `"input":{"city":"Ulm"}`, `"stop_reason":"tool_use"`},
		} {
			var out bytes.Buffer
			if _, err := (batches.Export{Format: format}).Write(t.Context(), records{r}, "b1", &out); err != nil {
				t.Fatal(err)
			}
			for _, part := range want {
				if !strings.Contains(out.String(), part) {
					t.Errorf("%s as %s lacks %s: %s", vendor, format, part, out.String())
				}
			}
		}
	}
}

func TestARawExportHasTheVendorsOwnBody(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if _, err := (batches.Export{Format: batches.FormatRaw}).Write(t.Context(), answers()[1:2], "b1", &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"body":{"id":"msg","content":[{"type":"text","text":"hello"}],"stop_reason":"max_tokens"}`) {
		t.Error(out.String())
	}
}

func TestAnExportMayLeaveOutWhatFailedOrWhatSucceeded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		export batches.Export
		want   []string
	}{
		{batches.Export{Failed: true}, []string{"018f-3", "018f-9", "018f-10"}},
		{batches.Export{Succeeded: true}, []string{"018f-1", "018f-2", "018f-5", "018f-6", "018f-7"}},
	} {
		var out bytes.Buffer
		n, err := c.export.Write(t.Context(), samples(), "b1", &out)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for line := range strings.Lines(out.String()) {
			var row struct{ ID string }
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, row.ID)
		}
		if diff := cmp.Diff(c.want, ids); diff != "" || n.Lines != int64(len(c.want)) || n.Unfinished != 1 {
			t.Errorf("%+v: %+v\n%s", c.export, n, diff)
		}
	}
}

func TestAnExportGivesTextBackAsItWas(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := records{{ID: "1", CustomID: hostile, Task: providers.Text, State: jobs.Succeeded, Text: hostile, Cost: billing.USD}}
	if _, err := (batches.Export{}).Write(t.Context(), r, "b1", &out); err != nil {
		t.Fatal(err)
	}
	var row struct {
		CustomID string `json:"custom_id"`
		Response struct {
			Body struct {
				Choices []struct{ Message struct{ Content string } }
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &row); err != nil {
		t.Fatal(err)
	}
	if row.CustomID != hostile || row.Response.Body.Choices[0].Message.Content != hostile || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Errorf("%q", out.String())
	}
}

func TestAResultHasAllItsFieldsWhateverBecameOfTheJob(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	encode := json.NewEncoder(&out)
	encode.SetEscapeHTML(false)
	names := []string{"artifacts", "attempts", "charge_usd", "cost_usd", "error", "job_id", "latency_ms", "model", "provider", "simulated_cost_usd", "state", "text", "usage"}
	list := samples()
	list[0].Usage = json.RawMessage(`{"input_tokens": 3}`)
	for _, r := range list {
		if err := encode.Encode(r.Result()); err != nil {
			t.Fatal(err)
		}
		var row map[string]any
		line := out.Bytes()[bytes.LastIndexByte(bytes.TrimSpace(out.Bytes()), '\n')+1:]
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names, slices.Sorted(maps.Keys(row))); diff != "" || row["artifacts"] == nil || row["usage"] == nil {
			t.Errorf("%s: %s", line, diff)
		}
		if (row["error"] != nil) != (r.State.Finished() && r.State != jobs.Succeeded) || (row["cost_usd"] == nil) != r.Unpriced {
			t.Errorf("%s", line)
		}
	}
	golden.Compare(t, "results.jsonl", out.String())
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAnExportThatCannotBeReadOrWrittenFailsNamingWhat(t *testing.T) {
	t.Parallel()
	if _, err := (batches.Export{}).Write(t.Context(), samples(), "b1", brokenPipe{}); !errors.Is(err, io.ErrClosedPipe) || !strings.HasPrefix(err.Error(), "export b1: ") {
		t.Error(err)
	}
	if _, err := (batches.Export{}).Write(t.Context(), nowhere{}, "b2", io.Discard); !errors.Is(err, jobs.ErrNotFound) || !strings.HasPrefix(err.Error(), "export b2: ") {
		t.Error(err)
	}
}

type nowhere struct{}

func (nowhere) Holds(context.Context, string) (batches.Holds, error) { return batches.Holds{}, nil }

func (nowhere) OwnColumns(context.Context, string) ([]batches.Column, error) { return nil, nil }

func (nowhere) Export(context.Context, string, func(batches.Record) error) error {
	return jobs.ErrNotFound
}
