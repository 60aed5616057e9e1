package app

import (
	"oneflow/config"
	"oneflow/jobs"
	"oneflow/providers"
)

// Served is how a configured provider is registered.
func Served(name string, p config.Provider) jobs.Served {
	out := jobs.Served{Name: name, Kind: p.Kind, Concurrency: p.Workers()}
	limits, written := p.LimitsByName()
	for name, n := range limits {
		out.Limits = out.Limits.With(providers.Dimension(name), n)
	}
	for _, name := range written {
		out.Written = append(out.Written, providers.Dimension(name))
	}
	return out
}
