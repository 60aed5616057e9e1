package policy

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/rs/zerolog"

	"oneflow/internal/sleep"
	"oneflow/policy/breaker"
	"oneflow/policy/limiter"
	"oneflow/providers"
)

// guard is one provider behind its policies.
type guard struct {
	name     string
	provider providers.Provider
	timeout  time.Duration
	calls    context.Context //nolint:containedctx // see Config.Calls
	limiter  *limiter.Limiter
	// places are the deployments that make up the provider, in order, and breakers and coolings
	// are theirs; one of an empty name where the provider is one place.
	places   []string
	breakers map[string]*breaker.Breaker
	estimate func(providers.Request) limiter.Demand
	learn    func(Learned)
	waited   func(time.Duration)
	log      zerolog.Logger
	retry    failsafe.Executor[any]
	// cooldown is the time for which a provider is left alone that only a person can mend,
	// unless its settings say so first.
	cooldown time.Duration

	mu           sync.Mutex
	coolings     map[string]cooling
	blockedUntil map[string]time.Time // when the provider wants to be called again, by scope
}

// nonRetryable marks a failure that must not be repeated here.
type nonRetryable struct{ err error } //nolint:errname // it never leaves this file

func (l *nonRetryable) Error() string { return l.err.Error() }
func (l *nonRetryable) Unwrap() error { return l.err }

func newGuard(p providers.Provider, cfg Config) (*guard, error) {
	policy := retrypolicy.NewBuilder[any]().
		HandleIf(func(_ any, err error) bool {
			_, stop := errors.AsType[*nonRetryable](err)
			return err != nil && !stop
		}).
		WithMaxRetries(maxRetries).
		// Jitter is inside the function: the library's own would shorten a
		// Retry-After.
		WithDelayFunc(func(exec failsafe.ExecutionAttempt[any]) time.Duration {
			delay := cfg.Backoff(exec.Attempts())
			if e, ok := errors.AsType[*providers.Error](exec.LastError()); ok {
				delay = max(delay, e.RetryAfter)
			}
			return min(delay, maxDelay)
		}).
		ReturnLastFailure().
		Build()
	name := p.Name()
	g := &guard{
		name: name, provider: p, timeout: cfg.CallTimeout, calls: cfg.Calls, limiter: cfg.Limiter,
		estimate: func(req providers.Request) limiter.Demand { return cfg.Estimate(name, req) },
		learn:    func(l Learned) { cfg.Learn(name, l) },
		waited:   func(d time.Duration) { cfg.Waited(name, d) },
		log:      cfg.Log.With().Str("provider", name).Logger(), retry: failsafe.With(policy), blockedUntil: map[string]time.Time{}, cooldown: cfg.Backoff(maxRetries + 1),
		places: cfg.Deployments[name], breakers: map[string]*breaker.Breaker{}, coolings: map[string]cooling{},
	}
	if len(g.places) == 0 {
		g.places = []string{""}
	}
	if cfg.Redis == nil {
		return g, nil
	}
	for _, place := range g.places {
		var err error
		g.breakers[place], err = breaker.New(breaker.Config{
			Provider: BreakerName(name, place), Redis: cfg.Redis, CallTimeout: cfg.CallTimeout, Calls: cfg.Calls,
			Forced:   func() breaker.State { return cfg.Settings(name).Breaker },
			OnChange: func(state breaker.State, reason string) { g.breakerMoved(place, state, reason) },
		})
		if err != nil {
			return nil, err
		}
	}
	return g, nil
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
func (g *guard) generate(ctx context.Context, urgency int, req providers.Request, j providers.Journal) (providers.Response, error) {
	if err := g.cooldownError(); err != nil {
		return providers.Response{}, err
	}
	var res providers.Response
	outcome, failed := errNotAttempted, ""
	err := g.retry.WithContext(ctx).Run(func() error {
		res, outcome = g.attempt(ctx, urgency, req, j, &failed)
		return outcome
	})
	if outcome == nil {
		return res, nil
	}
	if l, ok := errors.AsType[*nonRetryable](outcome); ok {
		return res, l.err
	}
	// Retries are used up, or ctx ended the wait for the next.
	return res, err
}

// attempt makes one call, and again after each refusal for the rate limit that
// asks for a short wait: that is no failure and uses up no retry. failed is the deployment
// whose failure is the reason for a retry, which another is tried before.
func (g *guard) attempt(ctx context.Context, urgency int, req providers.Request, j providers.Journal, failed *string) (res providers.Response, err error) {
	for waited := time.Duration(0); ; {
		sent, until, err := g.once(ctx, urgency, req, j, *failed)
		res = sent.res
		if err == nil {
			return res, nil
		}
		failure, ok := errors.AsType[*providers.Error](err)
		if !ok {
			return res, &nonRetryable{err}
		}
		switch failure.Kind.Reaction() {
		case providers.Wait:
			// What did not come from the provider has waited for as long as may be.
			if until.IsZero() || !j.MayRepeat(failure) {
				return res, &nonRetryable{err}
			}
			// A refusal counts for a second even where it asks for less, so that there
			// is an end to them.
			pause := g.pause(until, req.Model)
			if waited += max(pause, firstDelay); waited > maxWait {
				handedBack := *failure
				handedBack.RetryAfter = max(failure.RetryAfter, pause)
				handedBack.Waiting = &providers.WaitError{For: providers.WaitForBlock, Until: time.Now().Add(handedBack.RetryAfter)}
				return res, &nonRetryable{&handedBack}
			}
			if g.limiter != nil {
				continue // it holds everybody until then, and keeps the order
			}
			if waitErr := sleep.For(ctx, pause+rand.N(firstDelay/4)); waitErr != nil {
				return res, &nonRetryable{waitErr}
			}
			continue
		case providers.Retry:
			// A wait beyond what retry bears goes back to the queue.
			if j.MayRepeat(failure) && failure.RetryAfter <= maxDelay && g.calls.Err() == nil {
				*failed = sent.place
				return res, err
			}
		case providers.Pause:
			if failure.RefusedKey == "" {
				g.startCooldown(failure, sent.place)
				break
			}
			g.keyRefused(failure)
			if j.MayRepeat(failure) && ctx.Err() == nil {
				continue // each time with one key less
			}
		case providers.Final:
		}
		return res, &nonRetryable{err}
	}
}
