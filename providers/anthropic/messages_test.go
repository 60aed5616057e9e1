package anthropic_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
)

func TestTextIsAskedForInAnthropicsWords(t *testing.T) {
	t.Parallel()
	schema := json.RawMessage(`{"type":"object","properties":{"zebra":{"type":"string"},"ant":{"type":"string"}}}`)
	for name, tt := range map[string]struct {
		req    providers.Request
		change func(*anthropic.Config)
		want   string
	}{
		"the least": {
			text(), func(*anthropic.Config) {},
			`{"model":"claude-haiku-5-5","max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"canary of the prompt"}]}]}`,
		},
		"everything": {
			providers.Request{
				Task: providers.Text, Model: "claude-sonnet-4-6", System: "Be brief.", Prompt: prompt, MaxTokens: 64000,
				Temperature: new(0.0), Stop: []string{"A", "B"},
				ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "n", Schema: schema}},
				Extra: map[string]json.RawMessage{
					"top_k": json.RawMessage(`5`), "metadata": json.RawMessage(`{"user_id":"u"}`), "odd.na|me": json.RawMessage(`null`),
				},
			},
			func(c *anthropic.Config) { c.Betas = []string{"one-2026-01-01"} },
			`{"model":"claude-sonnet-4-6","max_tokens":64000,"system":[{"type":"text","text":"Be brief."}],
			"messages":[{"role":"user","content":[{"type":"text","text":"canary of the prompt"}]}],
			"temperature":0,"stop_sequences":["A","B"],
			"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"zebra":{"type":"string"},"ant":{"type":"string"}}}}},
			"top_k":5,"metadata":{"user_id":"u"},"odd.na|me":null}`,
		},
		"a conversation": {
			providers.Request{Task: providers.Text, TopP: new(0.5), System: "s1", Messages: []providers.Message{
				{Role: "system", Content: "s2"}, {Role: "user", Content: "u"}, {Role: "assistant", Content: "a"}, {Role: "user", Content: prompt},
			}, ResponseFormat: &providers.ResponseFormat{Type: "text"}, Extra: map[string]json.RawMessage{"output_config": json.RawMessage(`{"effort":"low"}`)}},
			func(c *anthropic.Config) {
				c.MaxTokens = 7
				c.Models = map[providers.Task]string{providers.Text: "claude-opus-4-5"}
				c.BaseURL += "/v1/"
			},
			`{"model":"claude-opus-4-5","max_tokens":7,"top_p":0.5,"system":[{"type":"text","text":"s1"},{"type":"text","text":"s2"}],
			"messages":[{"role":"user","content":[{"type":"text","text":"u"}]},{"role":"assistant","content":[{"type":"text","text":"a"}]},
			{"role":"user","content":[{"type":"text","text":"canary of the prompt"}]}],"output_config":{"effort":"low"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, says(http.StatusOK, message))
			p := provider(t, s, tt.change)
			providertest.Generate(t, p, tt.req)
			calls := s.Requests()
			if len(calls) != 1 || calls[0].Method != http.MethodPost || calls[0].URL != "/v1/messages" {
				t.Fatalf("calls = %+v", calls)
			}
			h := calls[0].Header
			if h.Get("X-Api-Key") != secret || h.Get("Anthropic-Version") != "2023-06-01" || h.Get("Content-Type") != "application/json" {
				t.Errorf("headers = %v", h)
			}
			if tt.req.MaxTokens == 64000 && h.Get("Anthropic-Beta") != "one-2026-01-01" {
				t.Errorf("Anthropic-Beta = %q", h.Get("Anthropic-Beta"))
			}
			var got, want any
			if err := json.Unmarshal(calls[0].Body, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("request differs (-want +got):\n%s", diff)
			}
			if tt.req.MaxTokens == 64000 && !strings.Contains(string(calls[0].Body), string(schema)) {
				t.Errorf("the schema lost its order: %s", calls[0].Body)
			}
		})
	}
}

func TestTextComesBackWhole(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Anthropic-Ratelimit-Input-Tokens-Limit", "50000")
		w.Header().Set("Anthropic-Ratelimit-Input-Tokens-Remaining", "49000")
		says(http.StatusOK, message)(w, r)
	})
	got := providertest.Generate(t, provider(t, s), text())
	if got.Latency <= 0 {
		t.Errorf("latency = %s", got.Latency)
	}
	got.Latency = 0
	want := providers.Response{
		Provider: "mine", Model: "claude-haiku-4-5-20251001", Text: "Hi there", FinishReason: "end_turn", RequestID: "req_1",
		Status: 200, Raw: []byte(message),
		Usage:  providers.Usage{InputTokens: 10, CacheWriteTokens: 20, CachedInputTokens: 30, OutputTokens: 40, ReasoningTokens: 15},
		Limits: providers.RateLimits{InputTokens: &providers.RateLimit{Limit: 50000, Remaining: 49000}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("response differs (-want +got):\n%s", diff)
	}
}

func TestAToolCallIsAnAnswer(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":"msg_2","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":1}}],"stop_reason":"tool_use"}`)
	})
	got := providertest.Generate(t, provider(t, s), text())
	if got.Text != "" || got.FinishReason != "tool_use" || got.Model != "claude-haiku-5-5" || got.RequestID != "msg_2" {
		t.Errorf("response = %+v", got)
	}
}

