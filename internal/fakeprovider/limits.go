package fakeprovider

import (
	"fmt"
	"time"
)

// Limits bound the use of one key of one vendor. They are strict: no window of
// the given length ever holds more. 0 means no limit.
type Limits struct {
	// Requests is the number of generating calls that are accepted in a window.
	Requests int
	// ClaimedRequests stands in the headers in place of Requests, as proxies do that
	// count in a window of their own: their limit is a minute's, what remains is of
	// the window. 0: the truth.
	ClaimedRequests int
	// Tokens is the number of tokens, input and output together (OpenAI).
	Tokens int
	// InputTokens and OutputTokens are counted apart (Anthropic).
	InputTokens  int
	OutputTokens int
	// Concurrent is the number of calls that may be under way at once (ElevenLabs).
	Concurrent int
	// Window is the length of the sliding window. Default 60 s; Stability's own
	// is 10 s.
	Window time.Duration
	// Penalty is for how long everything is refused after a limit was broken.
	// Default 0; Stability's own is 60 s.
	Penalty time.Duration
	// CountRefused counts refused calls against Requests, as OpenAI says it does.
	CountRefused bool
}

func (l Limits) check() error {
	for name, n := range map[string]int{
		"Requests": l.Requests, "ClaimedRequests": l.ClaimedRequests, "Tokens": l.Tokens, "InputTokens": l.InputTokens, "OutputTokens": l.OutputTokens, "Concurrent": l.Concurrent,
	} {
		if n < 0 {
			return fmt.Errorf("%s: must be positive, or 0 for no limit, got %d", name, n)
		}
	}
	for name, d := range map[string]time.Duration{"Window": l.Window, "Penalty": l.Penalty} {
		if d < 0 {
			return fmt.Errorf("%s: must not be negative, got %v", name, d)
		}
	}
	return nil
}

func (l Limits) window() time.Duration {
	if l.Window == 0 {
		return time.Minute
	}
	return l.Window
}

// dimension is one thing that is limited.
type dimension string

const (
	requests     dimension = "requests"
	tokens       dimension = "tokens"
	inputTokens  dimension = "input-tokens"
	outputTokens dimension = "output-tokens"
	concurrent   dimension = "concurrent"
)

// ledger holds one account's use.
type ledger struct {
	spent   map[dimension][]spending // oldest first
	running int
	until   time.Time // end of the penalty
	// credits is the money that is left, in thousandths.
	credits int64
}

// startCredits is the money that an account begins with, in thousandths.
const startCredits = 1_000_000

type spending struct {
	at time.Time
	n  int
}

// level is the state of one dimension, for the headers.
type level struct {
	limit, remaining int
	reset            time.Duration // until it is full again
}

// brokenLimit is a limit that was broken.
type brokenLimit struct {
	dimension  dimension
	limit      int
	used       int
	asked      int
	retryAfter time.Duration
}

// tooLarge reports whether no waiting helps.
func (r *brokenLimit) tooLarge() bool { return r.dimension != concurrent && r.asked > r.limit }

