package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/policy"
	"oneflow/providers"
)

// guard puts the providers of a worker behind their policies: those of names, and
// all others that can be called, since a job may fall back to them. calls bounds
// what is being paid for.
func guard(calls context.Context, o WorkerOptions, names []string, control *Control) (set *policy.Set, closeAll func() error, err error) {
	reachable := slices.Clone(names)
	if o.Keys != nil {
		usable, _ := Usable(o.Config, o.Keys)
		for _, name := range usable {
			if !slices.Contains(reachable, name) {
				reachable = append(reachable, name)
			}
		}
	}
	clients, closeClients, err := clients(o.Config, reachable, o.Keys)
	if err != nil {
		return nil, nil, err
	}
	shared, ok := o.Redis.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return nil, nil, errors.Join(fmt.Errorf("limits: %T makes no Redis client that is known here", o.Redis), closeClients())
	}
	limiter, err := policy.NewLimiter(policy.LimiterConfig{
		Redis:       shared,
		Settings:    control.Settings,
		Learn:       control.Learn,
		CallTimeout: time.Duration(o.Config.CallTimeout),
		Burst:       func(provider string) int64 { return int64(o.Config.Providers[provider].Burst) },
		Log:         o.Log,
		Restore: func(ctx context.Context, provider string) (policy.Memory, error) {
			s, err := o.Store.Sent(ctx, provider)
			return policy.Memory{BlockedUntil: s.BlockedUntil, LastCall: s.LastCall, Running: s.Running, Hours: s.Hours}, err
		},
	})
	if err != nil {
		return nil, nil, errors.Join(err, shared.Close(), closeClients())
	}
	closeAll = func() error {
		limiter.Close()
		return errors.Join(shared.Close(), closeClients())
	}
	kinds := make(map[string]string, len(o.Config.Providers))
	for name, p := range o.Config.Providers {
		kinds[name] = p.Capabilities()
	}
	set, err = policy.New(policy.Config{
		Providers:   clients,
		Kinds:       kinds,
		CallTimeout: time.Duration(o.Config.CallTimeout),
		Calls:       calls,
		Limiter:     limiter,
		Redis:       shared,
		Settings:    control.Settings,
		Chain:       func(task providers.Task) []string { return control.Chain(task) },
		Translate:   policy.Translation{Kinds: kinds, Model: NewModels(o.Config).At}.Translate,
		Learn:       control.Learn,
		Log:         o.Log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	control.OnUnblock(func(provider string) {
		if err := set.Unblock(calls, provider); err != nil {
			o.Log.Warn().Err(err).Str("provider", provider).Msg("its block is lifted, but Redis does not know yet")
		}
	})
	return set, closeAll, nil
}
