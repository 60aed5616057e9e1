package openai

import (
	"time"

	"oneflow/providers"
)

// The kinds of this package: OpenAI itself, and servers that speak its protocol.
const (
	Kind           = "openai"
	CompatibleKind = Kind + "-compatible"
)

// Descriptor describes OpenAI.
func Descriptor() providers.Descriptor {
	return providers.Descriptor{
		Kind:         Kind,
		Capabilities: capabilities,
		BaseURL:      defaultBaseURL,
		Key: providers.KeyForm{
			Prefixes: []string{"sk-"}, NotPrefixes: []string{"sk-ant-"}, MinLength: 20,
			Characters: providers.Letters + providers.Digits + "-_",
		},
		KeyHeader: true,
		Tokenizer: providers.Tiktoken,
		Limits:    providers.Limits{RPM: 60},
		Class:     providers.Undated,
		Latency:   5 * time.Second,
		Cache:     providers.PromptCache{MinTokens: 1024}, // https://developers.openai.com/api/docs/guides/prompt-caching
		Chains:    []providers.Task{providers.Text, providers.Image, providers.Embedding, providers.Transcription},
		StandIns:  standIns(),
		New:       func(c providers.ClientConfig) (providers.Provider, error) { return connect(c, false) },
	}
}

// Compatible describes other servers that speak OpenAI's protocol.
func Compatible() providers.Descriptor {
	return providers.Descriptor{
		Kind:         CompatibleKind,
		Capabilities: compatibleCapabilities,
		Compatible:   true,
		Presets:      presets(),
		KeyHeader:    true,
		Limits:       providers.Limits{RPM: 60},
		Class:        providers.Undated,
		Latency:      5 * time.Second,
		New:          func(c providers.ClientConfig) (providers.Provider, error) { return connect(c, true) },
	}
}

func connect(c providers.ClientConfig, compatible bool) (providers.Provider, error) {
	return New(Config{
		Name: c.Name, BaseURL: c.BaseURL, Compatible: compatible, Client: c.Client, Key: c.Key, KeyHeader: c.KeyHeader, Models: c.Models,
		Preset: c.Preset, Organization: c.Organization, Project: c.Project, MaxTokens: c.MaxTokens, Voice: c.Voice,
		VideosAsJSON: c.Preset.VideosAsJSON,
	})
}

// standIns are the classes of OpenAI's models, by the prices of November 2026. No model
// that has a day on which it is shut down stands in for another: of speech there is
// none left.
func standIns() []providers.StandIn {
	return []providers.StandIn{
		{
			Task: providers.Text, Class: providers.Small, Model: "gpt-6-luna",
			Models: []string{
				"gpt-3.5-turbo", "gpt-4o-mini", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-5-mini", "gpt-5-nano", "gpt-5.4-mini", "gpt-5.4-nano",
				"gpt-5.6-luna", "gpt-6-luna", "o3-mini", "o4-mini",
			},
		},
		{
			Task: providers.Text, Class: providers.Medium, Model: "gpt-6.1-sol",
			Models: []string{
				"gpt-4o", "gpt-4.1", "gpt-4-turbo", "gpt-4", "gpt-5", "gpt-5.1", "gpt-5.2", "gpt-5.3", "gpt-5.4", "gpt-5.6-terra", "gpt-5.6-sol",
				"gpt-6-sol", "gpt-6.1-terra", "gpt-6.1-sol", "o1", "o3",
			},
		},
		{Task: providers.Text, Class: providers.Large, Model: "gpt-6-astra", Models: []string{"gpt-5.5", "gpt-5.6", "gpt-6-astra"}},
		{
			Task: providers.Image, Class: providers.Large, Model: "gpt-image-2",
			Models: []string{"gpt-image-1-mini", "gpt-image-1", "gpt-image-1.5", "gpt-image-2", "dall-e-2", "dall-e-3"},
		},
	}
}
