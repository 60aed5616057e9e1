package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"oneflow/providers"
)

// longChain bounds how many providers one request is brought to.
const longChain = 16

// errNotServed refuses a provider that this worker does not know.
var errNotServed = errors.New("not served by this worker")

// errNoKey is the reason why a provider is passed over that nobody has given a key for.
var errNoKey = errors.New("it has no API key")

// Generate brings req to the providers of the route, one after the other, until one
// does it. ctx bounds the waiting; a call that was sent goes on when ctx ends.
//
// It fails with an error of the journal's, with ctx's, with an *providers.Error
// where one provider decides, or with an *providers.ChainError where several failed
// or were passed over. A wait for limits of our own is not a reason to ask another:
// it comes back as it is.
func (c *Chains) Generate(ctx context.Context, route providers.Route, req providers.Request, j providers.Journal) (providers.Response, error) {
	chain := c.chain(route, req.Task)
	if len(chain) == 1 && c.guards[chain[0]] == nil {
		return providers.Response{}, fmt.Errorf("provider %q: %w", chain[0], errNotServed)
	}
	run := chainRun{chains: c, ctx: ctx, route: route, req: req, journal: j}
	for i, name := range chain {
		if res, over, err := run.try(name, chain[i+1:]); over {
			return res, err
		}
	}
	return providers.Response{}, run.failed(false)
}

// chain are the providers to ask, without repetition. The chain of the task is for
// jobs of the providers in it: nobody who rehearses with the mock, or has a server
// of their own, wants to find the bill of another.
func (c *Chains) chain(route providers.Route, task providers.Task) []string {
	names := route.Chain
	if len(names) == 0 {
		names = []string{route.Provider}
		if all := c.cfg.Chain(task); slices.Contains(all, route.Provider) {
			names = append(names, all...)
		}
	}
	var chain []string
	for _, name := range names {
		if !slices.Contains(chain, name) && len(chain) < longChain {
			chain = append(chain, name)
		}
	}
	if route.Fallback == providers.FallbackNever {
		chain = chain[:1]
	}
	return chain
}

// chainRun is one request on its way along its chain.
type chainRun struct {
	chains   *Chains
	ctx      context.Context //nolint:containedctx // of one call to Generate
	route    providers.Route
	req      providers.Request
	journal  providers.Journal
	failures []*providers.Error
}

// try asks one provider, or passes it over. over reports whether the run has ended.
func (r *chainRun) try(name string, rest []string) (res providers.Response, over bool, err error) {
	g, req, why := r.prepare(name, rest)
	if why != nil {
		r.fail(why)
		return res, false, nil
	}
	if n := len(r.failures); n > 0 {
		before := r.failures[n-1]
		r.chains.cfg.Log.Info().Str("provider", name).Str("instead_of", before.Provider).Str("kind", string(before.Kind)).Msg("fallback")
	}
	res, err = g.generate(r.ctx, r.route.Urgency, req, r.journal)
	if err == nil {
		return res, true, nil
	}
	failure, ok := errors.AsType[*providers.Error](err)
	if !ok {
		return res, true, err
	}
	r.fail(failure)
	final := failure.Kind.Reaction() == providers.Final
	switch {
	case r.ctx.Err() != nil, g.calls.Err() != nil:
		return res, true, r.failed(true)
	case !r.journal.MayRepeat(failure):
		return res, true, r.failed(true) // another call could be the second to be paid for
	case final && r.route.Fallback != providers.FallbackAlways:
		// The request was written for its own provider: if that refuses it, so it is.
		// Another has refused what was made of it.
		return res, true, r.failed(name == r.route.Provider)
	case !final && !failure.Kind.FallsBack(), ours(failure):
		return res, true, r.failed(false)
	}
	return res, false, nil
}

// fail notes a failure, or why a provider was passed over.
func (r *chainRun) fail(e *providers.Error) {
	r.failures = append(r.failures, e)
	if e.Sent {
		return
	}
	why := e.Err
	if e.Waiting != nil {
		why = e.Waiting
	}
	r.chains.cfg.Log.Debug().Str("provider", e.Provider).Str("kind", string(e.Kind)).AnErr("reason", why).Msg("provider skipped")
}

// failed is the error of a run that has ended. ended reports whether its last
// failure decides.
func (r *chainRun) failed(ended bool) error {
	if len(r.failures) == 1 {
		return r.failures[0]
	}
	return &providers.ChainError{Failures: r.failures, Ended: ended}
}

// ours reports whether nothing is wrong with the provider: our own limits ask to wait, or
// cannot be read, or the call took too long to record, and the same would hold for others.
func ours(failure *providers.Error) bool {
	w := failure.Waiting
	if failure.Sent || w == nil {
		return false
	}
	switch w.For {
	case providers.WaitForLimit:
		return w.Dimension.Window() < time.Hour // what is used up for a day is not waited for
	case providers.WaitForBlock:
		return failure.RetryAfter <= longWait
	case providers.WaitForBreaker:
		return w.Until.IsZero() // on trial
	case providers.WaitForRedis, providers.WaitForLedger:
		return true
	case providers.WaitForKey, providers.WaitForOperator:
	}
	return false
}

// prepare returns the guard of a provider and the request as it takes it, or why
// it is passed over.
func (r *chainRun) prepare(name string, rest []string) (*guard, providers.Request, *providers.Error) {
	no := func(kind providers.Kind, wait time.Duration, why error) *providers.Error {
		return &providers.Error{Provider: name, Kind: kind, Billing: providers.Unbilled, RetryAfter: wait, Err: why}
	}
	g, ok := r.chains.guards[name]
	if !ok {
		return nil, r.req, no(providers.NotFound, 0, errNotServed)
	}
	settings := r.chains.cfg.Settings(name)
	if settings.NoKey {
		if name == r.route.Provider {
			return nil, r.req, notAsked(name, operatorWait, providers.WaitError{For: providers.WaitForKey})
		}
		return nil, r.req, no(providers.NotFound, 0, errNoKey)
	}
	if settings.Unavailable {
		return nil, r.req, notAsked(name, operatorWait, providers.WaitError{For: providers.WaitForOperator, By: settings.By})
	}
	req, err := r.as(name)
	if err != nil {
		return nil, r.req, no(providers.InvalidRequest, 0, err)
	}
	if block := g.blocked(settings, req.Model); block > 0 && r.sooner(block, rest) {
		why := no(providers.RateLimited, block, nil)
		why.Waiting = &providers.WaitError{For: providers.WaitForBlock, Until: time.Now().Add(block)}
		return nil, r.req, why
	}
	return g, req, nil
}

// as returns the request as a provider takes it.
func (r *chainRun) as(name string) (providers.Request, error) {
	if name == r.route.Provider {
		return r.req, nil
	}
	return r.chains.cfg.Translate(r.route.Provider, name, r.req)
}

// sooner reports whether one of the providers would take a call before so long.
func (r *chainRun) sooner(than time.Duration, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		g, ok := r.chains.guards[name]
		if !ok {
			return false
		}
		settings := r.chains.cfg.Settings(name)
		if settings.NoKey || settings.Unavailable || g.refusing() {
			return false
		}
		req, err := r.as(name)
		if err != nil || g.blocked(settings, req.Model) >= than {
			return false
		}
		if g.limiter == nil {
			return true
		}
		wait, err := g.limiter.Wait(r.ctx, name, req.Model)
		return err == nil && wait < than
	})
}
