package elevenlabs

import (
	"time"

	"oneflow/providers"
)

// Kind is the name of this kind of provider.
const Kind = "elevenlabs"

// Descriptor describes ElevenLabs.
func Descriptor() providers.Descriptor {
	return providers.Descriptor{
		Kind:         Kind,
		Capabilities: capabilities,
		BaseURL:      defaultBaseURL,
		Key: providers.KeyForm{
			Prefixes: []string{"sk_", ""}, MinLength: 32, Characters: providers.HexDigits,
		},
		Limits:  providers.Limits{RPM: 120},
		Latency: 3 * time.Second,
		Chains:  []providers.Task{providers.Audio},
		StandIns: []providers.StandIn{
			{
				Task: providers.Audio, Class: providers.Small, Model: "eleven_flash_v2_5",
				Models: []string{"eleven_flash_v2", "eleven_flash_v2_5", "eleven_turbo_v2", "eleven_turbo_v2_5"},
			},
			{
				Task: providers.Audio, Class: providers.Large, Model: "eleven_multilingual_v2",
				Models: []string{"eleven_multilingual_v2", "eleven_v3"},
			},
		},
		New: func(c providers.ClientConfig) (providers.Provider, error) {
			return New(Config{Name: c.Name, BaseURL: c.BaseURL, Client: c.Client, Key: c.Key, Models: c.Models, Voice: c.Voice})
		},
	}
}
