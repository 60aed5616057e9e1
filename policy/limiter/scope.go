package limiter

import (
	"slices"
	"time"

	"oneflow/providers"
)

// place is a scope in which a call may count: the first of a list is the provider as a
// whole, and of the others, where there are any, each call takes one.
type place struct {
	Scope // of an empty name: the provider

	keys []string
}

// places returns where calls of a model count now, and what this process knows of them.
// Those of several keys take turns to be the first, who is taken where all are as good.
func (l *Limiter) places(provider, model string) (*account, []place) {
	class, scopes := "", []Scope(nil)
	if l.cfg.Scopes != nil {
		class, scopes = l.cfg.Scopes(provider, model)
	}
	a := l.account(provider, class)
	list := make([]place, 1, 1+len(scopes))
	list[0] = place{Scope{Settings: l.cfg.Settings(provider)}, keysOf(provider, "")}
	for i := range scopes {
		s := scopes[(uint64(i)+a.turn.Load())%uint64(len(scopes))]
		list = append(list, place{s, keysOf(provider, s.Name)})
	}
	return a, list
}

// placesFor returns where a call may count now.
func (l *Limiter) placesFor(provider string, demand Demand) (*account, []place) {
	a, all := l.places(provider, demand.Model)
	if demand.Except == nil {
		return a, all
	}
	some := slices.DeleteFunc(slices.Clone(all), func(p place) bool { return p.Name != "" && demand.Except(p.Name) })
	if len(some) == 1 {
		return a, all
	}
	return a, some
}

// Scopes returns the names of the scopes in one of which calls of a model count now.
func (l *Limiter) Scopes(provider, model string) (names []string) {
	_, places := l.places(provider, model)
	for _, p := range places[1:] {
		names = append(names, p.Name)
	}
	return names
}

// keysOf returns the hash and the permits of a scope. The braces keep all of a provider in
// one slot of a Redis cluster.
func keysOf(provider, scope string) []string {
	hash := "oneflow:limit:{" + provider + "}"
	if scope != "" {
		hash += ":" + scope
	}
	return []string{hash, hash + ":permits"}
}

// unlimited reports whether nothing limits calls but what the provider refuses.
func unlimited(places []place) bool {
	return !slices.ContainsFunc(places, func(p place) bool { return p.Limits != (providers.Limits{}) })
}

// spacing returns the time between two requests if this process had all for itself; 0
// where only tokens say, below 0 where nothing does.
func spacing(places []place) time.Duration {
	own := places[0].spacing()
	if len(places) == 1 {
		return own
	}
	least := time.Duration(-1) // of the scopes: what one does not take, another may
	for i, p := range places[1:] {
		if s := p.spacing(); i == 0 || s < least {
			least = s
		}
	}
	if least > 0 {
		least /= time.Duration(len(places) - 1)
	}
	return max(own, least)
}

func (p place) spacing() time.Duration {
	out := time.Duration(-1)
	for _, d := range providers.Dimensions() {
		n := p.Limits.Of(d)
		switch window := d.Window(); {
		case n <= 0 || window == 0 || window > time.Hour:
		case d.Counts() == providers.CountsRequests:
			out = max(out, window/time.Duration(n))
		default:
			out = max(out, 0)
		}
	}
	return out
}
