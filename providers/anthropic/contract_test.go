package anthropic_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
)

func raw(text string) json.RawMessage { return json.RawMessage(text) }

func TestAnthropicsDescriptionAllowsWhatIsSent(t *testing.T) {
	t.Parallel()
	half, strict := 0.5, true
	providertest.CheckContract(t, providertest.Contract{
		Descriptor: anthropic.Descriptor(),
		File:       "anthropic-trim.json",
		Connect: func(url string, client *http.Client) (providers.Provider, error) {
			return anthropic.New(anthropic.Config{
				Name: "mine", BaseURL: url, Client: client, Betas: []string{"one-2026-01-01", "two-2026-01-01"},
				Key: func(context.Context) (string, error) { return providertest.Key, nil },
			})
		},
		Allowed: map[string]providers.Request{
			"as little as can be": text(),
			"all options": {
				Task: providers.Text, Model: "claude-haiku-4-5", Prompt: prompt, System: "be brief", MaxTokens: 100, Temperature: &half, Stop: []string{"a", "b"},
				ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
					Name: "answer", Description: "an answer", Strict: &strict,
					Schema: raw(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`),
				}},
				Extra: map[string]json.RawMessage{
					"top_k": raw(`5`), "metadata": raw(`{"user_id":"me"}`), "service_tier": raw(`"standard_only"`), "cache_control": raw(`{"type":"ephemeral"}`),
				},
			},
			"a conversation": {
				Task: providers.Text, TopP: &half, ResponseFormat: &providers.ResponseFormat{Type: "text"},
				Messages: []providers.Message{
					{Role: "system", Content: "be brief"},
					{Role: "user", Content: "é 日本 🦊"},
					{Role: "assistant", Content: "yes"},
					{Role: "user", Content: prompt},
				},
			},
			"with tools": {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{
				"tools": raw(`[{"name":"f","input_schema":{"type":"object","properties":{}}}]`), "tool_choice": raw(`{"type":"auto"}`),
			}},
			"with thinking": {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{
				"thinking": raw(`{"type":"enabled","budget_tokens":1024}`),
			}},
		},
		Broken: map[string]providers.Request{
			"metadata that is no object": {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"metadata": raw(`"a"`)}},
			"an unknown service tier":    {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"service_tier": raw(`"gold"`)}},
			"a tool without a name":      {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"tools": raw(`[{"input_schema":{"type":"object"}}]`)}},
		},
	})
}
