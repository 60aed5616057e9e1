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
		Latency:   5 * time.Second,
		Chains:    []providers.Task{providers.Text, providers.Image, providers.Audio},
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
		KeyHeader:    true,
		Limits:       providers.Limits{RPM: 60},
		Latency:      5 * time.Second,
		New:          func(c providers.ClientConfig) (providers.Provider, error) { return connect(c, true) },
	}
}

func connect(c providers.ClientConfig, compatible bool) (providers.Provider, error) {
	return New(Config{
		Name: c.Name, BaseURL: c.BaseURL, Compatible: compatible, Client: c.Client, Key: c.Key, KeyHeader: c.KeyHeader, Models: c.Models,
	})
}

// standIns are the classes of OpenAI's models, by the prices of August 2026. What
// stands in takes sampling options where there is a choice.
func standIns() []providers.StandIn {
	return []providers.StandIn{
		{
			Task: providers.Text, Class: providers.Small, Model: "gpt-5.4-mini",
			Models: []string{
				"gpt-3.5-turbo", "gpt-4o-mini", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-5-mini", "gpt-5-nano", "gpt-5.4-mini", "gpt-5.4-nano",
				"o3-mini", "o4-mini",
			},
		},
		{
			Task: providers.Text, Class: providers.Medium, Model: "gpt-5.4",
			Models: []string{"gpt-4o", "gpt-4.1", "gpt-4-turbo", "gpt-4", "gpt-5", "gpt-5.1", "gpt-5.2", "gpt-5.3", "gpt-5.4", "o1", "o3"},
		},
		{Task: providers.Text, Class: providers.Large, Model: "gpt-5.5", Models: []string{"gpt-5.5", "gpt-5.6"}},
		{
			Task: providers.Image, Class: providers.Small, Model: "gpt-image-1-mini",
			Models: []string{"gpt-image-1-mini", "gpt-image-1", "dall-e-2", "dall-e-3"},
		},
		{Task: providers.Image, Class: providers.Large, Model: "gpt-image-2", Models: []string{"gpt-image-1.5", "gpt-image-2"}},
		{Task: providers.Audio, Class: providers.Small, Model: "tts-1", Models: []string{"tts-1"}},
		{Task: providers.Audio, Class: providers.Large, Model: "tts-1-hd", Models: []string{"tts-1-hd", "gpt-4o-mini-tts"}},
	}
}
