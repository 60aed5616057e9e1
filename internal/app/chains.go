package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/policy"
	"oneflow/policy/breaker"
	"oneflow/policy/limiter"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// newChains puts all configured providers behind their policies: a job may fall back to
// any that has a key by then. calls bounds what is being paid for.
func newChains(calls context.Context, o WorkerOptions, fleetID string, live *fleet.LiveSettings, parts *scopes, prices *billing.Prices, waits *waited) (chains *policy.Chains, closeAll func() error, err error) {
	clients, closeClients, err := clients(o.Config, slices.Sorted(maps.Keys(o.Config.Providers)), o.Keys)
	if err != nil {
		return nil, nil, err
	}
	for i, c := range clients {
		clients[i] = &windowed{c, prices}
	}
	shared, ok := o.Redis.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return nil, nil, errors.Join(fmt.Errorf("limits: %T makes no Redis client that is known here", o.Redis), closeClients())
	}
	slots, err := limiter.New(limiter.Config{
		Redis:       shared,
		Fleet:       fleetID,
		Settings:    func(provider string) limiter.Settings { return limiterSettings(live.Settings(provider)) },
		Scopes:      parts.of,
		Learn:       func(provider string, l limiter.Learned) { live.Learn(provider, limiterLearned(l)) },
		CallTimeout: time.Duration(o.Config.CallTimeout),
		Burst:       func(provider string) int64 { return int64(o.Config.Providers[provider].Burst) },
		Log:         o.Log,
		Restore: func(ctx context.Context, provider, scope string) (limiter.Snapshot, error) {
			s, err := o.Store.Sent(ctx, provider, scope)
			return limiter.Snapshot{BlockedUntil: s.BlockedUntil, LastCall: s.LastCall, Running: s.Running, Hours: s.Hours}, err
		},
	})
	if err != nil {
		return nil, nil, errors.Join(err, shared.Close(), closeClients())
	}
	closeAll = func() error {
		slots.Close()
		return errors.Join(shared.Close(), closeClients())
	}
	kindOf := make(map[string]string, len(o.Config.Providers))
	deployments, presets := map[string][]string{}, map[string]providers.Preset{}
	for name, p := range o.Config.Providers {
		kindOf[name], deployments[name], presets[name] = p.Capabilities(), p.DeploymentNames(), p.Known()
	}
	chains, err = policy.New(policy.Config{
		Providers:   clients,
		Deployments: deployments,
		CallTimeout: time.Duration(o.Config.CallTimeout),
		Calls:       calls,
		Limiter:     slots,
		Redis:       shared,
		Settings: func(provider string) policy.Settings {
			s := policySettings(live.Settings(provider))
			s.NoKey = !hasKey(o.Config, provider, o.Keys)
			return s
		},
		Estimate: func(provider string, req providers.Request) limiter.Demand {
			in, out := billing.EstimateTokens(kindOf[provider], req)
			return limiter.Demand{InputTokens: in, OutputTokens: out}
		},
		Chain: func(task providers.Task) []string { return live.Chain(task) },
		Translate: providers.Translation{
			Kinds: kindOf, Capabilities: kinds.CapabilitiesOf, Presets: presets, Model: newModels(o.Config).at,
		}.Translate,
		Learn:  func(provider string, l policy.Learned) { live.Learn(provider, policyLearned(l)) },
		Waited: waits.note,
		Log:    o.Log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	live.OnUnblock(func(provider string, scopes []string) {
		if err := chains.Unblock(calls, provider, scopes...); err != nil {
			o.Log.Warn().Err(err).Str("provider", provider).Msg("block not lifted in Redis")
		}
	})
	return chains, closeAll, nil
}

// The policies know of a provider's settings what they need, in types of their own.

func limiterSettings(s fleet.Settings) limiter.Settings {
	return limiter.Settings{Limits: s.Limits, Pinned: s.Pinned}
}

func policySettings(s fleet.Settings) policy.Settings {
	return policy.Settings{
		Unavailable: s.Status == fleet.Unavailable, By: s.By, BlockedUntil: s.BlockedUntil, Breaker: breaker.State(s.Breaker),
	}
}

func limiterLearned(l limiter.Learned) fleet.Learned {
	return fleet.Learned{Scope: l.Scope, Limits: l.Limits, BlockedUntil: l.BlockedUntil, Reason: l.Reason}
}

func policyLearned(l policy.Learned) fleet.Learned {
	return fleet.Learned{OutOfMoney: l.OutOfMoney, Breaker: fleet.BreakerState(l.Breaker), Reason: l.Reason}
}
