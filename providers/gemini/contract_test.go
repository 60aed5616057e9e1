package gemini_test

import (
	"encoding/json"
	"testing"

	"oneflow/providers"
	"oneflow/providers/gemini"
	"oneflow/providers/providertest"
)

const prompt = "canary of the prompt"

func weather() providers.Tool {
	return providers.Tool{
		Name: "weather", Description: "of a city", Strict: new(true),
		Parameters: raw(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`),
	}
}

// own is a request in Google's own words.
func own(method, body string) providers.Request {
	req := providers.Request{Task: providers.Text, Model: "gemini-3.8-flash", Endpoint: "/v1beta/models/{model}:" + method, Body: raw(body)}
	if method != "generateContent" {
		req.Task, req.Model = providers.Embedding, "gemini-embedding-2"
	}
	return req
}

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
		// Google's description has no films.
		Tasks: []providers.Task{providers.Text, providers.Image, providers.Embedding, providers.Transcription},
		Allowed: map[string]providers.Request{
			"as little as can be": {Task: providers.Text, Prompt: prompt},
			"all options": {
				Task: providers.Text, Model: "models/gemini-3.8-flash", Prompt: prompt, System: "be brief", MaxTokens: 100, Effort: "low", ServiceTier: "flex", Temperature: &half, TopP: &half,
				Stop: []string{"a", "b"}, Seed: new(int64(7)),
				ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
					Name: "answer", Schema: raw(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`),
				}},
				Extra: map[string]json.RawMessage{
					"generationConfig": raw(`{"topK":5,"thinkingConfig":{"includeThoughts":false}}`),
					"safetySettings":   raw(`[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF"}]`),
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
			"parts of each kind": {Task: providers.Text, Model: "gemini-3.8-flash", Messages: []providers.Message{{Role: "user", Parts: []providers.Part{
				{Type: providers.TextPart, Text: prompt, Cache: providers.CacheDefault},
				{Type: providers.ImagePart, Data: []byte("png"), MIME: "image/png", Detail: "low"},
				{Type: providers.ImagePart, URL: "https://example.com/a.jpg"},
				{Type: providers.DocumentPart, Data: []byte("pdf"), MIME: "application/pdf"},
				{Type: providers.AudioPart, Data: []byte("wav"), MIME: "audio/wav"},
			}}}},
			"tools, called and answered": {
				Task: providers.Text, Model: "gemini-3.8-flash", Tools: []providers.Tool{weather(), {Own: raw(`{"googleSearch":{}}`)}}, ToolChoice: &providers.ToolChoice{Mode: "tool", Name: "weather"},
				Messages: []providers.Message{
					{Role: "user", Content: prompt},
					{Role: "assistant", ToolCalls: []providers.ToolCall{{ID: "1", Name: "weather", Arguments: `{"city":"Ulm"}`}, {ID: "2", Name: "weather", Arguments: `{"city":"Bonn"}`}}},
					{Role: "tool", ToolCallID: "1", Content: `{"sky":"blue"}`},
					{Role: "tool", ToolCallID: "2", Content: "no such place", IsError: true},
				},
			},
			"a vector":   {Task: providers.Embedding, Prompt: prompt, Dimensions: 256, Extra: map[string]json.RawMessage{"taskType": raw(`"CLUSTERING"`)}},
			"a sound":    {Task: providers.Transcription, Prompt: prompt, Language: "en", Temperature: &half, Messages: providertest.Least(providers.Request{Task: providers.Transcription}).Messages},
			"a body":     own("generateContent", `{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"candidateCount":2}}`),
			"two texts":  own("batchEmbedContents", `{"requests":[{"model":"models/gemini-embedding-2","content":{"parts":[{"text":"a"}]}}]}`),
			"one vector": own("embedContent", `{"content":{"parts":[{"text":"a"}]},"embedContentConfig":{"outputDimensionality":8}}`),
			"a picture":  {Task: providers.Image, Prompt: prompt, AspectRatio: "16:9", Quality: "2K", Seed: new(int64(1))},
		},
		Broken: map[string]providers.Request{
			"an unknown service tier":     own("generateContent", `{"contents":[{"parts":[{"text":"a"}]}],"serviceTier":"gold"}`),
			"an unknown task of a vector": {Task: providers.Embedding, Prompt: prompt, Extra: map[string]json.RawMessage{"taskType": raw(`"ANYTHING"`)}},
			"a mode of no tool":           own("generateContent", `{"contents":[{"parts":[{"text":"a"}]}],"toolConfig":{"functionCallingConfig":{"mode":"SOME"}}}`),
			"an unknown threshold":        extra("safetySettings", `[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"MOST"}]`),
			"a topK that is no number":    extra("generationConfig", `{"topK":"five"}`),
			"an unknown effort":           extra("generationConfig", `{"thinkingConfig":{"thinkingLevel":"WILD"}}`),
		},
	})
}
