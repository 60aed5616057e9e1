package fleet

import (
	"maps"
	"slices"
	"time"

	"oneflow/providers"
)

// Status says whether a provider is used, and how well it does.
type Status string

// The states of a provider. An operator, or an account without money, makes it
// Unavailable; a Degraded one is used as before.
const (
	Available   Status = "available"
	Degraded    Status = "degraded"
	Unavailable Status = "unavailable"
)

// BreakerState is the state of a circuit breaker, or the one that an operator
// orders.
type BreakerState string

// The states of a circuit breaker. As an order, the empty state means: by itself.
const (
	BreakerClosed   BreakerState = "closed"
	BreakerOpen     BreakerState = "open"
	BreakerHalfOpen BreakerState = "half_open"
)

// Stored holds what the store knows of a provider: what operators ordered and workers
// learned, and the configuration of the worker that wrote the row.
type Stored struct {
	Status Status
	// Reason says why it is unavailable, and By names the person who said so, if one did.
	Reason, By string
	LimitLayers
	// BlockedUntil is until when the provider asked to be left alone; zero if it
	// did not.
	BlockedUntil time.Time
	// Breaker is the state that an operator orders, BreakerOpen or BreakerClosed;
	// empty: it works by itself.
	Breaker BreakerState
	// Scopes holds what is stored of the provider's scopes.
	Scopes []ScopeLimits
}

// Settings holds for one provider: what operators set, else what workers
// have learned, else what is configured. The zero value is a provider without
// limits, in good health.
type Settings struct {
	Status Status
	// Reason says why it is unavailable, and By names the person who said so, if one did.
	Reason, By string
	// Limits are those in force, and Pinned the dimensions that an operator has set.
	Limits providers.Limits
	Pinned []providers.Dimension
	// BlockedUntil is until when the provider asked to be left alone, as far as
	// is recorded; zero if it did not.
	BlockedUntil time.Time
	// Breaker is the state that an operator orders; empty: it works by itself.
	Breaker BreakerState

	// defaults are limits of each class of models, of which nothing else is known.
	defaults providers.Limits
	classes  map[string]ClassLimits
	// deployments holds the limits that the file gives to each.
	deployments map[string]ClassLimits
	scopes      map[string]ScopeLimits // by name
}

// Settings composes what holds for each provider, those that are only configured
// included. It is the one place where that is decided.
func (c Config) Settings(stored map[string]Stored) map[string]Settings {
	all := make(map[string]Settings, len(c.Providers))
	for name, own := range c.Providers {
		all[name] = Settings{Status: Available, Limits: own.Limits}.classed(own, LimitLayers{Configured: own.Limits, Written: own.Written})
	}
	for name, s := range stored {
		layers := s.LimitLayers
		own, ok := c.Providers[name]
		if ok {
			layers = layers.under(own)
		}
		set := Settings{
			Status: s.Status, Reason: s.Reason, By: s.By, Limits: layers.InForce(), Pinned: slices.Sorted(maps.Keys(layers.Pinned)),
			BlockedUntil: s.BlockedUntil, Breaker: s.Breaker, scopes: map[string]ScopeLimits{},
		}
		for _, scope := range s.Scopes {
			set.scopes[scope.Scope] = scope
		}
		all[name] = set.classed(own, layers)
	}
	return all
}

// classed moves defaults from the limits of a provider to those of its classes of models and
// deployments, where it has any: a default that nobody wrote does not hold for all of them together.
func (s Settings) classed(own Configured, layers LimitLayers) Settings {
	if own.Class == nil && len(own.Deployments) == 0 {
		return s
	}
	s.classes, s.deployments = own.Classes, own.Deployments
	all := s.Limits
	s.Limits = layers.Common()
	for _, d := range providers.Dimensions() {
		if s.Limits.Of(d) == 0 {
			s.defaults = s.defaults.With(d, all.Of(d))
		}
	}
	return s
}

// Learned holds what a worker learned about a provider. Zero fields say nothing.
type Learned struct {
	// Scope is the one that Limits and BlockedUntil are of; empty: the provider.
	Scope string
	// Limits are those that answers named, or that refusals showed.
	Limits providers.Limits
	// BlockedUntil is until when the provider asked to be left alone.
	BlockedUntil time.Time
	// OutOfMoney is set where the account has no credit left.
	OutOfMoney bool
	// Breaker is the state that the fleet's breaker has gone to.
	Breaker BreakerState
	// Reason says what it was, without any text of a prompt or an answer.
	Reason string
}

// merge returns a with what b, which is younger, says beside it.
func (a Learned) merge(b Learned) Learned {
	for _, d := range providers.Dimensions() {
		if n := b.Limits.Of(d); n > 0 {
			a.Limits = a.Limits.With(d, n)
		}
	}
	if b.BlockedUntil.After(a.BlockedUntil) {
		a.BlockedUntil = b.BlockedUntil
	}
	a.OutOfMoney = a.OutOfMoney || b.OutOfMoney
	if b.Breaker != "" {
		a.Breaker = b.Breaker
	}
	if b.Reason != "" {
		a.Reason = b.Reason
	}
	return a
}
