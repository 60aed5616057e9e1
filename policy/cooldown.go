package policy

import (
	"time"

	"oneflow/providers"
)

// startCooldown leaves the provider alone for a while: its account is empty or its key
// was refused, and the next call would only be refused again. A refusal of one thing
// that the key may not do (403) is between that job and the provider.
func (g *guard) startCooldown(failure *providers.Error) {
	learned := Learned{OutOfMoney: true, Reason: "its account has no credit left"}
	if failure.Kind == providers.Unauthorised {
		if failure.Status == 403 {
			return
		}
		learned = Learned{Reason: "its API key was refused"}
	}
	g.mu.Lock()
	known := time.Now().Before(g.cooldownUntil)
	g.cooldownUntil = time.Now().Add(g.cooldown)
	g.cooldownCause = providers.Error{
		Provider: g.name, Kind: failure.Kind, Billing: providers.Unbilled, Status: failure.Status, Code: failure.Code,
	}
	g.mu.Unlock()
	if known {
		return
	}
	g.log.Error().Str("kind", string(failure.Kind)).Msg("provider disabled: credentials or credit")
	g.learn(learned)
}

// cooldownError returns why the provider is left alone now; nil if it is not.
func (g *guard) cooldownError() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Now().Before(g.cooldownUntil) {
		cause := g.cooldownCause
		return &cause
	}
	return nil
}

// block notes until when the provider wants to be left alone.
func (g *guard) block(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blockedUntil = until
}

// reset forgets what has kept the provider out of use: an operator has mended it.
func (g *guard) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blockedUntil, g.cooldownUntil = time.Time{}, time.Time{}
}

// blocked returns for how long the provider wants to be left alone, as far as is known
// here: from a call of this worker, or from its settings. The limiter knows for
// certain, and is asked before each call.
func (g *guard) blocked(settings Settings) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(time.Until(g.blockedUntil), time.Until(settings.BlockedUntil), 0)
}
