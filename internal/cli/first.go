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
	standings, err := db.Standings(ctx)
	if err != nil {
		return "", nil, err
	}
	for _, name := range chain {
		p, configured := cfg.Providers[name]
		served := slices.ContainsFunc(standings, func(h fleet.Health) bool { return h.Name == name && h.Workers > 0 })
		if configured && (served || !p.NeedsKey() || hasKey(name)) {
			return name, chain, nil
		}
	}
	return "", chain, nil
}
