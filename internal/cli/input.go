package cli

import (
	"time"

	"oneflow/batches"
	"oneflow/config"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// Input returns what a configuration says of how rows become jobs: its providers and
// their default models.
func Input(cfg config.Config) batches.Input {
	return batches.Input{
		CacheSeconds: int64(time.Duration(cfg.Cache.TTL).Seconds()), CacheVaried: cfg.Cache.Varied,
		Kind: func(provider string) (string, bool) {
			p, ok := cfg.Providers[provider]
			return p.Capabilities(), ok
		},
		Preset: func(provider string) providers.Preset { return cfg.Providers[provider].Known() },
		DefaultModel: func(provider string, task providers.Task) string {
			p := cfg.Providers[provider]
			can, _ := kinds.CapabilitiesOf(p.Capabilities())
			return p.DefaultModel(string(task), can.Tasks[task].DefaultModel)
		},
	}
}
