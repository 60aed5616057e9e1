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
					"top_k": raw(`5`), "metadata": raw(`{"user_id":"me"}`), "cache_control": raw(`{"type":"ephemeral"}`),
				},
			},
			"a conversation": {
				Task: providers.Text, Model: "claude-haiku-4-5", TopP: &half, ResponseFormat: &providers.ResponseFormat{Type: "text"},
				Messages: []providers.Message{
					{Role: "system", Content: "be brief"},
					{Role: "user", Content: "é 日本 🦊"},
					{Role: "assistant", Content: "yes"},
					{Role: "user", Content: prompt},
				},
			},
			"parts and tools": {
				Task: providers.Text, Model: "claude-opus-4-6", Effort: "xhigh", ServiceTier: "default", ToolChoice: &providers.ToolChoice{Mode: "tool", Name: "f"},
				ParallelToolCalls: new(false),
				Messages: []providers.Message{
					{Role: "system", Parts: []providers.Part{{Type: providers.TextPart, Text: "be brief", Cache: providers.Cache1h}}},
					{Role: "developer", Content: "and kind"},
					{Role: "user", Parts: []providers.Part{
						{Type: providers.TextPart, Text: prompt},
						{Type: providers.ImagePart, URL: "https://example.com/a.png"},
						{Type: providers.ImagePart, Data: []byte("\x89PNG"), MIME: "image/png"},
						{Type: providers.DocumentPart, Data: []byte("%PDF-1.7"), MIME: "application/pdf", Name: "a.pdf", Cache: providers.CacheDefault},
						{Type: providers.DocumentPart, URL: "https://example.com/a.pdf"},
						{Type: providers.DocumentPart, Data: []byte("words"), MIME: "text/plain"},
					}},
					{Role: "assistant", Content: "let me look", ToolCalls: []providers.ToolCall{{ID: "call_1", Name: "f", Arguments: `{"a":1}`}, {ID: "call_2", Name: "g", Arguments: `{}`}}},
					{Role: "tool", ToolCallID: "call_1", Content: "7"},
					{Role: "tool", ToolCallID: "call_2", IsError: true, Parts: []providers.Part{{Type: providers.TextPart, Text: "broken"}, {Type: providers.ImagePart, Data: []byte("GIF89a"), MIME: "image/gif", Cache: providers.Cache1h}}},
					{Role: "user", Content: "go on"},
				},
				Tools: []providers.Tool{
					{Name: "f", Description: "does f", Parameters: raw(`{"type":"object","properties":{"a":{"type":"integer"}}}`), Strict: &strict},
					{Name: "g", Cache: providers.Cache5m},
					{Own: raw(`{"type":"web_search_20250305","name":"web_search","max_uses":3}`)},
				},
			},
			"tools by choice of the model":    {Task: providers.Text, Prompt: prompt, Tools: []providers.Tool{{Name: "f"}}, ToolChoice: &providers.ToolChoice{Mode: "auto"}},
			"tools, whatever the model says":  {Task: providers.Text, Prompt: prompt, Tools: []providers.Tool{{Name: "f"}}, ToolChoice: &providers.ToolChoice{Mode: "required"}},
			"tools that are not to be called": {Task: providers.Text, Prompt: prompt, Tools: []providers.Tool{{Name: "f"}}, ToolChoice: &providers.ToolChoice{Mode: "none"}, ParallelToolCalls: new(false)},
			"one tool at a time":              {Task: providers.Text, Prompt: prompt, Tools: []providers.Tool{{Name: "f"}}, ParallelToolCalls: new(false)},
			"a nested field of its own": {
				Task: providers.Text, Model: "claude-opus-4-6", Prompt: prompt, Effort: "low",
				Extra: map[string]json.RawMessage{"output_config": raw(`{"format":{"type":"json_schema","schema":{"type":"object"}}}`)},
			},
			"with thinking": {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{
				"thinking": raw(`{"type":"enabled","budget_tokens":1024}`),
			}},
		},
		Broken: map[string]providers.Request{
			"metadata that is no object":  {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"metadata": raw(`"a"`)}},
			"a nested field that is none": {Task: providers.Text, Prompt: prompt, Extra: map[string]json.RawMessage{"output_config": raw(`{"colour":"red"}`)}},
			"a schema that is none":       {Task: providers.Text, Prompt: prompt, Tools: []providers.Tool{{Name: "f", Parameters: raw(`{"type":"object","required":7}`)}}},
		},
	})
}

func TestABodyOfAnthropicsOwnArrivesAsItWasGiven(t *testing.T) {
	t.Parallel()
	const body = `{"model":"m","max_tokens":9,"system":[{"type":"text","text":"<be> brief","cache_control":{"type":"ephemeral","ttl":"1h"}}],
	"messages":[{"role":"user","content":[{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"x"}]}]}],"top_k":5.0,"thinking":{"type":"disabled"}}`
	recorder := providertest.Record(t)
	p, err := anthropic.New(anthropic.Config{
		Name: "mine", BaseURL: recorder.URL, Client: &http.Client{}, Key: func(context.Context) (string, error) { return providertest.Key, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Generate(t.Context(), providers.Request{Task: providers.Text, Model: "m", Endpoint: "/v1/messages", Body: raw(body)})
	requests := recorder.Requests()
	if len(requests) != 1 || string(requests[0].Body) != body {
		t.Fatalf("sent %+v: %v", requests, err)
	}
	description := providertest.Describe(t, "anthropic-trim.json")
	if err := description.Check(requests[0]); err != nil {
		t.Errorf("the description refuses it: %v", err)
	}
	requests[0].Body = []byte(`{"model":"m","max_tokens":9,"messages":[],"colour":"red"}`)
	if description.Check(requests[0]) == nil {
		t.Error("the description allows anything")
	}
}
