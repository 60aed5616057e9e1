package openai_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
)

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// connectTo makes the provider of a test's server.
func connectTo(url string, client *http.Client) (providers.Provider, error) {
	return openai.New(openai.Config{
		Name: "mine", BaseURL: url + "/v1", Client: client, Organization: "org-1", Project: "proj-1",
		Key: func(context.Context) (string, error) { return providertest.Key, nil },
	})
}

func TestOpenAIsDescriptionAllowsTheTranscriptionsThatAreAskedFor(t *testing.T) {
	t.Parallel()
	half := 0.5
	heard := func(req providers.Request) providers.Request {
		req.Task = providers.Transcription
		return providertest.Least(req)
	}
	providertest.CheckContract(t, providertest.Contract{
		Descriptor: openai.Descriptor(),
		File:       "openai-more-trim.json",
		Tasks:      []providers.Task{providers.Transcription},
		Connect:    connectTo,
		Allowed: map[string]providers.Request{
			"as little as can be": heard(providers.Request{}),
			"with all options": heard(providers.Request{
				Model: "whisper-1", Prompt: prompt, Language: "en", Temperature: &half, OutputFormat: "verbose_json",
				Extra: map[string]json.RawMessage{"timestamp_granularities": raw(`["word"]`)},
			}),
		},
		Broken: map[string]providers.Request{
			"in a format of no vendor": heard(providers.Request{Extra: map[string]json.RawMessage{"chunking_strategy": raw(`"sometimes"`), "include": raw(`["smells"]`)}}),
		},
	})
}

