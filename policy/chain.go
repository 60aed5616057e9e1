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

// errNotServed is why a provider is passed over that this worker does not know.
var errNotServed = errors.New("not served by this worker")

// Generate brings req to the providers of the route, one after the other, until one
// does it. ctx bounds the waiting; a call that was sent goes on when ctx ends.
//
// It fails with an error of the journal's, with ctx's, with an *providers.Error
// where one provider decides, or with an *providers.ChainError where several failed
// or were passed over. A wait for limits of our own is not a reason to ask another:
// it comes back as it is.
func (s *Set) Generate(ctx context.Context, route providers.Route, req providers.Request, j providers.Journal) (providers.Response, error) {
	chain := s.chain(route, req.Task)
	if len(chain) == 1 && s.guards[chain[0]] == nil {
		return providers.Response{}, fmt.Errorf("provider %q: %w", chain[0], errNotServed)
	}
	w := walk{set: s, ctx: ctx, route: route, req: req, journal: j}
	for i, name := range chain {
		if res, over, err := w.visit(name, chain[i+1:]); over {
			return res, err
		}
	}
	return providers.Response{}, w.failed(false)
}

// chain are the providers to ask, without repetition. The chain of the task is for
// jobs of the providers in it: nobody who rehearses with the mock, or has a server
// of their own, wants to find the bill of another.
func (s *Set) chain(route providers.Route, task providers.Task) []string {
	names := route.Chain
	if len(names) == 0 {
		names = []string{route.Provider}
		if all := s.cfg.Chain(task); slices.Contains(all, route.Provider) {
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

// walk is one request on its way along its chain.
type walk struct {
	set      *Set
	ctx      context.Context //nolint:containedctx // of one call to Generate
	route    providers.Route
	req      providers.Request
	journal  providers.Journal
	failures []*providers.Error
}

// visit asks one provider, or passes it over. over tells that the walk has ended.
func (w *walk) visit(name string, rest []string) (res providers.Response, over bool, err error) {
	g, req, why := w.prepare(name, rest)
	if why != nil {
		w.fail(why)
		return res, false, nil
	}
	if n := len(w.failures); n > 0 {
		before := w.failures[n-1]
		w.set.cfg.Log.Info().Str("provider", name).Str("instead_of", before.Provider).Str("kind", string(before.Kind)).Msg("fallback")
	}
	res, err = g.generate(w.ctx, w.route.Urgency, req, w.journal)
	if err == nil {
		return res, true, nil
	}
	failure, ok := errors.AsType[*providers.Error](err)
	if !ok {
		return res, true, err
	}
	w.fail(failure)
	final := failure.Kind.Reaction() == providers.Final
	switch {
	case w.ctx.Err() != nil, g.calls.Err() != nil:
		return res, true, w.failed(true)
	case !w.journal.MayRepeat(failure):
		return res, true, w.failed(true) // another call could be the second to be paid for
	case final && w.route.Fallback != providers.FallbackAlways:
		// The request was written for its own provider: if that refuses it, so it is.
		// Another has refused what was made of it.
		return res, true, w.failed(name == w.route.Provider)
	case !final && !failure.Kind.FallsBack(), ours(failure):
		return res, true, w.failed(false)
	}
	return res, false, nil
}

// fail notes a failure, or why a provider was passed over.
func (w *walk) fail(e *providers.Error) {
	w.failures = append(w.failures, e)
	if !e.Sent {
		w.set.cfg.Log.Debug().Str("provider", e.Provider).Str("kind", string(e.Kind)).AnErr("reason", e.Err).Msg("provider passed over")
	}
}

// failed is the error of a walk that has ended. ended tells that its last failure
// decides.
func (w *walk) failed(ended bool) error {
	if len(w.failures) == 1 {
		return w.failures[0]
	}
	return &providers.ChainError{Failures: w.failures, Ended: ended}
}

// ours tells that nothing is wrong with the provider: it is our own limits that
// ask for patience, or they cannot be read, and the same would hold for others.
func ours(failure *providers.Error) bool {
	return errors.Is(failure, errCrowded) || errors.Is(failure, errOnTrial) || errors.Is(failure, errRedisAway)
}

// prepare returns the guard of a provider and the request as it takes it, or why
// it is passed over.
func (w *walk) prepare(name string, rest []string) (*guard, providers.Request, *providers.Error) {
	no := func(kind providers.Kind, wait time.Duration, why error) (*guard, providers.Request, *providers.Error) {
		return nil, w.req, &providers.Error{Provider: name, Kind: kind, Billing: providers.Unbilled, RetryAfter: wait, Err: why}
	}
	g, ok := w.set.guards[name]
	if !ok {
		return no(providers.NotFound, 0, errNotServed)
	}
	settings := w.set.cfg.Settings(name)
	if settings.Status == providers.Unavailable {
		return no(providers.NotAsked, forcedWait, errOutOfUse)
	}
	req := w.req
	if name != w.route.Provider {
		var err error
		if req, err = w.set.cfg.Translate(w.route.Provider, name, req); err != nil {
			return no(providers.InvalidRequest, 0, err)
		}
	}
	if block := g.blocked(settings); block > 0 && w.sooner(block, rest) {
		return no(providers.RateLimited, block, errBlocked)
	}
	return g, req, nil
}

// sooner tells whether one of the providers would take a call before so long.
func (w *walk) sooner(than time.Duration, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		g, ok := w.set.guards[name]
		if !ok {
			return false
		}
		settings := w.set.cfg.Settings(name)
		if settings.Status == providers.Unavailable || g.blocked(settings) >= than || g.breaker.refusing() {
			return false
		}
		if g.limiter == nil {
			return true
		}
		wait, err := g.limiter.Wait(w.ctx, name)
		return err == nil && wait < than
	})
}
