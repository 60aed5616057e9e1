// Package policy decides how a provider is called: with which timeout, how often
// again and after how long. It is the only user of failsafe-go, and no type of
// that library leaves it. It imports providers and nothing else of OneFlow.
package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

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
	// CallTimeout is how long one call may take.
	CallTimeout time.Duration
	// Calls bounds all calls: when it ends, those in flight are cut off. The
	// context of a call to Generate bounds only the waiting.
	Calls context.Context //nolint:containedctx // the life of the calls of a whole worker
	// Backoff replaces the wait before the n-th retry, from 1, in tests.
	// Default: 1 s, 2 s, 4 s plus up to a quarter.
	Backoff func(n int) time.Duration
}

// Set is a set of guarded providers.
type Set struct {
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
	s := &Set{guards: make(map[string]*guard, len(cfg.Providers))}
	for _, p := range cfg.Providers {
		if _, twice := s.guards[p.Name()]; twice {
			return nil, fmt.Errorf("policy: provider %q is there twice", p.Name())
		}
		s.guards[p.Name()] = newGuard(p, cfg)
	}
	return s, nil
}

// Generate sends req through the guarded provider of the route. ctx bounds the
// waiting; a call that was sent goes on when ctx ends. It fails with an
// *providers.Error, with an error of the journal's, or with ctx's.
func (s *Set) Generate(ctx context.Context, route providers.Route, req providers.Request, j providers.Journal) (providers.Response, error) {
	g, ok := s.guards[route.Provider]
	if !ok {
		return providers.Response{}, fmt.Errorf("provider %q: not served by this worker", route.Provider)
	}
	return g.generate(ctx, req, j)
}

// guard is one provider behind its policies: retry ▸ attempt row ▸ timeout ▸ call.
type guard struct {
	provider providers.Provider
	timeout  time.Duration
	calls    context.Context //nolint:containedctx // see Config.Calls
	retry    failsafe.Executor[providers.Response]
}

// last marks a failure that must not be repeated here.
type last struct{ err error }

func (l *last) Error() string { return l.err.Error() }
func (l *last) Unwrap() error { return l.err }

func newGuard(p providers.Provider, cfg Config) *guard {
	policy := retrypolicy.NewBuilder[providers.Response]().
		HandleIf(func(_ providers.Response, err error) bool {
			_, stop := errors.AsType[*last](err)
			return err != nil && !stop
		}).
		WithMaxRetries(maxRetries).
		// Jitter is inside the function: the library's own would shorten a
		// Retry-After.
		WithDelayFunc(func(exec failsafe.ExecutionAttempt[providers.Response]) time.Duration {
			delay := cfg.Backoff(exec.Attempts())
			if e, ok := errors.AsType[*providers.Error](exec.LastError()); ok {
				delay = max(delay, e.RetryAfter)
			}
			return min(delay, maxDelay)
		}).
		ReturnLastFailure().
		Build()
	return &guard{provider: p, timeout: cfg.CallTimeout, calls: cfg.Calls, retry: failsafe.With(policy)}
}

// backoff doubles from a second, plus up to a quarter.
func backoff(n int) time.Duration {
	d := firstDelay << min(n-1, 6)
	return d + rand.N(d/4)
}

// errNotAttempted is the outcome where ctx ended before the first attempt.
var errNotAttempted = errors.New("not attempted")

// generate keeps the outcome of the last attempt itself: when ctx ends during a
// call, the executor would put ctx's error in the place of an answer that is paid
// for.
func (g *guard) generate(ctx context.Context, req providers.Request, j providers.Journal) (providers.Response, error) {
	var res providers.Response
	outcome := errNotAttempted
	_, err := g.retry.WithContext(ctx).Get(func() (providers.Response, error) {
		res, outcome = g.attempt(ctx, req, j)
		return res, outcome
	})
	if outcome == nil {
		return res, nil
	}
	if l, ok := errors.AsType[*last](outcome); ok {
		return res, l.err
	}
	// Retries are used up, or ctx ended the wait for the next.
	return res, err
}

// attempt makes one call, and again after each refusal for the rate limit that
// asks for a short wait: that is no failure and uses up no retry.
func (g *guard) attempt(ctx context.Context, req providers.Request, j providers.Journal) (providers.Response, error) {
	for waited := time.Duration(0); ; {
		res, err := g.call(ctx, req, j)
		if err == nil {
			return res, nil
		}
		failure, ok := errors.AsType[*providers.Error](err)
		if !ok {
			return res, &last{err}
		}
		switch failure.Kind.Reaction() {
		case providers.Wait:
			pause := max(failure.RetryAfter, firstDelay)
			if waited += pause; waited > maxWait {
				return res, &last{err}
			}
			if waitErr := sleep(ctx, pause+rand.N(firstDelay/4)); waitErr != nil {
				return res, &last{waitErr}
			}
			continue
		case providers.Retry:
			// A wait beyond what retry bears goes back to the queue.
			if j.MayRepeat(failure) && failure.RetryAfter <= maxDelay && g.calls.Err() == nil {
				return res, err
			}
		case providers.Pause, providers.Final:
		}
		return res, &last{err}
	}
}

// call makes one call that stands in the journal.
func (g *guard) call(ctx context.Context, req providers.Request, j providers.Journal) (res providers.Response, err error) {
	if err := ctx.Err(); err != nil {
		return res, err
	}
	entry, err := j.Begin(ctx, g.provider.Name(), req)
	if err != nil {
		return res, err
	}
	callCtx, cancel := context.WithTimeout(g.calls, g.timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			// Settle what was sent, then let the worker see the panic.
			_ = entry.End(ctx, res, &providers.Error{Provider: g.provider.Name(), Kind: providers.Unknown, Billing: providers.BillingUnknown, Sent: true})
			panic(r)
		}
	}()
	res, err = g.provider.Generate(callCtx, req)
	if err != nil {
		err = providers.AsError(g.provider.Name(), err)
	}
	if endErr := entry.End(ctx, res, err); endErr != nil {
		// Not settled: nothing more may be sent for this job from here.
		return res, fmt.Errorf("%s: settle the call: %w", g.provider.Name(), endErr)
	}
	return res, err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