func TestOpenAIsDescriptionAllowsWhatIsSent(t *testing.T) {
	t.Parallel()
	half, strict, seed := 0.5, true, int64(7)
	providertest.CheckContract(t, providertest.Contract{
		Descriptor: openai.Descriptor(),
		File:       "openai-trim.json",
		Tasks:      []providers.Task{providers.Text, providers.Image, providers.Audio, providers.Embedding},
		Connect:    connectTo,
		Allowed: map[string]providers.Request{
			"text, as little as can be": text(),
			"text with all options": {
				Task: providers.Text, Model: "gpt-5.4-mini", Prompt: prompt, System: "be brief", MaxTokens: 100, Temperature: &half, TopP: &half,
				Stop: []string{"a", "b", "c", "d"}, Seed: &seed, N: 3, LogProbs: true, TopLogProbs: 5, Effort: "none", ServiceTier: "flex",
				ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
					Name: "answer", Description: "an answer", Strict: &strict,
					Schema: raw(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`),
				}},
				Extra: map[string]json.RawMessage{
					"metadata": raw(`{"a":"b"}`), "store": raw(`false`), "audio": raw(`{"voice":"alloy","format":"mp3"}`),
				},
			},
			"text as a conversation": {
				Task: providers.Text, MaxTokens: 1, ResponseFormat: &providers.ResponseFormat{Type: "json_object"},
				Messages: []providers.Message{
					{Role: "system", Content: "answer in JSON"},
					{Role: "user", Content: "é 日本 🦊"},
					{Role: "assistant", Content: "{}"},
					{Role: "user", Content: prompt},
				},
			},
			"text as text": {Task: providers.Text, Prompt: prompt, ResponseFormat: &providers.ResponseFormat{Type: "text"}},
			"text with sound": {Task: providers.Text, Model: "gpt-audio", Messages: []providers.Message{{Role: "user", Parts: []providers.Part{
				{Type: providers.TextPart, Text: prompt},
				{Type: providers.AudioPart, Data: []byte("ID3"), MIME: "audio/mpeg"},
				{Type: providers.AudioPart, Data: []byte("RIFF"), MIME: "audio/wav"},
			}}}},
			"text with parts and tools": {
				Task: providers.Text, Model: "gpt-6-luna", Effort: "none", ToolChoice: &providers.ToolChoice{Mode: "tool", Name: "f"}, ParallelToolCalls: new(false), ServiceTier: "standard_only",
				Messages: []providers.Message{
					{Role: "system", Parts: []providers.Part{{Type: providers.TextPart, Text: "be brief", Cache: providers.Cache1h}}},
					{Role: "developer", Content: "and kind"},
					{Role: "user", Parts: []providers.Part{
						{Type: providers.TextPart, Text: prompt},
						{Type: providers.ImagePart, URL: "https://example.com/a.png", Detail: "low"},
						{Type: providers.ImagePart, Data: []byte("\x89PNG"), MIME: "image/png"},
						{Type: providers.DocumentPart, Data: []byte("%PDF-1.7"), MIME: "application/pdf", Name: "a.pdf", Cache: providers.CacheDefault},
					}},
					{Role: "assistant", Content: "let me look", ToolCalls: []providers.ToolCall{{ID: "call_1", Name: "f", Arguments: `{"a":1}`}, {ID: "call_2", Name: "g", Arguments: `{}`}}},
					{Role: "tool", ToolCallID: "call_1", Content: "7"},
					{Role: "tool", ToolCallID: "call_2", Content: "nothing"},
					{Role: "user", Content: "go on"},
				},
				Tools: []providers.Tool{
					{Name: "f", Description: "does f", Parameters: raw(`{"type":"object","properties":{"a":{"type":"integer"}}}`), Strict: &strict},
					{Name: "g", Cache: providers.Cache5m},
				},
			},
			"text with tools by choice":      {Task: providers.Text, Prompt: prompt, Effort: "none", Tools: []providers.Tool{{Name: "f"}}, ToolChoice: &providers.ToolChoice{Mode: "required"}},
			"a picture, as little as can be": image(),
			"a picture with all options of gpt-image": {
				Task: providers.Image, Model: "gpt-image-2", Prompt: prompt, N: 10, Size: "1536x1024", Quality: "high", Background: "opaque", OutputFormat: "webp",
				Extra: map[string]json.RawMessage{"moderation": raw(`"low"`), "output_compression": raw(`80`), "user": raw(`"me"`)},
			},
			"a picture with all options of DALL·E": {
				Task: providers.Image, Model: "dall-e-3", Prompt: prompt, N: 1, Size: "1792x1024", Quality: "hd", Style: "natural",
			},
			"speech, as little as can be": audio(),
			"speech with all options": {
				Task: providers.Audio, Model: "gpt-4o-mini-tts", Prompt: prompt, Voice: "coral", Speed: &half, OutputFormat: "opus",
				Extra: map[string]json.RawMessage{"instructions": raw(`"speak gently"`)},
			},
			"a vector, as little as can be":    {Task: providers.Embedding, Prompt: prompt},
			"a vector with all options":        {Task: providers.Embedding, Prompt: prompt, Dimensions: 256, Extra: map[string]json.RawMessage{"user": raw(`"me"`)}},
			"speech with a voice of one's own": {Task: providers.Audio, Model: "gpt-4o-mini-tts", Prompt: prompt, Voice: "voice_1234"},
		},
		Broken: map[string]providers.Request{
			"text with metadata that is no object": {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"metadata": raw(`"a"`)}},
			"text with an unknown tier":            {Task: providers.Text, Prompt: prompt, ServiceTier: "gold"},
			"text with a message of no kind":       {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"modalities": raw(`["smell"]`)}},
			"a picture with an unknown moderation": {Task: providers.Image, Prompt: prompt, Extra: map[string]json.RawMessage{"moderation": raw(`7`)}},
			"a vector with a field of no vendor":   {Task: providers.Embedding, Prompt: prompt, Extra: map[string]json.RawMessage{"shape": raw(`7`)}},
			"speech in an unknown format": {
				Task: providers.Audio, Model: "another", Prompt: prompt, OutputFormat: "tape",
			},
		},
	})
}
