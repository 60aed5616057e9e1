// Package policy decides how a request is brought to providers: which of them are
// asked and in which order, whether they may be asked now, how often again and
// after how long.
//
// Set is the way in: a chain of guarded providers. Each guard is, outermost first,
//
//	retry ▸ breaker ▸ limiter slot ▸ attempt row ▸ timeout ▸ call
//
// The breaker and the limiter live in Redis and are those of the whole fleet. What
// follows from each kind of failure stands in one table, in providers.Kind.
//
// It is the only user of failsafe-go, and no type of that library leaves it. It
// imports providers and nothing else of OneFlow.
package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/providers"
)

// The owner of the in-process layer of retry: transient failures, seconds apart.
// Longer waits belong to the queue.
const (
	maxRetries = 3
	firstDelay = time.Second
	maxDelay   = time.Minute
	// maxWait is how long a job may wait for a rate limit and keep its slot, all
	// in all; beyond it, the queue waits.
	maxWait = 10 * time.Second
)

// Config is what a Set is made of.
type Config struct {
	// Providers are the providers to guard.
	Providers []providers.Provider
	// Kinds are the kinds of the providers by name, as providers.CapabilitiesOf
	// takes them. They are needed for estimates of what a call takes of a limit.
	Kinds map[string]string
	// CallTimeout is how long one call may take.
	CallTimeout time.Duration
	// Calls bounds all calls: when it ends, those in flight are cut off. The
	// context of a call to Generate bounds only the waiting.
	Calls context.Context //nolint:containedctx // the life of the calls of a whole worker
	// Limiter gives the slots. Nil: there are no limits but what providers refuse.
	Limiter *Limiter
	// Redis holds the circuit breakers. Nil: there are none.
	Redis redis.UniversalClient
	// Settings is what is set for a provider now. It is asked for each call and
	// must not block. Nil: the zero Settings.
	Settings func(provider string) providers.Settings
	// Chain are the providers to ask for a task, in order, now: those of the chain,
	// for a request whose own provider is in it. Nil: only the request's own.
	Chain func(task providers.Task) []string
	// Translate makes of a request for one provider the same request for another,
	// or says why it cannot be done; see Translation. Its error may be shown and
	// logged. Nil: requests are sent as they are.
	Translate func(from, to string, req providers.Request) (providers.Request, error)
	// Learn is told what was learned about a provider. It must not block. Nil:
	// nobody is told.
	Learn func(provider string, l providers.Learned)
	// Log gets a line for each breaker that moves, each provider that is out of
	// use, and each fallback. The zero Logger logs nothing.
	Log zerolog.Logger
	// Backoff replaces the wait before the n-th retry, from 1, in tests.
	// Default: 1 s, 2 s, 4 s plus up to a quarter.
	Backoff func(n int) time.Duration
}

// Set is a set of guarded providers.
type Set struct {
	cfg    Config
	guards map[string]*guard
}

// New makes a Set. An error names the field that is wrong.
func New(cfg Config) (*Set, error) {
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
		cfg.Settings = func(string) providers.Settings { return providers.Settings{} }
	}
	if cfg.Chain == nil {
		cfg.Chain = func(providers.Task) []string { return nil }
	}
	if cfg.Translate == nil {
		cfg.Translate = func(_, _ string, req providers.Request) (providers.Request, error) { return req, nil }
	}
	if cfg.Learn == nil {
		cfg.Learn = func(string, providers.Learned) {}
	}
	s := &Set{cfg: cfg, guards: make(map[string]*guard, len(cfg.Providers))}
	for _, p := range cfg.Providers {
		if _, twice := s.guards[p.Name()]; twice {
			return nil, fmt.Errorf("policy: provider %q is there twice", p.Name())
		}
		s.guards[p.Name()] = newGuard(p, cfg)
	}
	return s, nil
}

// Unblock forgets what refusals have brought about: a block of the provider, here and
// in Redis, its doubling, and lowered concurrency. A person has said that they count
// no longer. It fails with *Away.
func (s *Set) Unblock(ctx context.Context, provider string) error {
	if g := s.guards[provider]; g != nil {
		g.revive()
	}
	if s.cfg.Limiter == nil {
		return nil
	}
	return s.cfg.Limiter.Forget(ctx, provider)
}
