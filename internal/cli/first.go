package cli

import (
	"context"
	"slices"

	"oneflow/config"
	"oneflow/fleet"
	"oneflow/providers"
	"oneflow/store"
)

// First returns the provider to ask first for a task where nobody names one: the first of
// the task's chain that has a key, which hasKey knows, needs none, or has a live worker.
// Empty: none has. It returns the chain, too.
func First(ctx context.Context, db *store.Store, cfg config.Config, task providers.Task, hasKey func(provider string) bool) (name string, chain []string, err error) {
	set, err := db.Chains(ctx)
	if err != nil {
		return "", nil, err
	}
	chain = cfg.Chains[string(task)]
	if i := slices.IndexFunc(set, func(c fleet.Chain) bool { return c.Task == task }); i >= 0 {
		chain = set[i].Providers
	}
	usable, err := Usable(ctx, db, cfg, hasKey)
	if err != nil {
		return "", nil, err
	}
	for _, name := range chain {
		if usable(name) {
			return name, chain, nil
		}
	}
	return "", chain, nil
}

// Usable returns what reports whether a provider is configured and has a key, which hasKey
// knows, needs none, or has a live worker.
func Usable(ctx context.Context, db *store.Store, cfg config.Config, hasKey func(provider string) bool) (func(provider string) bool, error) {
	standings, err := db.Standings(ctx)
	if err != nil {
		return nil, err
	}
	return func(name string) bool {
		p, configured := cfg.Providers[name]
		served := slices.ContainsFunc(standings, func(h fleet.Health) bool { return h.Name == name && h.Workers > 0 })
		return configured && (served || !p.NeedsKey() || hasKey(name))
	}, nil
}