func TestTextThatIsNoUseIsAFailure(t *testing.T) {
	t.Parallel()
	const used = `"type":"message","usage":{"input_tokens":3,"output_tokens":4}`
	spent := providers.Usage{InputTokens: 3, OutputTokens: 4}
	for name, tt := range map[string]struct {
		body    string
		kind    providers.Kind
		billing providers.Billing
		code    string
		usage   providers.Usage
	}{
		"nothing at all":   {`{}`, providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"an empty body":    {``, providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"a page":           {`<html>` + prompt + `</html>`, providers.NotFound, providers.Unbilled, "", providers.Usage{}},
		"half an answer":   {message[:200], providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"no content":       {`{"content":[],` + used + `}`, providers.Unreadable, providers.Billed, "", spent},
		"empty text":       {`{"content":[{"type":"text","text":""}],"stop_reason":"end_turn",` + used + `}`, providers.Unreadable, providers.Billed, "end_turn", spent},
		"thinking ate it":  {`{"content":[{"type":"thinking","thinking":"hm"}],"stop_reason":"max_tokens",` + used + `}`, providers.InvalidRequest, providers.Billed, "max_tokens", spent},
		"a refusal":        {`{"content":[{"type":"text","text":"half"}],"stop_reason":"refusal",` + used + `}`, providers.Moderated, providers.Billed, "refusal", spent},
		"an empty refusal": {`{"content":[],"stop_reason":"refusal",` + used + `}`, providers.Moderated, providers.Billed, "refusal", spent},
		"a wrapped error":  {`{"type":"error","error":{"type":"overloaded_error","message":"` + prompt + `"}}`, providers.Overloaded, providers.Unbilled, "overloaded_error", providers.Usage{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, says(http.StatusOK, tt.body))
			e := failure(t, provider(t, s), text())
			if e.Kind != tt.kind || e.Billing != tt.billing || e.Code != tt.code || e.Status != 200 || !e.Sent {
				t.Errorf("error = %+v", e)
			}
			if diff := cmp.Diff(tt.usage, e.Usage); diff != "" {
				t.Errorf("usage differs (-want +got):\n%s", diff)
			}
			if string(e.Body) != tt.body {
				t.Errorf("body = %q", e.Body)
			}
		})
	}
}

func TestOddNumbersDoNotCostAnAnswer(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"10000000000000000000", "18446744073709551615", "1e30", "-5", `"x"`, "1.5", "true", "[]", "{}"} {
		s := providertest.Serve(t, says(http.StatusOK, `{"id":`+n+`,"model":`+n+`,"content":[{"type":"text","text":"x","citations":`+n+`}],"stop_reason":"end_turn","stop_sequence":`+n+`,
			"usage":{"input_tokens":`+n+`,"output_tokens":`+n+`,"cache_read_input_tokens":`+n+`,"output_tokens_details":`+n+`}}`))
		got := providertest.Generate(t, provider(t, s), text())
		if u := got.Usage; got.Text != "x" || u.TotalInput() < 0 || u.TotalInput() > 1<<20 || u.TotalOutput() < 0 || u.TotalOutput() > 1<<17 || !u.Implausible || u.Reported == "" {
			t.Errorf("%s: got %+v", n, got.Usage)
		}
	}
}
