package limiter

import (
	"context"
	"sync"
	"time"
)

// lookFor is for how long what Redis said about a block is believed where there is
// no limit to ask for.
const lookFor = 50 * time.Millisecond

// blockCache holds what this process has last seen of a provider without limits.
type blockCache struct {
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
			return nil, &WaitTooLongError{Provider: a.provider, After: g.wait, Blocked: g.wait}
		}
		select {
		case <-time.After(g.wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look returns how long the provider is blocked. One asks, the others wait for what
// it sees.
func (l *Limiter) look(ctx context.Context, a *account) (grant, error) {
	a.blocks.mu.Lock()
	defer a.blocks.mu.Unlock()
	if time.Since(a.blocks.at) > lookFor {
		g, err := l.ask(ctx, a, Settings{}, Demand{}, maxRetryAfter, false)
		if err != nil {
			return grant{}, err
		}
		a.blocks.at, a.blocks.grant = time.Now(), g
	}
	g := a.blocks.grant
	g.wait -= time.Since(a.blocks.at)
	return g, nil
}

// forget has the next look ask Redis.
func (k *blockCache) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = time.Time{}
}
