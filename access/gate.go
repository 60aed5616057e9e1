package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// Ten wrong tokens from one address are answered at once, then one each six seconds.
	guesses      = 10
	guessesEvery = 6 * time.Second
	// maxAddresses bounds the addresses that are remembered.
	maxAddresses = 4096
	// usedEvery is the least time between two notes that a token was used.
	usedEvery = time.Minute
)

// Gate finds out whom a request is from. It is safe for concurrent use.
type Gate struct {
	store Store
	// master is the hash of the token of the environment; nil: there is none.
	master *[sha256.Size]byte
	now    func() time.Time

	mu sync.Mutex
	// closed reports whether a token is asked for; it never becomes open again.
	closed   bool
	failures map[netip.Prefix]*rate.Limiter
	others   *rate.Limiter
	// known are the tokens that were right before: whoever has one is not held back by the
	// failures of others at the same address.
	known map[[sha256.Size]byte]bool
}

// NewGate makes a Gate. master is a token of scope admin that stands in no table, such as
// one of the environment; empty: there is none.
func NewGate(store Store, master string) *Gate {
	g := &Gate{
		store: store, now: time.Now, failures: map[netip.Prefix]*rate.Limiter{}, known: map[[sha256.Size]byte]bool{},
		others: rate.NewLimiter(rate.Every(guessesEvery), guesses),
	}
	if master != "" {
		sum := Hash(master)
		g.master, g.closed = &sum, true
	}
	return g
}

// Closed reports whether a token is asked for: there is one of the environment, or one
// was ever made. Revoking the last does not open the gate again. As long as it is open the
// store is asked each time, so that the first token counts at once.
func (g *Gate) Closed(ctx context.Context) (bool, error) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return true, nil
	}
	closed, err := g.store.HasTokens(ctx)
	if err != nil {
		return true, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = g.closed || closed
	return g.closed, nil
}

// Authenticate returns whom a token belongs to. from is the client's address. It fails
// with ErrUnknownToken and ErrThrottled.
func (g *Gate) Authenticate(ctx context.Context, from netip.Addr, secret string) (Principal, error) {
	sum := Hash(secret)
	if g.master != nil && subtle.ConstantTimeCompare(sum[:], g.master[:]) == 1 {
		return Principal{Name: "token of the environment", Scope: Admin}, nil
	}
	if !g.mayTry(from, sum) {
		return Principal{}, ErrThrottled
	}
	t, err := g.find(ctx, secret, sum)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		delete(g.known, sum)
		if errors.Is(err, ErrUnknownToken) {
			g.limiter(from).Allow()
		}
		return Principal{}, err
	}
	g.known[sum] = true
	return Principal{Name: t.Prefix + " (" + t.Name + ")", Scope: t.Scope, Account: t.Account}, nil
}

// find looks a token up by its prefix and compares its hash in constant time.
func (g *Gate) find(ctx context.Context, secret string, sum [sha256.Size]byte) (Token, error) {
	prefix, ok := prefixOf(secret)
	if !ok {
		return Token{}, ErrUnknownToken
	}
	t, want, err := g.store.FindToken(ctx, prefix)
	if err != nil {
		return Token{}, err
	}
	now := g.now()
	if subtle.ConstantTimeCompare(sum[:], want[:]) != 1 || !t.Valid(now) {
		return Token{}, ErrUnknownToken
	}
	if now.Sub(t.LastUsedAt) >= usedEvery {
		return t, g.store.TokenUsed(ctx, prefix)
	}
	return t, nil
}

// mayTry reports whether a token is looked at: it was right before, or the address has
// tries left.
func (g *Gate) mayTry(from netip.Addr, sum [sha256.Size]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known[sum] || g.limiter(from).Tokens() >= 1
}

// limiter returns the limiter of an address; an IPv6 network of 64 bits counts as one.
// Where too many addresses are remembered, those without failures are forgotten, and the
// rest share one.
func (g *Gate) limiter(from netip.Addr) *rate.Limiter {
	from = from.Unmap()
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	network, _ := from.Prefix(bits) // the zero address is a network of its own
	l, ok := g.failures[network]
	if ok {
		return l
	}
	if len(g.failures) >= maxAddresses {
		for n, l := range g.failures {
			if l.Tokens() >= guesses {
				delete(g.failures, n)
			}
		}
		if len(g.failures) >= maxAddresses {
			return g.others
		}
	}
	l = rate.NewLimiter(rate.Every(guessesEvery), guesses)
	g.failures[network] = l
	return l
}
