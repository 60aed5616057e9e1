package limiter

import (
	"context"
	_ "embed" // the script
	"time"

	"oneflow/policy/rediscall"
	"oneflow/providers"
)

//go:embed state.lua
var stateLua string

// State says what holds a provider back now, for display.
type State struct {
	// Wait is the time that a small call would have to wait now; 0: not at all. Binds is the
	// limit for which it waits; empty: the block, or nothing.
	Wait  time.Duration
	Binds providers.Dimension
	// BlockedUntil is the time until which the provider asked to wait, since BlockedSince, with a
	// refusal of the kind BlockedFor; zero where it does not.
	BlockedUntil, BlockedSince time.Time
	BlockedFor                 providers.Kind
	// InFlight is the number of calls that hold a permit, where their number is limited.
	InFlight int64
	// Lowered is the concurrency that refusals have shown, in force until LoweredUntil;
	// 0: none.
	Lowered      int64
	LoweredUntil time.Time
	// Dimensions are those that are limited over a window.
	Dimensions []DimensionState
}

// DimensionState says how much of one limit is used.
type DimensionState struct {
	Dimension providers.Dimension
	// Limit is the limit in force, and Pinned reports whether an operator has set it.
	Limit  int64
	Pinned bool
	// Used is the amount that the fleet was given of it in the window that ends now, calls under
	// way included.
	Used int64
	// Others is the amount that others of the same account are taken to use, as answers have said;
	// gone by OthersUntil unless another says so again.
	Others      int64
	OthersUntil time.Time
}

// State returns what holds a provider as a whole back now, or one of its scopes; the zero
// State where no worker has asked for a slot yet. It reserves nothing.
func (l *Limiter) State(ctx context.Context, provider string, scope Scope) (State, error) {
	p, set := place{scope, keysOf(provider, scope.Name)}, scope.Settings
	if scope.Name == "" {
		p.Settings = l.cfg.Settings(provider)
		set = p.Settings
	}
	dims := l.dimensions(set, Demand{InputTokens: 1, OutputTokens: 1})
	args := []any{len(dims)}
	for _, d := range dims {
		args = append(args, d.args()...)
	}
	out, err := rediscall.Do(ctx, func(ctx context.Context) ([]any, error) {
		return l.scripts.state.Run(ctx, l.cfg.Redis, p.keys, args...).Slice()
	})
	if err != nil || len(out) < 6+3*len(dims) {
		return State{}, err
	}
	g, err := l.askIn(ctx, l.account(provider, ""), []place{p}, Demand{InputTokens: 1, OutputTokens: 1}, lookOnly, false)
	if err != nil {
		return State{}, err
	}
	now := time.Now()
	number := func(i int) int64 { n, _ := out[i].(int64); return n }
	in := func(i int) time.Time {
		if n := number(i); n > 0 {
			return now.Add(time.Duration(n) * time.Microsecond)
		}
		return time.Time{}
	}
	s := State{Wait: g.wait, Binds: g.binds, InFlight: number(3)}
	if s.BlockedUntil = in(0); !s.BlockedUntil.IsZero() {
		kind, _ := out[2].(string)
		s.BlockedFor, s.BlockedSince = providers.Kind(kind), now.Add(-time.Duration(number(1))*time.Microsecond)
	}
	if s.LoweredUntil = in(5); !s.LoweredUntil.IsZero() {
		s.Lowered = number(4)
	}
	for i, d := range dims {
		one := DimensionState{Dimension: d.name, Limit: d.limit, Pinned: set.pinned(d.name), Used: number(6 + 3*i), Others: number(7 + 3*i)}
		if one.Others > 0 {
			one.OthersUntil = in(8 + 3*i)
		}
		s.Dimensions = append(s.Dimensions, one)
	}
	return s, nil
}
