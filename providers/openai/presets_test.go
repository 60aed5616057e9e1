package openai_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
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
		"perplexity": {base: "/v1", model: "perplexity/sonar", path: "/v1/responses", header: bearer, capName: "max_output_tokens", needs: true, usage: `{"input_tokens":3,"output_tokens":2,"cost":{"input_cost":0.001,"total_cost":0.012,"currency":"USD"}}`, cost: "0.012000000000000000000000"},
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
				_, _ = w.Write([]byte(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],
					"status":"completed","output":[{"type":"search_results","results":[]},{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":` + usage + `}`))
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

func TestATextIsAskedForByResponsesWhereAServerHasNoChats(t *testing.T) {
	t.Parallel()
	const answer = `{"id":"resp_1","model":"perplexity/sonar","status":"completed","output":[{"type":"search_results","results":[]},
		{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":3,"output_tokens":2,"cost":{"total_cost":0.5}}}`
	perplexity := func(c *openai.Config) { c.Preset = preset(t, "perplexity") }
	s := providertest.Serve(t, saysJSON(answer))
	half, yes := 0.5, true
	req := providers.Request{
		Task: providers.Text, Model: "perplexity/sonar", System: "be brief", MaxTokens: 50, Temperature: &half, TopP: &half, Effort: "low", ParallelToolCalls: &yes,
		ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "n", Schema: json.RawMessage(`{"type":"object"}`)}},
		Tools:          []providers.Tool{{Name: "f", Description: "does", Parameters: json.RawMessage(`{"type":"object"}`)}, {Own: json.RawMessage(`{"type":"web_search"}`)}},
		ToolChoice:     &providers.ToolChoice{Mode: "tool", Name: "f"},
		Messages: []providers.Message{
			{Role: "user", Parts: []providers.Part{{Type: providers.TextPart, Text: "what is this?"}, {Type: providers.ImagePart, URL: "https://example.com/a.png"}}},
			{Role: "assistant", Content: "I look", ToolCalls: []providers.ToolCall{{ID: "c1", Name: "f", Arguments: "{}"}}},
			{Role: "tool", ToolCallID: "c1", Content: "a cat"},
			{Role: "assistant", ToolCalls: []providers.ToolCall{{ID: "c2", Name: "f", Arguments: "{}"}}},
			{Role: "tool", ToolCallID: "c2", Content: "a dog"},
		},
	}
	res := providertest.Generate(t, provider(t, s, compatible, perplexity), req)
	want := `{"input":[
		{"type":"message","role":"user","content":[{"type":"input_text","text":"what is this?"},{"type":"input_image","image_url":"https://example.com/a.png"}]},
		{"type":"message","role":"assistant","content":"I look"},
		{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},
		{"type":"function_call_output","call_id":"c1","output":"a cat"},
		{"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},
		{"type":"function_call_output","call_id":"c2","output":"a dog"}],
		"instructions":"be brief","max_output_tokens":50,"model":"perplexity/sonar","parallel_tool_calls":true,"reasoning":{"effort":"low"},
		"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}},"temperature":0.5,"tool_choice":{"name":"f"},
		"tools":[{"type":"function","name":"f","description":"does","parameters":{"type":"object"}},{"type":"web_search"}],"top_p":0.5}`
	sameJSON(t, s.Requests()[0].Body, want)
	if path := s.Requests()[0].URL; path != "/v1/responses" {
		t.Error(path)
	}
	if res.Text != "hi" || res.Usage.Cost != "0.500000000000000000000000" || res.Usage.InputTokens != 3 {
		t.Errorf("%+v", res)
	}
}

func TestWhatAServerDoesNotTakeIsRefusedByNameAndNotSent(t *testing.T) {
	t.Parallel()
	seed := int64(7)
	named := []providers.Message{{Role: "user", Name: "eve", Content: "hi"}}
	look := func(parts ...providers.Part) []providers.Message {
		return []providers.Message{{Role: "user", Parts: append([]providers.Part{{Type: providers.TextPart, Text: "look"}}, parts...)}}
	}
	pdf := providers.Part{Type: providers.DocumentPart, MIME: "application/pdf", Data: []byte("%PDF-")}
	wav := providers.Part{Type: providers.AudioPart, MIME: "audio/wav", Data: []byte("RIFF")}
	png := func(size int) providers.Part {
		return providers.Part{Type: providers.ImagePart, MIME: "image/png", Data: make([]byte, size)}
	}
	search := []providers.Tool{{Name: "f"}, {Own: json.RawMessage(`{"type":"web_search"}`)}}
	for _, c := range []struct {
		server, model string
		req           providers.Request
		says          string // empty: it is sent
	}{
		{"perplexity", "perplexity/sonar", providers.Request{Stop: []string{"x"}}, "stop: Perplexity does not take it: leave it out"},
		{"perplexity", "perplexity/sonar", providers.Request{Seed: &seed}, "seed: Perplexity"},
		{"perplexity", "perplexity/sonar", providers.Request{N: 2}, "n: Perplexity makes one answer a call, got 2: enqueue one job for each"},
		{"perplexity", "perplexity/sonar", providers.Request{LogProbs: true}, "logprobs: Perplexity"},
		{"perplexity", "perplexity/sonar", providers.Request{ServiceTier: "flex"}, "service_tier: Perplexity"},
		{"perplexity", "perplexity/sonar", providers.Request{Effort: "none"}, "effort: must be minimal, low, medium, high, xhigh, max"},
		{"perplexity", "perplexity/sonar", providers.Request{Messages: named}, "messages[0].name: Perplexity"},
		{"perplexity", "perplexity/sonar", providers.Request{Messages: []providers.Message{{Role: "user", Parts: []providers.Part{
			{Type: providers.TextPart, Text: "read"}, {Type: providers.DocumentPart, MIME: "application/pdf", Data: []byte("%PDF-")},
		}}}}, "messages[0].content[1] (document): Perplexity"},
		{"perplexity", "perplexity/sonar", providers.Request{Messages: []providers.Message{{Role: "user", Parts: []providers.Part{
			{Type: providers.ImagePart, URL: "https://example.com/a.png", Detail: "high"},
		}}}}, "messages[0].content[0] (image): detail: Perplexity"},
		{"groq", "llama-3.3-70b-versatile", providers.Request{LogProbs: true}, "logprobs: Groq"},
		{"groq", "llama-3.3-70b-versatile", providers.Request{N: 2}, "n: Groq"},
		{"groq", "llama-3.3-70b-versatile", providers.Request{N: 1}, ""},
		{"groq", "llama-3.3-70b-versatile", providers.Request{Messages: named}, "messages[0].name: Groq"},
		{"groq", "llama-3.3-70b-versatile", providers.Request{Extra: map[string]json.RawMessage{"logit_bias": []byte(`{}`)}}, "extra.logit_bias"},
		{"mistral", "mistral-small", providers.Request{Messages: named}, "messages[0].name: Mistral"},
		{"deepseek", "deepseek-v4-flash", providers.Request{ResponseFormat: &providers.ResponseFormat{
			Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "n", Schema: json.RawMessage(`{"type":"object"}`)},
		}}, "response_format.type: DeepSeek"},
		{"deepseek", "deepseek-v4-flash", providers.Request{ResponseFormat: &providers.ResponseFormat{Type: "json_object"}}, ""},
		{"xai", "grok-4.6", providers.Request{Stop: []string{"x"}}, "stop: grok-4.6"},
		{"xai", "grok-4.20-non-reasoning", providers.Request{Stop: []string{"x"}}, ""},
		{"ollama", "qwen3:8b", providers.Request{N: 2}, "n: Ollama"},
		{"ollama", "qwen3:8b", providers.Request{Tools: []providers.Tool{{Name: "f"}}, ToolChoice: &providers.ToolChoice{Mode: "required"}}, "tool_choice: Ollama"},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{Messages: named}, "messages[0].name: Fireworks"},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{LogProbs: true, TopLogProbs: 6}, "top_logprobs: Fireworks tells of at most 5, got 6: ask for fewer"},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{ServiceTier: "flex"}, `service_tier: Fireworks knows priority beside its default, got "flex": name that, or leave it out`},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{Tools: search}, `tools[1]: Fireworks takes functions only, got "web_search": leave it out`},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{Messages: look(pdf)}, "messages[0].content[1] (document): Fireworks takes texts and pictures: say it in a text, or send pages as pictures"},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{Messages: look(png(9), wav)}, "messages[0].content[2] (audio): Fireworks"},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{Messages: look(slices.Repeat([]providers.Part{png(9)}, 31)...)}, "messages: Fireworks takes at most 30 pictures a request, got 31: ask about fewer at once"},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{Messages: look(png(4<<20), png(4<<20))}, "messages: Fireworks takes pictures of less than 10 MiB together, in base64, got 11184816 bytes: make them smaller, or give their url"},
		{"fireworks", "accounts/fireworks/models/m", providers.Request{
			Messages: look(slices.Repeat([]providers.Part{png(9)}, 30)...), N: 2, LogProbs: true, TopLogProbs: 5, ServiceTier: "priority", Seed: &seed, Tools: search[:1],
			ToolChoice: &providers.ToolChoice{Mode: "required"}, ParallelToolCalls: new(false), Effort: "low", Stop: []string{"x"},
		}, ""},
		{"vllm", "m", providers.Request{ServiceTier: "flex"}, `service_tier: vLLM passes over it, got "flex": leave it out`},
		{"vllm", "m", providers.Request{Tools: search}, `tools[1]: vLLM takes functions only, got "web_search": leave it out`},
		{"vllm", "m", providers.Request{Messages: look(pdf)}, "messages[0].content[1] (document): vLLM takes texts, pictures and sound: say it in a text, or send pages as pictures"},
		{"vllm", "m", providers.Request{Messages: look(providers.Part{Type: providers.ImagePart, URL: "https://example.com/a.png", Detail: "low"})}, "messages[0].content[1] (image): detail: vLLM passes over it: leave it out"},
		{"vllm", "m", providers.Request{Messages: look(wav, providers.Part{Type: providers.ImagePart, URL: "https://example.com/a.png", Detail: "auto"}), ServiceTier: "default", Tools: search[:1]}, ""},
		{"vllm", "m", providers.Request{N: 2, LogProbs: true, Stop: []string{"x"}, Messages: named}, ""},
		{"openrouter", "m", providers.Request{N: 2, LogProbs: true, Stop: []string{"x"}, Messages: named}, ""},
	} {
		req := c.req
		if req.Task, req.Model = providers.Text, c.model; len(req.Messages) == 0 {
			req.Prompt = prompt
		}
		err := preset(t, c.server).Narrow(openai.Compatible().Capabilities()).Check(req)
		if (c.says == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.server, err, c.says)
		}
		s := providertest.Serve(t, saysJSON(completion))
		p := provider(t, s, compatible, func(config *openai.Config) { config.Preset = preset(t, c.server) })
		if c.says == "" {
			providertest.Generate(t, p, req)
		} else if e := failure(t, p, req); e.Sent || len(s.Requests()) > 0 || e.Code != "unsupported_option" {
			t.Errorf("%s, %s: %+v", c.server, c.says, e)
		}
	}
}

