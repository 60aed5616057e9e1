package gemini

import (
	"strings"
	"time"

	"oneflow/providers"
)

// Kind is the name of this kind of provider.
const Kind = "gemini"

// Descriptor describes Google's Gemini API. It answers no header that tells a limit,
// so that what is configured, and refusals, decide.
func Descriptor() providers.Descriptor {
	return providers.Descriptor{
		Kind:         Kind,
		Capabilities: capabilities,
		BaseURL:      defaultBaseURL,
		Key: providers.KeyForm{
			Prefixes: []string{"AIza", "AQ."}, MinLength: 30, Characters: providers.Letters + providers.Digits + "-_.",
		},
		Limits:   providers.Limits{RPM: 60},
		Class:    func(model string) string { return strings.TrimPrefix(model, prefix) },
		Latency:  5 * time.Second,
		Cache:    providers.PromptCache{MinTokens: 4096}, // https://ai.google.dev/gemini-api/docs/caching
		Chains:   []providers.Task{providers.Text, providers.Image, providers.Video, providers.Transcription},
		StandIns: standIns(),
		New: func(c providers.ClientConfig) (providers.Provider, error) {
			return New(Config{Name: c.Name, BaseURL: c.BaseURL, Client: c.Client, Key: c.Key, Models: c.Models, MaxTokens: c.MaxTokens})
		},
	}
}

// standIns are the classes of Google's models, by the prices of November 2026. No
// model that has a day on which it is shut down stands in for another.
func standIns() []providers.StandIn {
	return []providers.StandIn{
		{
			Task: providers.Text, Class: providers.Small, Model: "gemini-3.5-flash-lite",
			Models: []string{"gemini-2.0-flash-lite", "gemini-2.5-flash-lite", "gemini-3.1-flash-lite", "gemini-3.5-flash-lite"},
		},
		{
			Task: providers.Text, Class: providers.Medium, Model: "gemini-3.8-flash",
			Models: []string{
				"gemini-2.0-flash", "gemini-2.5-flash", "gemini-3-flash-preview", "gemini-3.5-flash", "gemini-3.6-flash", "gemini-3.7-flash", "gemini-3.8-flash",
			},
		},
		{
			Task: providers.Text, Class: providers.Large, Model: "gemini-3.1-pro-preview",
			Models: []string{"gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3.1-pro-preview"},
		},
		{
			Task: providers.Image, Class: providers.Small, Model: "gemini-3.1-flash-image",
			Models: []string{"gemini-2.5-flash-image", "gemini-3.1-flash-image", "gemini-3.1-flash-lite-image"},
		},
		{Task: providers.Image, Class: providers.Large, Model: "gemini-3-pro-image", Models: []string{"gemini-3-pro-image"}},
	}
}
