package openai_test

import (
	"net/http"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

func TestOpenAIHoldsToTheContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, providertest.Config{
		Descriptor: openai.Descriptor(),
		New:        conforming(func(*openai.Config) {}),
		Requests: []providers.Request{
			{Task: providers.Text},
			{Task: providers.Image, Size: "64x64", N: 2},
			{Task: providers.Audio, Model: "tts-1"},
			{Task: providers.Embedding},
			{Task: providers.Transcription},
		},
	})
}

func TestACompatibleServerHoldsToTheContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, providertest.Config{
		Descriptor: openai.Compatible(),
		New:        conforming(compatible),
		Requests: []providers.Request{
			{Task: providers.Text, Model: "llama"},
			{Task: providers.Image, Model: "flux", Size: "64x64", N: 2},
			{Task: providers.Audio, Model: "kokoro"},
			{Task: providers.Video, Model: "wan", Size: "64x64"},
			{Task: providers.Embedding, Model: "bge-m3"},
			{Task: providers.Transcription, Model: "gpt-4o-transcribe"},
		},
	})
}

// conforming makes providers for fake servers.
func conforming(change change) func(*testing.T, providertest.Fault) providertest.Subject {
	return providertest.Service(fakeprovider.New, func(url string, client *http.Client) (providers.Provider, error) {
		config := openai.Config{
			Name: "mine", BaseURL: url + "/openai/v1", Client: client, Guarded: client, PollEvery: time.Millisecond,
			Key: wire.Given(providertest.Key),
		}
		change(&config)
		return openai.New(config)
	})
}
