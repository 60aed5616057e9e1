// Package app wires the parts together for the commands: workers, and what the monitor and
// enqueue need of them. It may import everything but the commands, and links every
// provider's client.
package app

import (
	"time"

	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/worker"
)

// newPrices returns the prices of the configured providers.
func newPrices(cfg config.Config) (*billing.Prices, error) {
	list, err := PriceList(cfg)
	if err != nil {
		return nil, err
	}
	p := &billing.Prices{List: list, Kinds: map[string]string{}}
	for name := range cfg.Providers {
		p.Kinds[name] = PricesAs(cfg, name)
	}
	return p, nil
}

// PricesAs returns whose rows of the price list hold for a configured provider: its
// kind's, or those that a compatible server names.
func PricesAs(cfg config.Config, name string) string { return cfg.Providers[name].PriceRows(name) }

// PriceList is the built-in list, with the configured file laid over it.
func PriceList(cfg config.Config) (*billing.List, error) {
	if cfg.Prices == "" {
		return billing.Embedded()
	}
	return billing.Open(cfg.Prices)
}

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
