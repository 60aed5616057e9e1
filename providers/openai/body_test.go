package openai_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

// sentBody returns the body that a request with a body of its own becomes.
func sentBody(t *testing.T, task providers.Task, model, endpoint, body string) providertest.Recorded {
	t.Helper()
	recorder := providertest.Record(t)
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	p, err := openai.New(openai.Config{
		Name: "mine", BaseURL: recorder.URL + "/v1", Client: client, Key: func(context.Context) (string, error) { return providertest.Key, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Generate(t.Context(), providers.Request{Task: task, Model: model, Endpoint: endpoint, Body: raw(body)})
	requests := recorder.Requests()
	if len(requests) != 1 {
		t.Fatalf("%s: the client made %d requests, want 1: %v", body, len(requests), err)
	}
	return requests[0]
}

func TestABodyOfOpenAIsOwnArrivesAsItWasGiven(t *testing.T) {
	t.Parallel()
	const text, image, audio = providers.Text, providers.Image, providers.Audio
	for name, c := range map[string]struct {
		task           providers.Task
		file, endpoint string
		body           string
		broken         string // refused by the description
	}{
		"chat": {
			text, "openai-trim.json", "/v1/chat/completions",
			`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"<é>"},{"type":"file","file":{"file_id":"f-1"}}]}],
			"prediction":{"type":"content","content":"x"},"presence_penalty":0.50,"store":null,"tools":[{"type":"custom","custom":{"name":"n"}}],"stream":false}`,
			`{"model":"m","messages":"hi"}`,
		},
		"responses": {
			text, "openai-trim.json", "/v1/responses",
			`{"model":"m","instructions":"be brief","input":[{"type":"message","role":"user","content":"hi"}],"max_output_tokens":99,
			"reasoning":{"effort":"low"},"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}},"tools":[{"type":"web_search"}],"truncation":"auto"}`,
			`{"model":"m","input":7}`,
		},
		"embeddings": {
			providers.Embedding, "openai-trim.json", "/v1/embeddings",
			`{"model":"m","input":["a","b"],"dimensions":256,"encoding_format":"base64"}`, `{"model":"m","input":["a"],"dimensions":"many"}`,
		},
		"moderations": {
			providers.Moderation, "openai-more-trim.json", "/v1/moderations",
			`{"model":"m","input":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}`, `{"model":"m","input":7}`,
		},
		"pictures": {image, "openai-trim.json", "/v1/images/generations", `{"model":"m","prompt":"a cat","n":2,"moderation":"low"}`, `{"model":"m","prompt":7,"moderation":"low"}`},
		"edits": {
			image, "openai-more-trim.json", "/v1/images/edits",
			`{"model":"m","prompt":"a hat","images":[{"image_url":"https://x/y.png"}],"input_fidelity":"high"}`, `{"model":"m","prompt":"a hat","images":7}`,
		},
		"speech": {audio, "openai-trim.json", "/v1/audio/speech", `{"model":"m","input":"hi","voice":"alloy","instructions":"softly"}`, `{"model":"m","input":"hi","voice":"alloy","speed":"slow"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			description := providertest.Describe(t, c.file)
			sent := sentBody(t, c.task, "m", c.endpoint, c.body)
			if string(sent.Body) != c.body {
				t.Errorf("sent %s, want %s", sent.Body, c.body)
			}
			if err := description.Check(sent); err != nil {
				t.Errorf("the description refuses it: %v", err)
			}
			sent.Body = []byte(c.broken)
			if err := description.Check(sent); err == nil {
				t.Error("the description allows anything")
			}
			var want, got map[string]any
			other := sentBody(t, c.task, "another", c.endpoint, c.body)
			if json.Unmarshal([]byte(c.body), &want) != nil || json.Unmarshal(other.Body, &got) != nil {
				t.Fatal("no JSON")
			}
			want["model"] = "another"
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("for another model more than that changes:\n%s", diff)
			}
		})
	}
}

func TestAnswersOfFurtherEndpointsAreRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		task                   providers.Task
		endpoint, body, answer string
		text, finish           string
		usage                  providers.Usage
	}{
		"responses": {
			providers.Text, "/v1/responses", `{"model":"m","input":"hi"}`,
			`{"id":"resp_1","model":"m-2","status":"completed","output":[{"type":"reasoning","summary":[]},{"type":"message","content":[{"type":"output_text","text":"yes"}]}],
			"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":1},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":17}}`,
			"yes", "completed",
			providers.Usage{InputTokens: 5, CachedInputTokens: 4, CacheWriteTokens: 1, OutputTokens: 7, ReasoningTokens: 5},
		},
		"responses, cut": {
			providers.Text, "/v1/responses", `{"model":"m","input":"hi"}`,
			`{"id":"resp_1","model":"m-2","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"message","content":[{"type":"output_text","text":"ye"}]}],"usage":{"input_tokens":1,"output_tokens":2}}`,
			"ye", "max_output_tokens",
			providers.Usage{InputTokens: 1, OutputTokens: 2},
		},
		"responses, a call": {
			providers.Text, "/v1/responses", `{"model":"m","input":"hi"}`,
			`{"id":"resp_1","status":"completed","output":[{"type":"function_call","name":"f","arguments":"{}","call_id":"c"}],"usage":{"input_tokens":1,"output_tokens":2}}`,
			"", "tool_calls",
			providers.Usage{InputTokens: 1, OutputTokens: 2},
		},
		"a vector": {
			providers.Embedding, "/v1/embeddings", `{"model":"m","input":"hi"}`,
			`{"object":"list","model":"m","data":[{"index":0,"embedding":[0.25,-1]}],"usage":{"prompt_tokens":3,"total_tokens":3}}`,
			"[0.25,-1]", "stop",
			providers.Usage{InputTokens: 3},
		},
		"vectors out of order, in base64": {
			providers.Embedding, "/v1/embeddings", `{"model":"m","input":["a","b"]}`,
			`{"model":"m","data":[{"index":1,"embedding":"AACAPwAAAMA="},{"index":0,"embedding":"AACAPg=="}],"usage":{"prompt_tokens":3,"total_tokens":3}}`,
			"[[0.25],[1,-2]]", "stop",
			providers.Usage{InputTokens: 3},
		},
		"a moderation": {
			providers.Moderation, "/v1/moderations", `{"model":"m","input":"hi"}`,
			`{"id":"modr-1","model":"m","results":[{"flagged":true}]}`, `[{"flagged":true}]`, "stop",
			providers.Usage{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := providertest.Generate(t, provider(t, providertest.Serve(t, saysJSON(c.answer))), providers.Request{Task: c.task, Model: "m", Endpoint: c.endpoint, Body: raw(c.body)})
			if got.Text != c.text || got.FinishReason != c.finish || cmp.Diff(c.usage, got.Usage) != "" {
				t.Errorf("text %q, finish %q, usage %+v", got.Text, got.FinishReason, got.Usage)
			}
		})
	}
	for name, c := range map[string]struct{ task, endpoint, answer string }{
		"vectors twice": {"embedding", "/v1/embeddings", `{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}],"usage":{"prompt_tokens":3}}`},
		"no vector":     {"embedding", "/v1/embeddings", `{"data":[{"index":0,"embedding":[]}],"usage":{"prompt_tokens":3}}`},
		"half a number": {"embedding", "/v1/embeddings", `{"data":[{"index":0,"embedding":"AACA"}],"usage":{"prompt_tokens":3}}`},
		"no answer":     {"text", "/v1/responses", `{"status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":1}}`},
		"a refusal":     {"text", "/v1/responses", `{"status":"completed","output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}],"usage":{"input_tokens":3,"output_tokens":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := provider(t, providertest.Serve(t, saysJSON(c.answer))).Generate(t.Context(), providers.Request{Task: providers.Task(c.task), Model: "m", Endpoint: c.endpoint, Body: raw(`{"model":"m","input":"hi"}`)})
			if e := providers.AsError("mine", err); err == nil || e.Billing != providers.Billed || e.Usage.InputTokens != 3 || len(e.Body) == 0 {
				t.Errorf("%v", err)
			}
		})
	}
}
