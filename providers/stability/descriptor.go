package stability

import (
	"time"

	"oneflow/providers"
)

// Kind is the name of this kind of provider.
const Kind = "stability"

// Descriptor describes Stability.
func Descriptor() providers.Descriptor {
	return providers.Descriptor{
		Kind:         Kind,
		Capabilities: capabilities,
		BaseURL:      defaultBaseURL,
		Key: providers.KeyForm{
			Prefixes: []string{"sk-"}, NotPrefixes: []string{"sk-ant-", "sk-proj-", "sk-svcacct-"}, MinLength: 20,
			Characters: providers.Letters + providers.Digits,
		},
		Limits:  providers.Limits{RPM: 150},
		Latency: 8 * time.Second,
		Chains:  []providers.Task{providers.Image},
		StandIns: []providers.StandIn{
			{
				Task: providers.Image, Class: providers.Small, Model: "core",
				Models: []string{"core", "sd3.5-medium", "sd3.5-flash", "sd3.5-large-turbo"},
			},
			{Task: providers.Image, Class: providers.Large, Model: "ultra", Models: []string{"ultra", "sd3.5-large"}},
		},
		New: func(c providers.ClientConfig) (providers.Provider, error) {
			return New(Config{Name: c.Name, BaseURL: c.BaseURL, Client: c.Client, Key: c.Key, Models: c.Models})
		},
	}
}
