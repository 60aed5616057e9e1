package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/fleet"
	"oneflow/policy"
	"oneflow/policy/breaker"
	"oneflow/policy/limiter"
	"oneflow/store"
)

// longWait is the wait for a limit from which it is worth a word: calls that are paced
// wait all the time, for a moment each.
const longWait = 10 * time.Second

// Holds returns what holds each provider of settings back now, in a sentence each: a
// block with its cause, an open breaker, a long wait for a limit, and what others
// of the account use. A provider that nothing holds back is not in it. It changes
// nothing.
func Holds(ctx context.Context, rdb redis.UniversalClient, settings map[string]fleet.Settings) (map[string][]string, error) {
	slots, err := limiter.New(limiter.Config{
		Redis: rdb, CallTimeout: time.Minute,
		Settings: func(provider string) limiter.Settings { return limiterSettings(settings[provider]) },
	})
	if err != nil {
		return nil, err
	}
	defer slots.Close()
	all := map[string][]string{}
	for provider := range settings {
		lines, err := holds(ctx, rdb, slots, provider, settings[provider])
		if err != nil {
			return nil, err
		}
		if len(lines) > 0 {
			all[provider] = lines
		}
	}
	return all, nil
}

// holdsInForce returns a reader of Holds for all providers, by the settings that are in
// force when it is called.
func holdsInForce(db *store.Store, providers fleet.Config, rdb redis.UniversalClient) func(context.Context) (map[string][]string, error) {
	return func(ctx context.Context) (map[string][]string, error) {
		stored, _, err := db.Settings(ctx)
		if err != nil {
			return nil, err
		}
		return Holds(ctx, rdb, providers.Settings(stored))
	}
}

func holds(ctx context.Context, rdb redis.UniversalClient, slots *limiter.Limiter, provider string, set fleet.Settings) ([]string, error) {
	state, err := slots.State(ctx, provider, limiter.Scope{})
	if err != nil {
		return nil, err
	}
	var lines []string
	deployments := set.Deployments()
	if len(deployments) == 0 {
		deployments = []string{""}
	}
	for _, deployment := range deployments {
		stands, err := breaker.Read(ctx, rdb, policy.BreakerName(provider, deployment))
		if err != nil {
			return nil, err
		}
		if stands.State == breaker.Closed {
			continue
		}
		of := ""
		if deployment != "" {
			of = " of " + deployment
		}
		lines = append(lines, fmt.Sprintf("circuit breaker%s %s since %s, next probe at %s", of, strings.ReplaceAll(string(stands.State), "_", "-"), clock(stands.Since), clock(stands.NextProbe)))
	}
	lines = append(lines, held("", state)...)
	for _, name := range set.Scopes() {
		state, err := slots.State(ctx, provider, scopeSettings(set, name))
		if err != nil {
			return nil, err
		}
		lines = append(lines, held(name+": ", state)...)
	}
	return lines, nil
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// held says what holds a scope back.
func held(scope string, state limiter.State) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, scope+fmt.Sprintf(format, args...)) }
	if !state.BlockedUntil.IsZero() {
		say("blocked until %s: it refused a call (%s) at %s", clock(state.BlockedUntil), strings.ReplaceAll(string(state.BlockedFor), "_", " "), clock(state.BlockedSince))
	}
	if state.Lowered > 0 {
		say("at most %d calls at once until %s: it refused more", state.Lowered, clock(state.LoweredUntil))
	}
	for _, d := range state.Dimensions {
		if d.Others > 0 && !d.Pinned {
			say("others use about %d of %d %s of this account, as its answers say", d.Others, d.Limit, d.Dimension.Unit())
		}
	}
	if state.Binds != "" && state.Wait >= longWait {
		say("the next call waits %s for its limit of %s", state.Wait.Round(time.Second), state.Binds.Unit())
	}
	return lines
}
