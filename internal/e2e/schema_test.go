package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

// TestEveryAcceptedAnswerFitsItsSchemaAndTheReasksAreOnTheBill breaks three of ten
// answers, of three vendors, and of options as well as vendors' own bodies.
func TestEveryAcceptedAnswerFitsItsSchemaAndTheReasksAreOnTheBill(t *testing.T) {
	t.Parallel()
	server, err := harness.Provider(fakeprovider.Config{Default: fakeprovider.Behaviour{Faults: map[fakeprovider.Fault]float64{fakeprovider.OffSchema: 0.3}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	sut := newSystem(t, "concurrency: 4, latency: 1ms")
	const fast = "limits: {rpm: 6000}, concurrency: 8, latency: 10ms"
	sut.configure(fmt.Sprintf("providers:\n  openai: {base_url: %[1]s/openai/v1, %[2]s}\n  anthropic: {base_url: %[1]s/anthropic, %[2]s}\n  gemini: {base_url: %[1]s/gemini, %[2]s}\n", server.URL, fast))
	sut.Env = append(sut.Env, "GEMINI_API_KEY="+canaryKey+"-gemini")
	sut.workerOf("openai", "anthropic", "gemini")

	schema := map[string]any{
		"type": "object", "properties": map[string]any{"n": map[string]any{"type": "integer"}}, "required": []string{"n"}, "additionalProperties": false,
	}
	format := map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "schema": schema}}
	var rows []map[string]any
	for i := range 30 {
		question := fmt.Sprintf("how many, no. %d?", i)
		turns := []map[string]any{{"role": "user", "content": question}}
		for _, provider := range []string{"openai", "anthropic", "gemini"} {
			rows = append(rows, map[string]any{"provider": provider, "prompt": question, "response_format": format, "max_tokens": 200})
		}
		rows = append(rows,
			map[string]any{"provider": "openai", "endpoint": "/v1/chat/completions", "body": map[string]any{"model": "gpt-6-luna", "messages": turns, "response_format": format}},
			map[string]any{"provider": "openai", "endpoint": "/v1/responses", "body": map[string]any{
				"model": "gpt-6-luna", "input": question, "text": map[string]any{"format": map[string]any{"type": "json_schema", "name": "answer", "schema": schema}},
			}},
			map[string]any{"provider": "anthropic", "endpoint": "/v1/messages", "body": map[string]any{
				"model": "claude-haiku-4-5", "max_tokens": 200, "messages": turns, "output_config": map[string]any{"format": map[string]any{"type": "json_schema", "schema": schema}},
			}},
		)
	}
	sut.run(0, "enqueue", "batch", sut.file("rows.jsonl", rows), "--batch-id", "s", "--reask", "8", "--no-fallback", "--watch")

	for line := range strings.Lines(sut.run(0, "enqueue", "export", "s")) {
		var out struct {
			OneFlow struct {
				State, Text string
			} `json:"oneflow"`
		}
		if err := json.Unmarshal([]byte(line), &out); err != nil {
			t.Fatal(err)
		}
		var answer map[string]int
		if err := json.Unmarshal([]byte(out.OneFlow.Text), &answer); err != nil || len(answer) != 1 || out.OneFlow.State != "succeeded" {
			t.Errorf("%s: %q", out.OneFlow.State, out.OneFlow.Text)
		}
	}
	sent, reasks := 0, int64(0)
	for _, c := range server.Calls() {
		if strings.Contains(string(c.Body), "does not fit the JSON schema that was asked for") {
			reasks++
		}
		sent++
	}
	calls := sut.number(`SELECT count(*) FROM calls`)
	off := sut.number(`SELECT count(*) FROM calls WHERE error_kind = 'schema' AND state = 'failed_billed' AND cost_nano > 0`)
	if calls != int64(sent) || off != calls-int64(len(rows)) || off == 0 || reasks != off {
		t.Errorf("%d calls were sent, %d of them reasks, and the ledger has %d, %d of them off their schema, for %d rows", sent, reasks, calls, off, len(rows))
	}
	if n := sut.number(`SELECT (SELECT sum(cost_nano) FROM calls)::bigint - (SELECT sum(cost_nano) FROM job_states)::bigint`); n != 0 {
		t.Errorf("the jobs' costs and their calls' differ by %d nano-dollars", n)
	}
	if n := sut.number(`SELECT count(*) FROM calls WHERE cost_nano > reserved_nano`); n != 0 {
		t.Errorf("%d calls cost more than was reserved", n)
	}

	// Where it may not be asked again, the job fails, and says why.
	server.Next(fakeprovider.OffSchema, -1)
	one := sut.file("one.jsonl", []map[string]any{{"provider": "openai", "prompt": "how many?", "response_format": format}})
	sut.run(5, "enqueue", "batch", one, "--batch-id", "f", "--reask", "1", "--watch")
	if said := sut.text(`SELECT string_agg(error_class || ': ' || error_message, ' ') FROM job_states WHERE batch_id = 'f'`); !strings.HasPrefix(said, "schema: ") {
		t.Errorf("the job that never fits says %q", said)
	}
	if n := sut.number(`SELECT count(*) FROM call_jobs cj JOIN job_states s USING (job_id) WHERE s.batch_id = 'f'`); n != 2 {
		t.Errorf("it made %d calls, want 2", n)
	}
}
