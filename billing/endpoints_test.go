package billing_test

import (
	"encoding/json"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// TestABodyForAnyEndpointIsPricedByItsModel reserves for a vendor's own body at each endpoint
// of each kind: at most what it can use where its model has a price, and nothing that looks
// like a price where it has none.
func TestABodyForAnyEndpointIsPricedByItsModel(t *testing.T) {
	t.Parallel()
	list, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]struct {
		body, model string
		used        providers.Usage // by a call as dear as the body allows
	}{
		"/v1/chat/completions":                      {`{"messages":[{"role":"user","content":"hi"}],"max_completion_tokens":50,"n":2,"web_search_options":{}}`, "gpt-6-luna", providers.Usage{InputTokens: 2, OutputTokens: 100, WebSearches: 1}},
		"/v1/responses":                             {`{"input":"hi","max_output_tokens":50,"tools":[{"type":"web_search"}]}`, "gpt-6-luna", providers.Usage{InputTokens: 2, OutputTokens: 50, WebSearches: 1}},
		"/v1/embeddings":                            {`{"input":["one","two"]}`, "text-embedding-3-small", providers.Usage{InputTokens: 6}},
		"/v1/moderations":                           {`{"input":"hi"}`, "omni-moderation-latest", providers.Usage{}},
		"/v1/images/generations":                    {`{"prompt":"a tower","n":3,"quality":"low"}`, "gpt-image-2", providers.Usage{InputTokens: 7, ImageOutputTokens: 3 * 272}},
		"/v1/images/edits":                          {`{"prompt":"a tower","quality":"low","images":[{"image_url":"https://example.com/a.png"}]}`, "gpt-image-2", providers.Usage{InputTokens: 7, ImageInputTokens: 4000, ImageOutputTokens: 272}},
		"/v1/audio/speech":                          {`{"input":"hello","voice":"alloy"}`, "gpt-4o-mini-tts", providers.Usage{Characters: 5}},
		"/v1/videos":                                {`{"prompt":"a tower","seconds":"8","size":"720x1280"}`, "sora-2", providers.Usage{MilliSeconds: 8000, Variant: "720x1280"}},
		"/v1/messages":                              {`{"max_tokens":50,"messages":[{"role":"user","content":"hi"}]}`, "claude-haiku-5-5", providers.Usage{InputTokens: 2, OutputTokens: 50}},
		"/v1beta/models/{model}:generateContent":    {`{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":50}}`, "gemini-3.5-flash-lite", providers.Usage{InputTokens: 2, OutputTokens: 50}},
		"/v1beta/models/{model}:embedContent":       {`{"content":{"parts":[{"text":"hi"}]}}`, "gemini-embedding-2", providers.Usage{InputTokens: 2}},
		"/v1beta/models/{model}:batchEmbedContents": {`{"requests":[{"model":"models/gemini-embedding-2","content":{"parts":[{"text":"hi"}]}}]}`, "gemini-embedding-2", providers.Usage{InputTokens: 2}},
	}
	at := time.Now()
	kept := providers.Request{Task: providers.Text, Model: "gpt-6.1-terra", Endpoint: "/v1/responses", Body: json.RawMessage(`{"input":"hello","max_output_tokens":50,"prompt_cache_options":{"ttl":"12h"}}`)}
	openai := &billing.Prices{List: list, Kinds: map[string]string{"p": "openai"}}
	most, _, _ := openai.Reserve("p", kept, at)
	if cost, _, _ := openai.Cost("p", kept.Model, providers.Usage{CacheWriteTokens: 80, OutputTokens: 50, Variant: "12h"}, at); cost != 450_000 || most < cost {
		t.Errorf("%s are reserved for a call that keeps its prompt for 12 hours, and costs %s", most, cost)
	}
	for _, d := range kinds.All() {
		for _, e := range d.Capabilities().Endpoints {
			b, ok := bodies[e.Path]
			if !ok {
				t.Errorf("%s: this test knows nothing of it", e.Path)
				continue
			}
			rows := &billing.Prices{List: list, Kinds: map[string]string{"p": d.Kind}}
			if d.Compatible {
				rows.Kinds["p"] = "openai" // prices_as
			}
			req := providers.Request{Task: e.Task, Model: b.model, Endpoint: e.Path, Body: json.RawMessage(b.body)}
			most, _, priced := rows.Reserve("p", req, at)
			cost, _, known := rows.Cost("p", b.model, b.used, at)
			if !priced || e.Task != providers.Moderation && (!known || cost == 0 || most < cost) {
				t.Errorf("%s %s: %s reserved (priced %t) for a call of %s (priced %t)", d.Kind, e.Path, most, priced, cost, known)
			}
			if d.Compatible {
				continue
			}
			req.Model = "nobody-has-this"
			if most, _, priced := rows.Reserve("p", req, at); priced || most != 0 {
				t.Errorf("%s %s: %s are reserved for a model that nobody knows", d.Kind, e.Path, most)
			}
			if cost, _, priced := rows.Cost("p", req.Model, b.used, at); priced || cost != 0 {
				t.Errorf("%s %s: a model that nobody knows costs %s", d.Kind, e.Path, cost)
			}
		}
	}
}
