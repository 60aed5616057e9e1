package anthropic

import (
	"strings"
	"time"

	"oneflow/providers"
)

// Kind is the name of this kind of provider.
const Kind = "anthropic"

// class is a family of models with its generation, such as claude-opus-4 for
// claude-opus-4-8: Anthropic counts the calls of these together.
func class(model string) string {
	model = providers.Undated(model)
	if i := strings.LastIndexByte(model, '-'); strings.Count(model, "-") == 3 && i > 0 && !strings.HasPrefix(model, "claude-3") {
		return model[:i]
	}
	return model
}

// Descriptor describes Anthropic.
func Descriptor() providers.Descriptor {
	return providers.Descriptor{
		Kind:         Kind,
		Capabilities: capabilities,
		BaseURL:      defaultBaseURL,
		Key: providers.KeyForm{
			Prefixes: []string{"sk-ant-"}, MinLength: 24, Characters: providers.Letters + providers.Digits + "-_",
		},
		MaxTokens: maxTokens,
		Limits:    providers.Limits{RPM: 50},
		Class:     class,
		Latency:   5 * time.Second,
		Cache:     providers.PromptCache{MinTokens: 4096, Marked: true}, // 1,024 of some models
		Chains:    []providers.Task{providers.Text},
		StandIns: []providers.StandIn{
			{
				Task: providers.Text, Class: providers.Small, Model: "claude-haiku-5-5",
				Models: []string{"claude-3-5-haiku", "claude-haiku-4-5", "claude-haiku-5-5"},
			},
			{
				Task: providers.Text, Class: providers.Medium, Model: "claude-sonnet-5-5",
				Models: []string{"claude-sonnet-4", "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-sonnet-5", "claude-sonnet-5-5"},
			},
			{
				Task: providers.Text, Class: providers.Large, Model: "claude-opus-5-5",
				Models: []string{
					"claude-opus-4-1", "claude-opus-4-5", "claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-opus-5-5",
				},
			},
		},
		New: func(c providers.ClientConfig) (providers.Provider, error) {
			return New(Config{Name: c.Name, BaseURL: c.BaseURL, Client: c.Client, Key: c.Key, Models: c.Models, MaxTokens: c.MaxTokens, Betas: c.Betas})
		},
	}
}
