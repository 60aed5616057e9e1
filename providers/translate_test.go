package providers_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

func TestARequestIsTheSameForAnotherProviderOrIsRefused(t *testing.T) {
	t.Parallel()
	tr := providers.Translation{
		Capabilities: kinds.CapabilitiesOf,
		Kinds: map[string]string{
			"openai": "openai", "anthropic": "anthropic", "stability": "stability", "elevenlabs": "elevenlabs", "mock": "mock",
			"local": "openai-compatible", "second": "openai", "groq": "openai-compatible",
		},
		Presets: map[string]providers.Preset{},
	}
	tr.Presets["groq"], _, _ = kinds.Preset("groq")
	tr.Model = func(to string, task providers.Task, from, model string) (string, bool) {
		if model == "" {
			model = capabilities(t, tr.Kinds[from]).Tasks[task].DefaultModel
		}
		if stand := map[string]map[string]string{
			"gpt-6-luna":             {"anthropic": "claude-sonnet-4-5"},
			"eleven_multilingual_v2": {"openai": "tts-1"},
			"gpt-image-2":            {"second": "gpt-image-1"},
		}[model][to]; stand != "" {
			return stand, true
		}
		if tr.Kinds[from] == tr.Kinds[to] {
			return model, true
		}
		return "", true
	}
	number := func(f float64) *float64 { return &f }
	seed := int64(7)
	text := providers.Request{Task: providers.Text, Prompt: "p", System: "s", MaxTokens: 100}
	for name, c := range map[string]struct {
		from, to string
		change   func(r *providers.Request)
		want     func(r *providers.Request)
		refused  string // part of the reason
	}{
		"a mapped model":             {"openai", "anthropic", func(r *providers.Request) { r.Model = "gpt-6-luna" }, func(r *providers.Request) { r.Model = "claude-sonnet-4-5" }, ""},
		"the default is mapped too":  {"openai", "anthropic", func(*providers.Request) {}, func(r *providers.Request) { r.Model = "claude-sonnet-4-5" }, ""},
		"a model that is not mapped": {"openai", "anthropic", func(r *providers.Request) { r.Model = "o3" }, func(*providers.Request) {}, ""},
		"the same kind of provider":  {"openai", "second", func(r *providers.Request) { r.Model, r.Seed = "o3", &seed }, func(r *providers.Request) { r.Model, r.Seed = "o3", &seed }, ""},
		"a seed is a hint":           {"openai", "anthropic", func(r *providers.Request) { r.Model, r.Seed = "o3", &seed }, func(*providers.Request) {}, ""},
		"extra is one vendor's":      {"openai", "anthropic", func(r *providers.Request) { r.Model, r.Extra = "o3", map[string]json.RawMessage{"user": []byte(`"u"`)} }, func(*providers.Request) {}, ""},
		"extra that decides":         {"openai", "anthropic", func(r *providers.Request) { r.Extra = map[string]json.RawMessage{"presence_penalty": []byte(`1.5`)} }, nil, "extra.presence_penalty"},
		"extra of Anthropic's":       {"anthropic", "openai", func(r *providers.Request) { r.Extra = map[string]json.RawMessage{"top_k": []byte(`1`)} }, nil, "extra.top_k"},
		"a search of OpenAI's": {"openai", "anthropic", func(r *providers.Request) {
			r.Tools = []providers.Tool{{Name: "f"}, {Own: []byte(`{"type":"custom"}`)}}
		}, nil, "tools[1]"},
		"a server that does not take it": {"openai", "groq", func(r *providers.Request) { r.LogProbs = true }, nil, "logprobs"},
		"the same server without it":     {"local", "groq", func(r *providers.Request) { r.N = 2 }, nil, "request's n"},
		"a server of the kind that may":  {"groq", "local", func(r *providers.Request) { r.N, r.Model = 2, "m" }, func(r *providers.Request) { r.N, r.Model = 2, "m" }, ""},
		"several answers":                {"openai", "anthropic", func(r *providers.Request) { r.N = 2 }, nil, "request's n"},
		"odds":                           {"openai", "anthropic", func(r *providers.Request) { r.LogProbs = true }, nil, "logprobs"},
		"no effort":                      {"openai", "anthropic", func(r *providers.Request) { r.Effort = "none" }, nil, "effort"},
		"a tier of OpenAI's":             {"openai", "anthropic", func(r *providers.Request) { r.ServiceTier = "flex" }, nil, "service_tier"},
		"the plain tier":                 {"openai", "anthropic", func(r *providers.Request) { r.Model, r.ServiceTier = "o3", "default" }, func(r *providers.Request) { r.ServiceTier = "default" }, ""},
		"a sound":                        {"openai", "anthropic", part(providers.AudioPart, "audio/wav"), nil, "messages[0].content[0] (audio)"},
		"a picture":                      {"openai", "anthropic", func(r *providers.Request) { part(providers.ImagePart, "image/png")(r); r.Model = "o3" }, part(providers.ImagePart, "image/png"), ""},
		"a plain document":               {"anthropic", "openai", part(providers.DocumentPart, "text/plain"), nil, "messages[0].content[0] (document)"},
		"a tool that failed": {"anthropic", "openai", func(r *providers.Request) {
			part(providers.ImagePart, "image/png")(r)
			r.Messages = append(r.Messages, providers.Message{Role: "tool", ToolCallID: "c", IsError: true})
		}, nil, "messages[1].is_error"},
		"tools": {"openai", "anthropic", func(r *providers.Request) {
			r.Model, r.Tools, r.ToolChoice = "o3", []providers.Tool{{Name: "f"}}, &providers.ToolChoice{Mode: "required"}
		}, func(*providers.Request) {}, ""},
		"a format it has not":    {"openai", "anthropic", func(r *providers.Request) { r.ResponseFormat = &providers.ResponseFormat{Type: "json_object"} }, nil, "response_format"},
		"too hot":                {"openai", "anthropic", func(r *providers.Request) { r.Temperature = number(1.5) }, nil, "temperature"},
		"a stop of blanks":       {"openai", "anthropic", func(r *providers.Request) { r.Stop = []string{" "} }, nil, "stop"},
		"another task":           {"stability", "anthropic", func(r *providers.Request) { *r = providers.Request{Task: providers.Image, Prompt: "p"} }, nil, "image"},
		"nobody knows it":        {"openai", "elsewhere", func(*providers.Request) {}, nil, "kind"},
		"pixels become a ratio":  {"openai", "stability", picture("1536x1024", ""), func(r *providers.Request) { r.Size, r.AspectRatio = "", "3:2" }, ""},
		"nearly 16:9":            {"openai", "stability", picture("1792x1024", ""), func(r *providers.Request) { r.Size, r.AspectRatio = "", "16:9" }, ""},
		"any size":               {"openai", "stability", picture("auto", ""), func(r *providers.Request) { r.Size = "" }, ""},
		"no such ratio":          {"openai", "stability", picture("3072x1024", ""), nil, "size"},
		"a ratio becomes pixels": {"stability", "openai", picture("", "16:9"), func(r *providers.Request) { r.Size, r.AspectRatio = "1536x864", "" }, ""},
		"a square":               {"stability", "openai", picture("", "1:1"), func(r *providers.Request) { r.Size, r.AspectRatio = "1024x1024", "" }, ""},
		"three sizes only":       {"openai", "second", picture("768x512", ""), func(r *providers.Request) { r.Model, r.Size = "gpt-image-1", "1536x1024" }, ""},
		"small pictures":         {"stability", "mock", picture("", "16:9"), func(r *providers.Request) { r.Size, r.AspectRatio = "1024x576", "" }, ""},
		"what not to draw":       {"stability", "openai", func(r *providers.Request) { picture("", "1:1")(r); r.NegativePrompt = "n" }, nil, "negative_prompt"},
		"two pictures":           {"openai", "stability", func(r *providers.Request) { picture("", "")(r); r.N = 2 }, nil, "request's n"},
		"one picture":            {"openai", "stability", func(r *providers.Request) { picture("", "")(r); r.N = 1 }, func(r *providers.Request) { r.N = 0 }, ""},
		"quality, style, background": {"openai", "stability", func(r *providers.Request) {
			picture("", "")(r)
			r.Quality, r.Style, r.Background = "high", "vivid", "opaque"
		}, func(r *providers.Request) { r.Quality, r.Style, r.Background = "", "", "" }, ""},
		"a file format both know":     {"openai", "stability", func(r *providers.Request) { picture("", "")(r); r.OutputFormat = "webp" }, func(*providers.Request) {}, ""},
		"a file format one knows":     {"openai", "stability", func(r *providers.Request) { picture("", "")(r); r.OutputFormat = "gif" }, func(r *providers.Request) { r.OutputFormat = "" }, ""},
		"a voice":                     {"elevenlabs", "openai", speech("21m00Tcm4TlvDq8ikWAM", 1.1), func(r *providers.Request) { r.Voice, r.Model = "", "tts-1" }, ""},
		"a speed it has not":          {"openai", "elevenlabs", speech("alloy", 3), func(r *providers.Request) { r.Voice, r.Speed = "", nil }, ""},
		"too long to be spoken there": {"elevenlabs", "openai", func(r *providers.Request) { speech("", 1)(r); r.Prompt = strings.Repeat("x", 5000) }, nil, "prompt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := text
			c.change(&req)
			got, err := tr.Translate(c.from, c.to, req)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "1.5") {
					t.Errorf("%v, want a word of %s", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := req
			want.Model, want.Seed, want.Extra = "", nil, nil
			c.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func picture(size, ratio string) func(*providers.Request) {
	return func(r *providers.Request) {
		*r = providers.Request{Task: providers.Image, Prompt: "p", Size: size, AspectRatio: ratio}
	}
}

func speech(voice string, speed float64) func(*providers.Request) {
	return func(r *providers.Request) {
		*r = providers.Request{Task: providers.Audio, Prompt: "p", Voice: voice, Speed: &speed}
	}
}

func capabilities(t *testing.T, kind string) providers.Capabilities {
	t.Helper()
	can, ok := kinds.CapabilitiesOf(kind)
	if !ok {
		t.Fatalf("no such kind: %s", kind)
	}
	return can
}

// part is a conversation of one medium.
func part(kind providers.PartType, mime string) func(*providers.Request) {
	return func(r *providers.Request) {
		r.Prompt, r.Messages = "", []providers.Message{{Role: "user", Parts: []providers.Part{{Type: kind, MIME: mime, Data: []byte("data")}}}}
	}
}

func TestABodyIsTranslatedWhereEachFieldHasAnEquivalent(t *testing.T) {
	t.Parallel()
	tr := providers.Translation{Capabilities: kinds.CapabilitiesOf, Kinds: map[string]string{"openai": "openai", "anthropic": "anthropic", "second": "openai"}}
	const chat, messages, responses = "/v1/chat/completions", "/v1/messages", "/v1/responses"
	for name, c := range map[string]struct {
		from, to, endpoint, body string
		want                     providers.Request
		refused                  string
	}{
		"the same kind": {"openai", "second", chat, `{"model":"m","x":1}`, providers.Request{Endpoint: chat, Body: []byte(`{"model":"m","x":1}`)}, ""},
		"chat": {
			"openai", "anthropic", chat, `{"model":"m","messages":[{"role":"user","content":"a"}],"max_completion_tokens":9,"stop":"x","n":1,"user":"u","stream":false}`,
			providers.Request{Messages: []providers.Message{{Role: "user", Content: "a"}}, MaxTokens: 9, Stop: []string{"x"}},
			"",
		},
		"responses": {
			"openai", "anthropic", responses, `{"model":"m","input":"a","instructions":"s","max_output_tokens":99,"store":false}`,
			providers.Request{Prompt: "a", System: "s", MaxTokens: 99},
			"",
		},
		"messages": {
			"anthropic", "openai", messages, `{"model":"m","system":"s","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"max_tokens":9,"stop_sequences":["x"],"metadata":{"user_id":"u"}}`,
			providers.Request{System: "s", Messages: []providers.Message{{Role: "user", Content: "a"}}, MaxTokens: 9, Stop: []string{"x"}},
			"",
		},
		"a field of OpenAI's":    {"openai", "anthropic", chat, `{"messages":[{"role":"user","content":"a"}],"presence_penalty":1.5}`, providers.Request{}, "body.presence_penalty"},
		"a field of Anthropic's": {"anthropic", "openai", messages, `{"max_tokens":9,"messages":[{"role":"user","content":"a"}],"thinking":{"type":"disabled"}}`, providers.Request{}, "body.thinking"},
		"a part of OpenAI's":     {"openai", "anthropic", chat, `{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}`, providers.Request{}, "messages[0].content[0].file.file_id"},
		"an item of OpenAI's":    {"openai", "anthropic", responses, `{"input":[{"type":"item_reference","id":"i"}]}`, providers.Request{}, "input (messages[0]"},
		"a nested field":         {"openai", "anthropic", responses, `{"input":"a","reasoning":{"summary":"auto"}}`, providers.Request{}, "reasoning.summary"},
		"several answers":        {"openai", "anthropic", chat, `{"messages":[{"role":"user","content":"a"}],"n":2}`, providers.Request{}, "request's n"},
		"a vector":               {"openai", "anthropic", "/v1/embeddings", `{"input":"a"}`, providers.Request{}, "embedding"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := providers.Text
			if c.endpoint == "/v1/embeddings" {
				task = providers.Embedding
			}
			got, err := tr.Translate(c.from, c.to, providers.Request{Task: task, Model: "m", Endpoint: c.endpoint, Body: []byte(c.body)})
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "1.5") {
					t.Errorf("%v, want a word of %s", err, c.refused)
				}
				return
			}
			c.want.Task, got.Model = providers.Text, ""
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}
