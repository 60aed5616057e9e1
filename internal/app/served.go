package app

import (
	"time"

	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/worker"
)

// Served returns the configured providers of those names as a worker takes them.
func Served(cfg config.Config, names []string) []worker.Served {
	all := cli.Fleet(cfg).Providers
	served := make([]worker.Served, len(names))
	for i, name := range names {
		p, of := cfg.Providers[name], all[name]
		served[i] = worker.Served{
			Name: name, Kind: p.Kind, BaseURL: p.CalledAt(), Simulated: of.Simulated, Limits: of.Limits, Written: of.Written, Concurrency: p.Concurrency,
			Min: p.MinConcurrency, Max: p.MaxConcurrency, Window: p.DispatchWindow, Latency: time.Duration(p.Latency), ByModel: p.Classed(),
		}
	}
	return served
}
