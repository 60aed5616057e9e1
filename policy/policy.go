// Package policy decides how a request is brought to providers: which of them are
// asked and in which order, whether they may be asked now, how often again and
// after how long.
//
// Chains is the way in: chains of guarded providers. Each guard is, outermost first,
//
//	retry ▸ breaker ▸ limiter slot ▸ call row ▸ timeout ▸ call
//
// The breaker (policy/breaker) and the limiter (policy/limiter) live in Redis and are
// those of the whole fleet. What follows from each kind of failure stands in one
// table, in providers.Kind.
//
// It is the only user of failsafe-go, and no type of that library leaves it. It
// imports its own two subpackages and providers, and nothing else of OneFlow.
package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/policy/breaker"
	"oneflow/policy/limiter"
	"oneflow/providers"
)

// The owner of the in-process layer of retry: transient failures, seconds apart.
// Longer waits belong to the queue.
const (
	maxRetries = 3
	firstDelay = time.Second
	maxDelay   = time.Minute
	// maxWait bounds how long a job may wait for a rate limit and keep its slot, all
	// in all; beyond it, the queue waits.
	maxWait = 10 * time.Second
)

// Config configures Chains.
type Config struct {
	// Providers are the providers to guard.
	Providers []providers.Provider
	// CallTimeout bounds one call.
	CallTimeout time.Duration
	// Calls bounds all calls: when it ends, those in flight are cut off. The
	// context of a call to Generate bounds only the waiting.
	Calls context.Context //nolint:containedctx // the life of the calls of a whole worker
	// Limiter gives the slots. Nil: there are no limits but what providers refuse.
	Limiter *limiter.Limiter
	// Redis holds the circuit breakers. Nil: there are none.
	Redis redis.UniversalClient
	// Settings returns what is set for a provider now. It is asked for each call and
	// must not block. Nil: the zero Settings.
	Settings func(provider string) Settings
	// Estimate returns the most that a call is expected to take of the limits, beside
	// itself. Nil: nothing.
	Estimate func(provider string, req providers.Request) limiter.Demand
	// Chain returns the providers to ask for a task, in order, now: those of the chain,
	// for a request whose own provider is in it. Nil: only the request's own.
	Chain func(task providers.Task) []string
	// Deployments lists the places that make up a provider, by its name, each with a breaker of
	// its own: one that is down is left out, and the others go on. A call is made at that of its
	// slot's scope, see providers.DeploymentOfScope. Nil, or none: it is one place.
	Deployments map[string][]string
	// Translate makes of a request for one provider the same request for another,
	// or says why it cannot be done; see providers.Translation. Its error may be shown
	// and logged. Nil: requests are sent as they are.
	Translate func(from, to string, req providers.Request) (providers.Request, error)
	// Learn is told what was learned about a provider. It must not block. Nil:
	// nobody is told.
	Learn func(provider string, l Learned)
	// Waited is told how long a call has waited for its slot. It must not block. Nil: nobody is
	// told.
	Waited func(provider string, d time.Duration)
	// Log gets a line for each breaker that moves, each provider that is disabled, and
	// each fallback. The zero Logger logs nothing.
	Log zerolog.Logger
	// Backoff replaces the wait before the n-th retry, from 1, in tests.
	// Default: 1 s, 2 s, 4 s plus up to a quarter.
	Backoff func(n int) time.Duration
}

// Settings hold what is in force for a provider beside its limits, which the limiter asks
// for itself. The zero value is a provider in good health.
type Settings struct {
	// Unavailable reports whether an operator has disabled the provider, and By who;
	// empty where that is not known.
	Unavailable bool
	By          string
	// NoKey reports whether the provider has no API key now.
	NoKey bool
	// BlockedUntil is the time until which the provider asked to wait, as far as is recorded;
	// zero if it did not.
	BlockedUntil time.Time
	// Breaker is the state in which an operator holds the breaker, breaker.Open or breaker.Closed;
	// empty: it works by itself.
	Breaker breaker.State
}

// Learned holds what a worker learned about a provider from its answers. Zero fields say
// nothing. What the limiter learns is told to limiter.Config.Learn.
type Learned struct {
	// OutOfMoney reports whether the account has no credit left.
	OutOfMoney bool
	// Breaker is the new state of the fleet's breaker.
	Breaker breaker.State
	// Reason says what it was, without any text of a prompt or an answer.
	Reason string
}

// Chains are guarded providers, and the order in which they are asked.
type Chains struct {
	cfg    Config
	guards map[string]*guard
}

// New returns Chains. An error names the field that is wrong.
func New(cfg Config) (*Chains, error) {
	if cfg.CallTimeout <= 0 {
		return nil, fmt.Errorf("policy: CallTimeout must be positive, got %s", cfg.CallTimeout)
	}
	if cfg.Calls == nil {
		return nil, errors.New("policy: Calls is missing")
	}
	if cfg.Backoff == nil {
		cfg.Backoff = backoff
	}
	if cfg.Settings == nil {
		cfg.Settings = func(string) Settings { return Settings{} }
	}
	if cfg.Estimate == nil {
		cfg.Estimate = func(string, providers.Request) limiter.Demand { return limiter.Demand{} }
	}
	if cfg.Chain == nil {
		cfg.Chain = func(providers.Task) []string { return nil }
	}
	if cfg.Translate == nil {
		cfg.Translate = func(_, _ string, req providers.Request) (providers.Request, error) { return req, nil }
	}
	if cfg.Learn == nil {
		cfg.Learn = func(string, Learned) {}
	}
	if cfg.Waited == nil {
		cfg.Waited = func(string, time.Duration) {}
	}
	c := &Chains{cfg: cfg, guards: make(map[string]*guard, len(cfg.Providers))}
	for _, p := range cfg.Providers {
		if _, twice := c.guards[p.Name()]; twice {
			return nil, fmt.Errorf("policy: provider %q is there twice", p.Name())
		}
		g, err := newGuard(p, cfg)
		if err != nil {
			return nil, fmt.Errorf("policy: provider %q: %w", p.Name(), err)
		}
		c.guards[p.Name()] = g
	}
	return c, nil
}

// Resume goes on with what a call has ordered that stands in the journal as entry. It
// takes no slot: nothing is ordered, and looking costs nothing. It fails as Generate does;
// where nobody could look, with an *providers.Error of unknown billing, and entry stays open.
func (c *Chains) Resume(ctx context.Context, provider string, req providers.Request, handle string, entry providers.Call) error {
	g := c.guards[provider]
	if g == nil {
		return &providers.Error{Provider: provider, Kind: providers.NotFound, Billing: providers.BillingUnknown, Err: errNotServed}
	}
	callCtx, cancel := context.WithTimeout(g.calls, g.timeout)
	defer cancel()
	res, err := providers.Resume(providers.WithOrders(callCtx, entry.Ordered), g.provider, req, handle)
	if err != nil {
		err = providers.AsError(provider, err)
	}
	if endErr := entry.End(ctx, res, err); endErr != nil {
		return fmt.Errorf("%s: record the call: %w", provider, endErr)
	}
	return err
}

// Unblock forgets what refusals have brought about: a block of the provider or of some of
// its scopes, here and in Redis, its doubling, and lowered concurrency. An operator has said that they count
// no longer. It fails with *rediscall.UnavailableError.
func (c *Chains) Unblock(ctx context.Context, provider string, scopes ...string) error {
	if g := c.guards[provider]; g != nil {
		g.reset()
	}
	if c.cfg.Limiter == nil {
		return nil
	}
	return c.cfg.Limiter.Forget(ctx, provider, scopes...)
}
