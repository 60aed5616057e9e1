package gemini_test

import (
	"encoding/json"
	"testing"

	"oneflow/providers"
	"oneflow/providers/gemini"
	"oneflow/providers/providertest"
)

const prompt = "canary of the prompt"

func raw(text string) json.RawMessage { return json.RawMessage(text) }

func TestGooglesDescriptionAllowsWhatIsSent(t *testing.T) {
	t.Parallel()
	half := 0.5
	extra := func(name, value string) providers.Request {
		return providers.Request{Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{name: raw(value)}}
	}
	providertest.CheckContract(t, providertest.Contract{
		Descriptor: gemini.Descriptor(),
		File:       "gemini-trim.json",
		Connect:    connect,
		Allowed: map[string]providers.Request{
			"as little as can be": {Task: providers.Text, Prompt: prompt},
			"all options": {
				Task: providers.Text, Model: "models/gemini-3.8-flash", Prompt: prompt, System: "be brief", MaxTokens: 100, Temperature: &half, TopP: &half,
				Stop: []string{"a", "b"}, Seed: new(int64(7)),
				ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
					Name: "answer", Schema: raw(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`),
				}},
				Extra: map[string]json.RawMessage{
					"generationConfig": raw(`{"topK":5,"thinkingConfig":{"thinkingLevel":"LOW"}}`), "serviceTier": raw(`"flex"`),
					"safetySettings": raw(`[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF"}]`),
				},
			},
			"a conversation": {
				Task: providers.Text, ResponseFormat: &providers.ResponseFormat{Type: "json_object"},
				Messages: []providers.Message{
					{Role: "system", Content: "be brief"},
					{Role: "user", Content: "é 日本 🦊"},
					{Role: "assistant", Content: "yes"},
					{Role: "user", Content: prompt},
				},
			},
			"a picture": {Task: providers.Image, Prompt: prompt, AspectRatio: "16:9", Quality: "2K", Seed: new(int64(1))},
		},
		Broken: map[string]providers.Request{
			"an unknown service tier":  extra("serviceTier", `"gold"`),
			"an unknown threshold":     extra("safetySettings", `[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"MOST"}]`),
			"a topK that is no number": extra("generationConfig", `{"topK":"five"}`),
			"an unknown effort":        extra("generationConfig", `{"thinkingConfig":{"thinkingLevel":"WILD"}}`),
		},
	})
}
