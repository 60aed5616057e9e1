package policy

import (
	"context"
	"errors"
	"slices"
	"time"

	"oneflow/policy/breaker"
	"oneflow/policy/rediscall"
	"oneflow/providers"
)

// BreakerName is the name under which Redis keeps the breaker of a provider's deployment; the
// provider's own where deployment is empty.
func BreakerName(provider, deployment string) string {
	if deployment == "" {
		return provider
	}
	return provider + "/" + deployment
}

// placeOf returns the deployment that a call in a slot is made at; empty where the provider
// is one place.
func (g *guard) placeOf(slot granted) string {
	if len(g.places) == 1 && g.places[0] == "" {
		return ""
	}
	return providers.DeploymentOfScope(slot.scope())
}

// refusing reports whether no call would be let through, as far as is known here.
func (g *guard) refusing() bool {
	return !slices.ContainsFunc(g.places, func(place string) bool { return !g.breakers[place].Refusing() })
}

// admit waits for a slot, and for a permit of the breaker of the place where it is.
//
// Of a provider that is one place the permit comes first: while it is on trial few get one,
// and a slot that is taken and not used is lost to all. With nothing on trial a permit is
// cheap and is checked again after the wait for the slot. Of several places the slot comes first, as
// it says which; those whose breakers are known to refuse are left out.
func (g *guard) admit(ctx context.Context, urgency int, req providers.Request, failed string) (granted, breaker.Permit, error) {
	if g.places[0] != "" {
		return g.admitAnywhere(ctx, urgency, req, failed)
	}
	permit, err := g.breakers[""].Acquire(ctx)
	if err != nil {
		return granted{}, permit, g.notAsked(err)
	}
	slot, err := g.slot(ctx, urgency, req, nil)
	if err == nil {
		if err = permit.Check(); err == nil {
			return slot, permit, nil
		}
		slot.unused()
		err = g.notAsked(err)
	}
	permit.Record(breaker.Nothing, "")
	return granted{}, permit, err
}

// admitAnywhere is admit for a provider of several places.
func (g *guard) admitAnywhere(ctx context.Context, urgency int, req providers.Request, failed string) (granted, breaker.Permit, error) {
	refused := map[string]error{}
	for {
		open := g.openPlaces(refused, failed)
		if len(open) == 0 {
			return granted{}, breaker.Permit{}, g.notAsked(g.soonest(ctx, refused))
		}
		slot, err := g.slot(ctx, urgency, req, func(scope string) bool {
			return !slices.Contains(open, providers.DeploymentOfScope(scope))
		})
		if err != nil {
			return granted{}, breaker.Permit{}, err
		}
		place := g.placeOf(slot)
		permit, err := g.breakers[place].Try(ctx)
		if err == nil && slices.Contains(open, place) {
			return slot, permit, nil
		}
		slot.unused()
		if err == nil { // the scopes have changed meanwhile
			permit.Record(breaker.Nothing, "")
			err = breaker.ErrOnTrial
		}
		if _, away := errors.AsType[*rediscall.UnavailableError](err); away || ctx.Err() != nil {
			return granted{}, breaker.Permit{}, g.notAsked(err)
		}
		refused[place] = err
	}
}

// openPlaces lists the places that may be called, as far as is known here: without the one that
// has failed, unless there is no other.
func (g *guard) openPlaces(refused map[string]error, failed string) (open []string) {
	for _, place := range g.places {
		if refused[place] == nil && !g.cools(place) && !g.breakers[place].Refusing() {
			open = append(open, place)
		}
	}
	if others := slices.DeleteFunc(slices.Clone(open), func(place string) bool { return place == failed }); len(others) > 0 {
		return others
	}
	return open
}

// soonest returns the refusal of the place that may be called first.
func (g *guard) soonest(ctx context.Context, refused map[string]error) error {
	var soonest error
	var at time.Time
	for _, place := range g.places {
		err := refused[place]
		if err == nil && !g.cools(place) {
			var permit breaker.Permit
			if permit, err = g.breakers[place].Try(ctx); err == nil { // it has just closed
				permit.Record(breaker.Nothing, "")
				err = breaker.ErrOnTrial
			}
		}
		switch open, ok := errors.AsType[*breaker.OpenError](err); {
		case err == nil:
		case !ok:
			return err
		case soonest == nil || open.NextProbe.Before(at):
			soonest, at = err, open.NextProbe
		}
	}
	if soonest == nil {
		return breaker.ErrOnTrial
	}
	return soonest
}

// breakerMoved reports that a breaker has moved. One of several places moves the provider's only
// where no other is closed.
func (g *guard) breakerMoved(place string, state breaker.State, reason string) {
	log := g.log.Warn().Str("breaker", string(state)).Str("reason", reason)
	if place == "" {
		log.Msg("circuit breaker moved")
		g.learn(Learned{Breaker: state, Reason: reason})
		return
	}
	log.Str("deployment", place).Msg("circuit breaker moved")
	others := slices.DeleteFunc(slices.Clone(g.places), func(other string) bool { return other == place || g.breakers[other].Last() != breaker.Closed })
	learned := Learned{Reason: "deployment " + place + ": " + reason}
	if state == breaker.Closed || len(others) == 0 {
		learned.Breaker = state
	}
	g.learn(learned)
}

// pause returns for how long calls of a model have to wait after a refusal that asked everybody to
// wait until then: not at all where another deployment or key is free.
func (g *guard) pause(until time.Time, model string) time.Duration {
	asked := max(time.Until(until), 0)
	if g.limiter == nil {
		return asked
	}
	return min(asked, g.blocked(Settings{}, model))
}
