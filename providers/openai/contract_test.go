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

func TestOpenAIsDescriptionAllowsWhatIsSent(t *testing.T) {
	t.Parallel()
	half, strict, seed := 0.5, true, int64(7)
	providertest.CheckContract(t, providertest.Contract{
		Descriptor: openai.Descriptor(),
		File:       "openai-trim.json",
		Connect: func(url string, client *http.Client) (providers.Provider, error) {
			return openai.New(openai.Config{
				Name: "mine", BaseURL: url + "/v1", Client: client, Organization: "org-1", Project: "proj-1",
				Key: func(context.Context) (string, error) { return providertest.Key, nil },
			})
		},
		Allowed: map[string]providers.Request{
			"text, as little as can be": text(),
			"text with all options": {
				Task: providers.Text, Model: "gpt-5.4-mini", Prompt: prompt, System: "be brief", MaxTokens: 100, Temperature: &half, TopP: &half,
				Stop: []string{"a", "b", "c", "d"}, Seed: &seed,
				ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
					Name: "answer", Description: "an answer", Strict: &strict,
					Schema: raw(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`),
				}},
				Extra: map[string]json.RawMessage{
					"reasoning_effort": raw(`"none"`), "metadata": raw(`{"a":"b"}`), "store": raw(`false`), "service_tier": raw(`"flex"`),
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
			"text with tools": {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{
				"tools": raw(`[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}]`), "tool_choice": raw(`"auto"`),
			}},
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
			"speech with a voice of one's own": {Task: providers.Audio, Model: "gpt-4o-mini-tts", Prompt: prompt, Voice: "voice_1234"},
		},
		Broken: map[string]providers.Request{
			"text with metadata that is no object": {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"metadata": raw(`"a"`)}},
			"text with an unknown effort":          {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"reasoning_effort": raw(`"heroic"`)}},
			"a picture with an unknown moderation": {Task: providers.Image, Prompt: prompt, Extra: map[string]json.RawMessage{"moderation": raw(`7`)}},
			"speech in an unknown format": {
				Task: providers.Audio, Model: "another", Prompt: prompt, OutputFormat: "tape",
			},
		},
	})
}
