package policy

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"oneflow/policy/breaker"
	"oneflow/policy/limiter"
	"oneflow/policy/rediscall"
	"oneflow/providers"
)

// How long a job waits where nothing says for how long.
const (
	// operatorWait is for a provider that an operator holds back.
	operatorWait = time.Minute
	// redisWait is for a Redis that does not answer.
	redisWait = 5 * time.Second
	// probeWait is for the outcome of somebody else's probe.
	probeWait = 2 * time.Second
)

// waits returns why the provider is not asked, and for how long. Up to a quarter is
// added, so that those who wait do not come back in the same moment.
func (g *guard) waits(wait time.Duration, w providers.WaitError) *providers.Error {
	return notAsked(g.name, wait, w)
}

func notAsked(provider string, wait time.Duration, w providers.WaitError) *providers.Error {
	wait = (wait + rand.N(wait/4+1)).Round(time.Millisecond)
	return &providers.Error{Provider: provider, Kind: providers.NotAsked, Billing: providers.Unbilled, RetryAfter: wait, Waiting: &w}
}

// notAsked returns an error of the breaker's as one of the provider's.
func (g *guard) notAsked(err error) error {
	if errors.Is(err, breaker.ErrOnTrial) {
		return g.waits(probeWait, providers.WaitError{For: providers.WaitForBreaker})
	}
	if _, ok := errors.AsType[*rediscall.UnavailableError](err); ok {
		return g.waits(redisWait, providers.WaitError{For: providers.WaitForRedis})
	}
	open, ok := errors.AsType[*breaker.OpenError](err)
	switch {
	case !ok:
		return err
	case open.Forced:
		return g.waits(operatorWait, providers.WaitError{For: providers.WaitForOperator})
	}
	return g.waits(max(time.Until(open.NextProbe), probeWait), providers.WaitError{For: providers.WaitForBreaker, Since: open.Since, Until: open.NextProbe})
}

// granted is a slot of the limiter's, or none where there is no limiter.
type granted struct {
	ctx  context.Context //nolint:containedctx // of the job's, without its end
	slot *limiter.Slot
}

// slot waits for one, in a scope that is not excepted. A wait that is too long comes back as
// a failure that asks for it.
func (g *guard) slot(ctx context.Context, urgency int, req providers.Request, except func(scope string) bool) (granted, error) {
	if g.limiter == nil {
		return granted{}, nil
	}
	demand := g.estimate(req)
	demand.Model, demand.Except = req.Model, except
	began := time.Now()
	got, err := g.limiter.Acquire(ctx, g.name, demand, urgency)
	if err == nil {
		g.waited(time.Since(began))
		return granted{context.WithoutCancel(ctx), got}, nil
	}
	if long, ok := errors.AsType[*limiter.WaitTooLongError](err); ok {
		w := providers.WaitError{For: providers.WaitForLimit, Dimension: long.Dimension, Until: time.Now().Add(long.After)}
		if long.Dimension == "" {
			w.For = providers.WaitForBlock
		}
		return granted{}, &providers.Error{
			Provider: g.name, Kind: providers.RateLimited, Billing: providers.Unbilled, RetryAfter: long.After, Waiting: &w,
		}
	}
	if _, ok := errors.AsType[*rediscall.UnavailableError](err); ok {
		return granted{}, g.waits(redisWait, providers.WaitError{For: providers.WaitForRedis})
	}
	return granted{}, err
}

// scope is the one in which the slot counts; empty: the provider as a whole.
func (s granted) scope() string {
	if s.slot == nil {
		return ""
	}
	return s.slot.Scope()
}

// longWait is from where on a block is a reason to ask another provider.
const longWait = 2 * maxWait

// late reports whether the slot has passed. Whether the provider was blocked meanwhile is
// not asked again: what is sent this soon after is as good as under way.
func (s granted) late() bool { return s.slot != nil && s.slot.Late() }

func (s granted) unused() {
	if s.slot != nil {
		s.slot.Unused(s.ctx)
	}
}

// done hands the slot back with what was used.
func (s granted) done(res providers.Response, failure *providers.Error) {
	switch {
	case s.slot == nil:
	case failure == nil:
		s.slot.Done(s.ctx, res.Usage, res.Limits)
	case !failure.Sent:
		s.slot.Unused(s.ctx)
	default:
		s.slot.Done(s.ctx, failure.Usage, failure.Limits)
	}
}

// refused tells the fleet to wait, and returns until when.
func (s granted) refused(failure *providers.Error) time.Time {
	wait := failure.RetryAfter
	if wait <= 0 {
		wait = firstDelay
	}
	asked := time.Now().Add(wait)
	if s.slot == nil {
		return asked
	}
	if until := s.slot.Refused(s.ctx, failure); !until.IsZero() {
		return until
	}
	return asked // Redis is away: this call waits for itself
}
