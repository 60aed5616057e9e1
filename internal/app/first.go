package app

import (
	"context"
	"fmt"
	"strings"

	"oneflow/batches"
	"oneflow/config"
	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/store"
)

// first returns the provider to ask first for a task where a program names none, or asks for the
// best: see batches.Submissions. hasKey is that of cli.First.
func first(ctx context.Context, db *store.Store, cfg config.Config, task providers.Task, best bool, hasKey func(provider string) bool) (name, why string, err error) {
	if !best {
		name, chain, err := cli.First(ctx, db, cfg, task, hasKey)
		if err == nil && name == "" {
			why = fmt.Sprintf("no provider of the chain for %s (%s) has an API key or a live worker; name one", task, strings.Join(chain, ", "))
		}
		return name, why, err
	}
	if _, configured := cfg.Providers[batches.Best]; configured {
		return batches.Best, "", nil
	}
	ranked, err := fleet.FindBest(ctx, db, cli.Fleet(cfg), task)
	if err != nil {
		return "", "", err
	}
	choice, _, err := cli.Choice(ranked)
	if err != nil { // of which the program is told
		why = err.Error()
	}
	return choice.Provider, why, nil
}
