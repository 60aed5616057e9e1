package openai_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

// preset is the preset of a name.
func preset(t *testing.T, name string) providers.Preset {
	t.Helper()
	for _, p := range openai.Compatible().Presets {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no preset %s", name)
	return providers.Preset{}
}

func TestEachPresetIsCalledInItsOwnWay(t *testing.T) {
	t.Parallel()
	const bearer, router = "Authorization", `{"prompt_tokens":3,"completion_tokens":2,"cost":1.25e-05}`
	for name, want := range map[string]struct {
		base, model    string
		path, header   string
		capName        string
		usage          string // of the answer
		cost           string
		cached         int64
		keyless, needs bool
	}{
		"azure":      {base: "/openai/v1", model: "my-deployment", path: "/openai/v1/chat/completions", header: "Api-Key", capName: "max_completion_tokens", needs: true},
		"groq":       {base: "/openai/v1", model: "llama-3.3-70b-versatile", path: "/openai/v1/chat/completions", header: bearer, capName: "max_completion_tokens", needs: true},
		"mistral":    {base: "/v1", model: "mistral-small", path: "/v1/chat/completions", header: bearer, capName: "max_tokens", needs: true},
		"deepseek":   {base: "/v1", model: "deepseek-v4-flash", path: "/v1/chat/completions", header: bearer, capName: "max_tokens", needs: true, usage: `{"prompt_tokens":9,"completion_tokens":2,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":5}`, cached: 4},
		"xai":        {base: "/v1", model: "grok-4.5", path: "/v1/chat/completions", header: bearer, capName: "max_completion_tokens", needs: true},
		"openrouter": {base: "/api/v1", model: "meta-llama/llama-4", path: "/api/v1/chat/completions", header: bearer, capName: "max_tokens", needs: true, usage: router, cost: "0.000012500000000000000000"},
		"together":   {base: "/v1", model: "meta-llama/Llama-3.3-70B", path: "/v1/chat/completions", header: bearer, capName: "max_tokens", needs: true, usage: router},
		"fireworks":  {base: "/inference/v1", model: "accounts/fireworks/models/m", path: "/inference/v1/chat/completions", header: bearer, capName: "max_tokens", needs: true},
		"perplexity": {base: "", model: "sonar", path: "/chat/completions", header: bearer, capName: "max_tokens", needs: true, usage: `{"prompt_tokens":3,"completion_tokens":2,"cost":{"input_tokens_cost":0.001,"total_cost":0.012}}`, cost: "0.012000000000000000000000"},
		"ollama":     {base: "/v1", model: "qwen3:8b", path: "/v1/chat/completions", capName: "max_tokens", keyless: true},
		"vllm":       {base: "/v1", model: "m", path: "/v1/chat/completions", capName: "max_tokens", keyless: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			var fields map[string]any
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Clone(context.Background())
				_ = json.NewDecoder(r.Body).Decode(&fields)
				usage := want.usage
				if usage == "" {
					usage = `{"prompt_tokens":3,"completion_tokens":2}`
				}
				_, _ = w.Write([]byte(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":` + usage + `}`))
			}))
			t.Cleanup(server.Close)
			client := wire.NewClient(wire.Config{})
			t.Cleanup(client.CloseIdleConnections)
			p := preset(t, name)
			made, err := openai.Compatible().New(providers.ClientConfig{
				Name: name, BaseURL: server.URL + want.base, Client: client, KeyHeader: p.KeyHeader, Preset: p, MaxTokens: 77,
				Key: func(context.Context) (string, error) {
					if want.keyless {
						return "", nil
					}
					return secret, nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			res, err := made.Generate(t.Context(), providers.Request{Task: providers.Text, Model: want.model, Prompt: prompt})
			if err != nil {
				t.Fatal(err)
			}
			sent := map[string]string{"Authorization": "Bearer " + secret, "Api-Key": secret}[want.header]
			if got.URL.Path != want.path || want.header != "" && got.Header.Get(want.header) != sent || want.keyless && got.Header.Get("Authorization") != "" {
				t.Errorf("%s, %v", got.URL, got.Header)
			}
			if fields[want.capName] != 77.0 || len(fields) != 3 {
				t.Errorf("body %v, want the cap as %s", fields, want.capName)
			}
			if res.Usage.Cost != want.cost || res.Usage.CachedInputTokens != want.cached || p.NeedsKey != want.needs {
				t.Errorf("usage %+v, needs a key: %v", res.Usage, p.NeedsKey)
			}
			if p.ReportsCost != (want.cost != "") {
				t.Error("a cost is believed, or not, against the table")
			}
		})
	}
	for _, p := range openai.Compatible().Presets {
		if p.Name == "" || (p.BaseURL == "") != p.Deployments {
			t.Errorf("%+v", p)
		}
	}
}

func TestTheCapIsNamedByTheModelToo(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{
		"openai/gpt-6-luna": "max_completion_tokens", "gpt-5.4": "max_completion_tokens", "o3": "max_completion_tokens", "o4-mini": "max_completion_tokens",
		"gpt-4o": "max_tokens", "olmo": "max_tokens", "meta-llama/llama-4": "max_tokens",
	} {
		s := providertest.Serve(t, saysJSON(completion))
		providertest.Generate(t, provider(t, s, compatible), providers.Request{Task: providers.Text, Model: model, Prompt: prompt, MaxTokens: 5})
		var fields map[string]any
		if err := json.Unmarshal(s.Requests()[0].Body, &fields); err != nil || fields[want] != 5.0 {
			t.Errorf("%s: %v, want %s", model, fields, want)
		}
	}
}

func TestCapacityAtGroqIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, says(498, "application/json", `{"error":{"message":"Flex tier capacity exceeded","type":"capacity_exceeded"}}`))
	e := failure(t, provider(t, s, compatible), providers.Request{Task: providers.Text, Model: "m", Prompt: prompt})
	if e.Kind != providers.Overloaded || e.Billing != providers.Unbilled || e.Kind.Reaction() != providers.Retry {
		t.Errorf("%+v", e)
	}
}

func TestACostThatCannotBeIsNotBelieved(t *testing.T) {
	t.Parallel()
	for cost, want := range map[string]string{
		`0`: "0.000000000000000000000000", `-1`: "", `1e99`: "", `"0.1"`: "", `null`: "", `1e-400`: "", `{}`: "", `99999999`: "",
	} {
		s := providertest.Serve(t, saysJSON(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"cost":`+cost+`}}`))
		p := provider(t, s, compatible, func(c *openai.Config) { c.Preset = preset(t, "openrouter") })
		if got := providertest.Generate(t, p, providers.Request{Task: providers.Text, Model: "m", Prompt: prompt}).Usage.Cost; got != want {
			t.Errorf("%s: %q, want %q", cost, got, want)
		}
	}
}