// admit counts one call or returns the limit that it would break, and how full
// all limits are then.
func (g *ledger) admit(l Limits, now time.Time, used Usage) (map[dimension]level, *brokenLimit) {
	g.forget(now.Add(-l.window()))
	costs := []struct {
		dimension dimension
		limit     int
		cost      int
	}{
		{requests, l.Requests, 1},
		{tokens, l.Tokens, int(used.InputTokens + used.OutputTokens)},
		{inputTokens, l.InputTokens, int(used.InputTokens)},
		{outputTokens, l.OutputTokens, int(used.OutputTokens)},
	}
	var broken *brokenLimit
	for _, c := range costs {
		if total := g.total(c.dimension); broken == nil && c.limit > 0 && total+c.cost > c.limit {
			broken = &brokenLimit{c.dimension, c.limit, total, c.cost, g.wait(c.dimension, l, now, c.cost, c.limit)}
		}
	}
	switch {
	case now.Before(g.until):
		broken = &brokenLimit{requests, l.Requests, l.Requests, 1, g.until.Sub(now)}
	case broken != nil && l.Penalty > 0:
		g.until = now.Add(l.Penalty)
		broken.retryAfter = l.Penalty
	case broken == nil && l.Concurrent > 0 && g.running >= l.Concurrent:
		broken = &brokenLimit{concurrent, l.Concurrent, g.running, 1, 0}
	}
	if broken == nil {
		g.running++
	}
	if broken == nil || l.CountRefused {
		for _, c := range costs {
			if c.limit > 0 && c.cost > 0 && (broken == nil || c.dimension == requests) {
				g.spent[c.dimension] = append(g.spent[c.dimension], spending{now, c.cost})
			}
		}
	}
	levels := map[dimension]level{}
	for _, c := range costs {
		if c.limit > 0 {
			levels[c.dimension] = g.level(c.dimension, l, now, c.limit)
		}
	}
	if said, ok := levels[requests]; ok && l.ClaimedRequests > 0 {
		said.limit = l.ClaimedRequests
		levels[requests] = said
	}
	if l.Concurrent > 0 {
		levels[concurrent] = level{limit: l.Concurrent, remaining: l.Concurrent - g.running}
	}
	return levels, broken
}

func (g *ledger) forget(before time.Time) {
	for d, spent := range g.spent {
		for len(spent) > 0 && !spent[0].at.After(before) {
			spent = spent[1:]
		}
		g.spent[d] = spent
	}
}

func (g *ledger) total(d dimension) int {
	total := 0
	for _, s := range g.spent[d] {
		total += s.n
	}
	return total
}

// wait returns how long until cost fits.
func (g *ledger) wait(d dimension, l Limits, now time.Time, cost, limit int) time.Duration {
	total := g.total(d)
	for _, s := range g.spent[d] {
		total -= s.n
		if total+cost <= limit {
			return s.at.Add(l.window()).Sub(now)
		}
	}
	return l.window()
}

func (g *ledger) level(d dimension, l Limits, now time.Time, limit int) level {
	out := level{limit: limit, remaining: max(limit-g.total(d), 0)}
	if spent := g.spent[d]; len(spent) > 0 {
		out.reset = spent[len(spent)-1].at.Add(l.window()).Sub(now)
	}
	return out
}

// admit applies the limits of c's key.
func (s *Server) admit(c *call, used Usage) (map[dimension]level, *brokenLimit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limits, of := s.limits(c)
	return s.ledgerOf(of).admit(limits, s.config.Now(), used)
}

func (s *Server) release(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, of := s.limits(c)
	s.ledgerOf(of).running--
}

// charge takes credits.
func (s *Server) charge(c *call, used Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger(c).credits -= used.MilliCredits
}

// credits returns the money that c's account has left, in thousandths.
func (c *call) credits() int64 {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.server.ledger(c).credits
}

// ledger returns the ledger of c's account. The caller holds s.mu.
func (s *Server) ledger(c *call) *ledger {
	return s.ledgerOf(account{c.vendor.name(), c.key, ""})
}

// limits returns those of the call, and with which others it is counted. The caller holds
// s.mu.
func (s *Server) limits(c *call) (Limits, account) {
	own, ok := s.changed[c.model]
	if !ok {
		own, ok = c.behaviour.Models[c.model]
	}
	if !ok {
		return c.behaviour.Limits, account{c.vendor.name(), c.key, ""}
	}
	return own, account{c.vendor.name(), c.key, c.model}
}

// SetModelLimits changes the limits of calls of a model. From now on only calls from now on
// count.
func (s *Server) SetModelLimits(model string, l Limits) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("fakeprovider: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed[model] = l
	for of, g := range s.accounts {
		if of.model == model {
			clear(g.spent)
		}
	}
	return nil
}

// ledgerOf returns the ledger of an account. The caller holds s.mu.
func (s *Server) ledgerOf(id account) *ledger {
	g := s.accounts[id]
	if g == nil {
		g = &ledger{spent: map[dimension][]spending{}, credits: startCredits}
		s.accounts[id] = g
	}
	return g
}
