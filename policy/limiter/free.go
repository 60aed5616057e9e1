package limiter

import (
	"context"
	"errors"
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
	// asking is the look that is under way, if any.
	asking *blockLook
}

// blockLook is a question to Redis that others may wait for.
type blockLook struct {
	done  chan struct{}
	err   error // after done
	stale bool  // a refusal has come since it was asked
}

// free gives a slot of a provider without limits: there is nothing to reserve, and
// only a block to wait for. Redis is asked for that some times a second, not for
// each call, so that a refusal that another worker met is heeded within lookFor.
func (l *Limiter) free(ctx context.Context, a *account, demand Demand, deadline time.Time) (*Slot, error) {
	for {
		g, err := l.look(ctx, a, demand.Model)
		if err == nil && demand.Except != nil && len(g.parts) > 0 && demand.Except(g.own().Name) {
			g, err = l.ask(ctx, a, demand, maxRetryAfter, false) // what was seen is another scope's
		}
		switch {
		case err != nil:
			return nil, err
		case g.wait <= 0:
			return &Slot{limiter: l, account: a, model: demand.Model, grant: g, due: time.Now()}, nil
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

// look returns how long the provider is blocked. From half of lookFor on, one asks
// anew while the others go by what was seen; only when that is too old do they wait
// for it. Nobody holds the lock across a round trip.
func (l *Limiter) look(ctx context.Context, a *account, model string) (grant, error) {
	for k := &a.blocks; ; {
		g, asks, others := k.fresh(time.Now())
		switch {
		case asks != nil:
			seen, err := l.ask(ctx, a, Demand{Model: model}, maxRetryAfter, false)
			k.answer(asks, seen, err)
			if err != nil {
				return grant{}, err
			}
			if !asks.stale {
				return seen, nil
			}
			continue
		case others == nil:
			return g, nil
		}
		select {
		case <-others.done:
		case <-ctx.Done():
			return grant{}, ctx.Err()
		}
		// Where the other was only interrupted, Redis may answer us.
		if others.err != nil && !errors.Is(others.err, context.Canceled) && !errors.Is(others.err, context.DeadlineExceeded) {
			return grant{}, others.err
		}
	}
}

// fresh returns what was last seen, as of now; or the look that the caller has to
// make, or has to wait for.
func (k *blockCache) fresh(now time.Time) (g grant, asks, others *blockLook) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := now.Sub(k.at)
	switch {
	case age <= lookFor/2, age <= lookFor && k.asking != nil:
		g = k.grant
		g.wait -= age
		return g, nil, nil
	case k.asking != nil:
		return g, nil, k.asking
	}
	k.asking = &blockLook{done: make(chan struct{})}
	return g, k.asking, nil
}

// answer ends a look. What was seen before a refusal says nothing of it.
func (k *blockCache) answer(asked *blockLook, seen grant, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	asked.err, k.asking = err, nil
	if err == nil && !asked.stale {
		k.at, k.grant = time.Now(), seen
	}
	close(asked.done)
}

// forget has the next look ask Redis.
func (k *blockCache) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = time.Time{}
	if k.asking != nil {
		k.asking.stale = true
	}
}
