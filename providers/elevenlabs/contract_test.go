package elevenlabs_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"oneflow/providers"
	"oneflow/providers/elevenlabs"
	"oneflow/providers/providertest"
)

func TestElevenLabsDescriptionAllowsWhatIsSent(t *testing.T) {
	t.Parallel()
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	half, speed, boost, seed := 0.5, 1.1, true, int64(4294967295)
	allowed := map[string]providers.Request{
		"as little as can be": {Task: providers.Audio, Prompt: "hello"},
		"all options": {
			Task: providers.Audio, Model: "eleven_v3", Prompt: "é 日本 🦊", Voice: "JBFqnCBsd6RMkjVDRZzb", Speed: &speed, Seed: &seed, OutputFormat: "mp3_22050_32",
			VoiceSettings: &providers.VoiceSettings{Stability: &half, SimilarityBoost: &half, Style: &half, UseSpeakerBoost: &boost},
			Extra: map[string]json.RawMessage{
				"language_code": raw(`"en"`), "previous_text": raw(`"before"`), "next_text": raw(`"after"`), "apply_text_normalization": raw(`"off"`),
				"enable_logging": raw(`false`), "optimize_streaming_latency": raw(`2`),
			},
		},
	}
	for _, format := range []string{"mp3", "opus", "wav", "pcm", "ulaw_8000", "alaw_8000"} {
		allowed["as "+format] = providers.Request{Task: providers.Audio, Prompt: "hello", OutputFormat: format}
	}
	providertest.CheckContract(t, providertest.Contract{
		Descriptor: elevenlabs.Descriptor(),
		File:       "elevenlabs-trim.json",
		Connect: func(url string, client *http.Client) (providers.Provider, error) {
			return elevenlabs.New(elevenlabs.Config{
				Name: "mine", BaseURL: url, Client: client,
				Key: func(context.Context) (string, error) { return providertest.Key, nil },
			})
		},
		Allowed: allowed,
		Broken: map[string]providers.Request{
			"rates that do not exist": {Task: providers.Audio, Prompt: "hello", OutputFormat: "mp3_12345_1"},
			"an unknown normalization": {
				Task: providers.Audio, Prompt: "hello", Extra: map[string]json.RawMessage{"apply_text_normalization": raw(`"perhaps"`)},
			},
			"a text before that is no text": {Task: providers.Audio, Prompt: "hello", Extra: map[string]json.RawMessage{"previous_text": raw(`7`)}},
		},
	})
}
