package policy

import (
	"math"
	"time"

	"oneflow/providers"
)

// cooling is for how long a place is left alone, and why.
type cooling struct {
	until time.Time
	cause providers.Error
}

// keyRefused tells of a key that is left alone while the provider's others go on.
func (g *guard) keyRefused(failure *providers.Error) {
	g.log.Error().Str("kind", string(failure.Kind)).Str("key", failure.RefusedKey).Msg("key left alone for a while: others go on")
	learned := Learned{Reason: "its API key " + failure.RefusedKey + " was refused, and others go on"}
	if failure.Kind == providers.OutOfMoney {
		learned.Reason = "the account of its API key " + failure.RefusedKey + " has no credit left, and others go on"
	}
	g.learn(learned)
}

// startCooldown leaves a place of the provider's alone for a while: its account is empty, its key
// was refused or it shuts us out, and the next call would only be refused again. What
// it refuses to one job is no failure of these kinds.
func (g *guard) startCooldown(failure *providers.Error, place string) {
	var learned Learned
	switch failure.Kind { //nolint:exhaustive // those whose reaction is to pause
	case providers.OutOfMoney:
		learned = Learned{OutOfMoney: true, Reason: "its account has no credit left"}
	case providers.Unauthorised:
		learned = Learned{Reason: "its API key was refused"}
	default:
		learned = Learned{Reason: "it refuses this account or place"}
	}
	if failure.Reason != "" && failure.Kind != providers.OutOfMoney {
		learned.Reason += ": " + failure.Reason
	}
	g.mu.Lock()
	known := time.Now().Before(g.coolings[place].until)
	g.coolings[place] = cooling{time.Now().Add(g.cooldown), providers.Error{
		Provider: g.name, Kind: failure.Kind, Billing: providers.Unbilled, Status: failure.Status, Code: failure.Code,
		URL: failure.URL, Reason: failure.Reason,
	}}
	g.mu.Unlock()
	if known {
		return
	}
	if place == "" || g.cooldownError() != nil {
		g.log.Error().Str("kind", string(failure.Kind)).Msg("provider disabled: credentials, credit or access")
		g.learn(learned)
		return
	}
	// The others go on: an account without credit is no reason to leave the provider alone.
	g.log.Error().Str("kind", string(failure.Kind)).Str("deployment", place).Msg("deployment left alone for a while: credentials, credit or access")
	g.learn(Learned{Reason: "deployment " + place + ": " + learned.Reason})
}

// cooldownError returns why the provider is left alone now; nil if it is not.
func (g *guard) cooldownError() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var last cooling
	for _, place := range g.places {
		c := g.coolings[place]
		if !time.Now().Before(c.until) {
			return nil
		}
		last = c
	}
	return &last.cause
}

// cools reports whether a place is left alone now.
func (g *guard) cools(place string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.coolings[place].until)
}

// block notes until when the provider wants to be left alone, for calls of a scope.
func (g *guard) block(scope string, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blockedUntil[scope] = until
}

// reset forgets what has kept the provider out of use: an operator has mended it.
func (g *guard) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.blockedUntil)
	clear(g.coolings)
}

// blocked returns for how long the provider wants to be left alone by calls of a model, as
// far as is known here: from a call of this worker, or from its settings. The limiter
// knows for certain, and is asked before each call.
func (g *guard) blocked(settings Settings, model string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.blockedUntil) == 0 && settings.BlockedUntil.IsZero() {
		return 0
	}
	var scopes []string
	if g.limiter != nil {
		scopes = g.limiter.Scopes(g.name, model)
	}
	block := max(time.Until(g.blockedUntil[""]), time.Until(settings.BlockedUntil), 0)
	if len(scopes) == 0 {
		return block
	}
	least := time.Duration(math.MaxInt64) // one that is free is enough
	for _, scope := range scopes {
		least = min(least, time.Until(g.blockedUntil[scope]))
	}
	return max(block, least)
}
