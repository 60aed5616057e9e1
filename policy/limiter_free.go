package policy

import (
	"context"
	"sync"
	"time"

	"oneflow/providers"
)

// lookFor is for how long what Redis said about a block is believed where there is
// no limit to ask for.
const lookFor = 50 * time.Millisecond

// look is what this process has last seen of a provider without limits.
type look struct {
	mu sync.Mutex
	at time.Time // when; zero: never
	grant
}

// free gives a slot of a provider without limits: there is nothing to reserve, and
// only a block to wait for. Redis is asked for that some times a second, not for
// each call, so that a refusal that another worker met is heeded within lookFor.
func (l *Limiter) free(ctx context.Context, a *account, deadline time.Time) (*Slot, error) {
	for {
		g, err := l.look(ctx, a)
		switch {
		case err != nil:
			return nil, err
		case g.wait <= 0:
			return &Slot{limiter: l, account: a, grant: g, due: time.Now()}, nil
		case time.Now().Add(g.wait).After(deadline):
			return nil, &Busy{Provider: a.provider, After: g.wait, Blocked: g.wait}
		}
		if err := sleep(ctx, g.wait); err != nil {
			return nil, err
		}
	}
}

// look returns how long the provider is blocked. One asks, the others wait for what
// it sees.
func (l *Limiter) look(ctx context.Context, a *account) (grant, error) {
	a.look.mu.Lock()
	defer a.look.mu.Unlock()
	if time.Since(a.look.at) > lookFor {
		g, err := l.ask(ctx, a, providers.Limits{}, Cost{}, maxRetryAfter, false)
		if err != nil {
			return grant{}, err
		}
		a.look.at, a.look.grant = time.Now(), g
	}
	g := a.look.grant
	g.wait -= time.Since(a.look.at)
	return g, nil
}

// forget has the next look ask Redis.
func (k *look) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = time.Time{}
}