func TestMistralIsGivenIDsOfCallsThatItTakes(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, saysJSON(completion))
	providertest.Generate(t, provider(t, s, compatible, func(c *openai.Config) { c.Preset = preset(t, "mistral") }), providers.Request{
		Task: providers.Text, Model: "mistral-small", Messages: []providers.Message{
			{Role: "user", Content: "the weather?"},
			{Role: "assistant", ToolCalls: []providers.ToolCall{{ID: "call_of_another_vendor", Name: "f", Arguments: "{}"}, {ID: "toolu_2", Name: "f", Arguments: "{}"}, {ID: "abcDEF123", Name: "f", Arguments: "{}"}}},
			{Role: "tool", ToolCallID: "toolu_2", Content: "rain"},
			{Role: "tool", ToolCallID: "call_of_another_vendor", Content: "sun"},
			{Role: "tool", ToolCallID: "abcDEF123", Content: "snow"},
		},
	})
	var body struct {
		Messages []struct {
			ToolCalls []struct {
				ID string `json:"id"`
			} `json:"tool_calls"`
			ToolCallID string `json:"tool_call_id"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(s.Requests()[0].Body, &body); err != nil || len(body.Messages) != 5 || len(body.Messages[1].ToolCalls) != 3 {
		t.Fatalf("%v: %s", err, s.Requests()[0].Body)
	}
	calls := body.Messages[1].ToolCalls
	if body.Messages[2].ToolCallID != calls[1].ID || body.Messages[3].ToolCallID != calls[0].ID || calls[2].ID != "abcDEF123" || body.Messages[4].ToolCallID != "abcDEF123" || calls[0].ID == calls[1].ID {
		t.Errorf("answers are of other calls: %s", s.Requests()[0].Body)
	}
	for _, call := range calls {
		if len(call.ID) != 9 || strings.Trim(call.ID, providers.Digits+providers.Letters) != "" {
			t.Errorf("id %q", call.ID)
		}
	}
}

func TestTogetherIsAskedForProbabilitiesByNumber(t *testing.T) {
	t.Parallel()
	for top, want := range map[int]float64{0: 1, 5: 5} {
		s := providertest.Serve(t, saysJSON(completion))
		p := provider(t, s, compatible, func(c *openai.Config) { c.Preset = preset(t, "together") })
		providertest.Generate(t, p, providers.Request{Task: providers.Text, Model: "m", Prompt: prompt, LogProbs: true, TopLogProbs: top})
		var fields map[string]any
		if err := json.Unmarshal(s.Requests()[0].Body, &fields); err != nil || fields["logprobs"] != want || fields["top_logprobs"] != nil {
			t.Errorf("%d: %v, %v", top, fields, err)
		}
	}
}

func TestMistralsSeedHasANameOfItsOwn(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, saysJSON(completion))
	seed := int64(7)
	providertest.Generate(t, provider(t, s, compatible, func(c *openai.Config) { c.Preset = preset(t, "mistral") }), providers.Request{Task: providers.Text, Model: "mistral-small", Prompt: prompt, Seed: &seed})
	var fields map[string]any
	if err := json.Unmarshal(s.Requests()[0].Body, &fields); err != nil || fields["random_seed"] != 7.0 || fields["seed"] != nil {
		t.Errorf("%v, %v", fields, err)
	}
}

func TestWhatOpenRouterReportsIsTheCostWhateverWasAsked(t *testing.T) {
	t.Parallel()
	const reports = `"usage":{"prompt_tokens":3,"completion_tokens":2,"input_tokens":3,"output_tokens":2,"cost":0.05,"is_byok":%v,"cost_details":{"upstream_inference_cost":1}}`
	for byok, want := range map[bool]string{false: "0.050000000000000000000000", true: "1.050000000000000000000000"} { // with a key of the customer's own there
		usage := fmt.Sprintf(reports, byok)
		for _, c := range []struct {
			answer string
			req    providers.Request
		}{
			{`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],` + usage + `}`, providers.Request{Task: providers.Text, Prompt: prompt}},
			{`{"data":[{"index":0,"embedding":[0.5]}],` + usage + `}`, providers.Request{Task: providers.Embedding, Prompt: prompt}},
			{`{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],` + usage + `}`, providers.Request{
				Task: providers.Text, Endpoint: "/v1/responses", Body: json.RawMessage(`{"model":"m","input":"hi"}`),
			}},
		} {
			c.req.Model = "m"
			s := providertest.Serve(t, saysJSON(c.answer))
			router := provider(t, s, compatible, func(c *openai.Config) { c.Preset = preset(t, "openrouter") })
			if res := providertest.Generate(t, router, c.req); res.Usage.Cost != want {
				t.Errorf("%s: %q, want %q", c.answer, res.Usage.Cost, want)
			}
			if res := providertest.Generate(t, provider(t, s, compatible), c.req); res.Usage.Cost != "" {
				t.Errorf("another server's word was taken: %q", res.Usage.Cost)
			}
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
