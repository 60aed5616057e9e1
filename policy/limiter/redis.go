package limiter

import (
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/policy/rediscall"
	"oneflow/providers"
)

//go:embed shared.lua
var sharedLua string

//go:embed grant.lua
var grantLua string

//go:embed settle.lua
var settleLua string

//go:embed refuse.lua
var refuseLua string

//go:embed observe.lua
var observeLua string

//go:embed seed.lua
var seedLua string

//go:embed renew.lua
var renewLua string

// scripts run in Redis; each says what it takes and returns.
type scripts struct{ grant, settle, refuse, observe, seed, renew, state *redis.Script }

func newScripts() scripts {
	script := func(lua string) *redis.Script { return redis.NewScript(sharedLua + "\n" + lua) }
	return scripts{script(grantLua), script(settleLua), script(refuseLua), script(observeLua), script(seedLua), script(renewLua), script(stateLua)}
}

// channel is the one on which the name of a provider is published when a call of it gave back what
// somebody waits for. Pub/Sub knows no database numbers, so the fleet is in its name.
func (l *Limiter) channel() string { return "oneflow:" + l.cfg.Fleet + ":limit:freed" }

// The answers of the script that grants.
const (
	statusGranted = iota
	statusTooLong
	statusNoPermit
	statusLost
)

// lookOnly asks for the wait without reserving.
const lookOnly = -1

// grant is an answer of that script.
type grant struct {
	status  int64
	wait    time.Duration
	binds   providers.Dimension // what the wait is for; empty: a block, or nothing
	blocked time.Duration       // how much of the wait is no matter of pace
	slot    time.Duration       // since 1970, on Redis' clock
	permit  string              // the name of those that it holds
	movable bool                // urgent calls may still go before it
	// parts are those of the provider and, where there are scopes, of the one chosen.
	parts []part
}

// part holds what a slot has in one scope.
type part struct {
	place

	refusals int64
	dims     []reserved
}

// reserved is the part of a slot of one dimension.
type reserved struct {
	dimension

	charged int64 // to the pace
	seen    int64 // what others were taken to use, as of this slot
	sum     int64 // in the window that ends with this slot, or more
}

// own returns the part in which nobody else counts.
func (g grant) own() part { return g.parts[len(g.parts)-1] }

// counting returns the dimension of that name in which the slot counts, with its hash:
// the scope's before the provider's, as answers speak of that.
func (g grant) counting(name providers.Dimension) (d reserved, keys []string, ok bool) {
	for _, p := range slices.Backward(g.parts) {
		for _, d := range p.dims {
			if d.name == name {
				return d, p.keys, true
			}
		}
	}
	return d, nil, false
}

func (g grant) limited() bool {
	return slices.ContainsFunc(g.parts, func(p part) bool { return len(p.dims) > 0 })
}

func (g grant) holdsPermit() bool {
	return slices.ContainsFunc(g.parts, func(p part) bool { return p.Limits.Concurrent > 0 })
}

// ask asks for a slot, before others whose slots are still to come where that is
// urgent; bearable may be lookOnly. It fails with *rediscall.UnavailableError.
func (l *Limiter) ask(ctx context.Context, a *account, demand Demand, bearable time.Duration, urgent bool) (grant, error) {
	_, places := l.placesFor(a.provider, demand)
	return l.askIn(ctx, a, places, demand, bearable, urgent)
}

// askIn asks for a slot in some places.
func (l *Limiter) askIn(ctx context.Context, a *account, places []place, demand Demand, bearable time.Duration, urgent bool) (grant, error) {
	g := grant{permit: rand.Text()}
	us := max(bearable.Microseconds(), 0)
	if bearable == lookOnly {
		us = lookOnly
	}
	args := []any{us, g.permit, permitTTL.Microseconds(), max(l.cfg.Burst(a.provider), 1), 0}
	if urgent {
		args[4] = 1
	}
	var keys []string
	dims := make([][]dimension, len(places))
	for i, p := range places {
		dims[i] = l.dimensions(p.Settings, demand)
		keys = append(keys, p.keys...)
		args = append(args, p.Limits.Concurrent, len(dims[i]))
		for _, d := range dims[i] {
			args = append(args, d.args()...)
		}
	}
	for range 2 + len(places) {
		out, err := l.run(ctx, l.scripts.grant, keys, args...)
		if err != nil {
			return grant{}, err
		}
		chosen := int(out[3]) - 1
		if out[0] == statusLost {
			if err := l.restore(ctx, a.provider, places[chosen], dims[chosen]); err != nil {
				return grant{}, err
			}
			continue
		}
		taken, held := places[:1], dims[0]
		if chosen > 0 {
			taken, held = []place{places[0], places[chosen]}, slices.Concat(dims[0], dims[chosen])
		}
		g.status, g.wait, g.binds = out[0], time.Duration(out[1])*time.Microsecond, binding(held, out[2])
		switch g.status {
		case statusTooLong:
			g.blocked = time.Duration(out[4]) * time.Microsecond
		case statusGranted:
			g.slot = time.Duration(out[4]) * time.Microsecond
			g.movable = out[5] == 1
			next := out[6:]
			for i, p := range taken {
				part := part{place: p, refusals: next[0]}
				next = next[1:]
				for _, d := range dims[[]int{0, chosen}[i]] {
					part.dims = append(part.dims, reserved{d, next[0], next[1], next[2]})
					next = next[3:]
				}
				g.parts = append(g.parts, part)
			}
			if len(places) > 2 {
				a.turn.Add(1)
			}
		}
		return g, nil
	}
	return grant{}, &rediscall.UnavailableError{Err: errors.New("it loses its state repeatedly")}
}

// binding returns the dimension that a script names by its number.
func binding(dims []dimension, n int64) providers.Dimension {
	switch {
	case n < 0:
		return providers.DimensionConcurrent
	case n == 0 || n > int64(len(dims)):
		return ""
	}
	return dims[n-1].name
}

// day is the longest window of a limit.
const day = 24 * time.Hour

// restore starts the hash of a scope with what is known without it.
func (l *Limiter) restore(ctx context.Context, provider string, p place, dims []dimension) error {
	var known Snapshot
	ago := time.Duration(0)
	if l.cfg.Restore != nil {
		var err error
		if known, err = l.cfg.Restore(ctx, provider, p.Name); err != nil {
			return &rediscall.UnavailableError{Err: fmt.Errorf("it has forgotten the limits of %s, and they cannot be restored: %w", provider, err)}
		}
		if ago = day; !known.LastCall.IsZero() {
			ago = min(max(time.Since(known.LastCall), 0), day)
		}
	}
	blocked := min(max(time.Until(known.BlockedUntil), 0), maxRetryAfter)
	running := min(max(known.Running, 0), 10_000)
	args := []any{
		blocked.Microseconds(), ago.Microseconds(), running, (l.cfg.CallTimeout + permitSlack).Microseconds(), max(l.cfg.Burst(provider), 1), len(dims),
	}
	for _, d := range dims {
		args = append(args, d.args()...)
	}
	for _, calls := range known.Hours {
		args = append(args, max(calls, 0))
	}
	_, err := l.run(ctx, l.scripts.seed, p.keys, args...)
	return err
}

// ending says how a call ended, for what it has reserved.
type ending int

const (
	answered ending = iota // it counts, with what it used
	refused                // it does not count: the provider refused it for a limit
	unsent                 // it does not count, not even for the day
)

// settle gives back what s has, and counts what was really used, in each scope.
func (l *Limiter) settle(ctx context.Context, s *Slot, end ending, usage providers.Usage) {
	for _, p := range s.grant.parts {
		l.settlePart(ctx, s, p, end, usage)
	}
}

func (l *Limiter) settlePart(ctx context.Context, s *Slot, p part, end ending, usage providers.Usage) {
	permit := ""
	if p.Limits.Concurrent > 0 {
		permit = s.grant.permit
	}
	var dims []any
	count, success := 0, 0
	if end == answered {
		success = 1
	}
	for _, d := range p.dims {
		used := int64(0)
		switch requests := !d.tokens(); {
		case d.name.Window() < time.Minute, !requests && d.demand == 0, requests && end == answered:
			continue // nothing is counted, or it stays as it is
		case requests && end == refused && d.name.Window() > time.Minute:
			continue // some vendors count refusals of the day
		case !requests && end == answered:
			if used = min(d.used(usage), maxTokens); used <= 0 {
				used = -1 // not known
			}
		}
		count++
		dims = append(append(dims, d.args()...), d.charged, used)
	}
	if permit == "" && count == 0 && (success == 0 || p.refusals == 0) {
		return
	}
	args := append([]any{permit, s.grant.slot.Microseconds(), success, l.channel(), s.account.provider, count}, dims...)
	if _, err := l.run(ctx, l.scripts.settle, p.keys, args...); err != nil {
		l.cfg.Log.Warn().Err(err).Str("provider", s.account.provider).Msg("a slot was not given back: it ages out")
	}
}

// standing returns until when calls of the slot are blocked, and where it has been moved
// to, both on Redis' clock; moved is 0 for a slot that has come.
func (l *Limiter) standing(ctx context.Context, g grant) (blocked, moved time.Duration, err error) {
	all, err := rediscall.Do(ctx, func(ctx context.Context) ([]*redis.SliceCmd, error) {
		var each []*redis.SliceCmd
		_, err := l.cfg.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, part := range g.parts {
				each = append(each, p.HMGet(ctx, part.keys[0], "blocked", "ahead"))
			}
			return nil
		})
		return each, err
	})
	if err != nil {
		return 0, 0, err
	}
	us := func(s string) time.Duration {
		n, _ := strconv.ParseInt(s, 10, 64) // the scripts write whole numbers
		return time.Duration(n) * time.Microsecond
	}
	for _, fields := range all {
		until, _ := fields.Val()[0].(string) // nil: never blocked
		ahead, _ := fields.Val()[1].(string)
		blocked = max(blocked, us(until))
		for entry := range strings.FieldsSeq(ahead) {
			if rest, ok := strings.CutPrefix(entry, g.permit+","); ok {
				slot, _, _ := strings.Cut(rest, ",")
				moved = us(slot)
			}
		}
	}
	return blocked, moved, nil
}

// run runs a script, which returns whole numbers. It does not end with ctx: what
// was asked may have been done.
func (l *Limiter) run(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]int64, error) {
	return rediscall.Do(context.WithoutCancel(ctx), func(ctx context.Context) ([]int64, error) {
		return script.Run(ctx, l.cfg.Redis, keys, args...).Int64Slice()
	})
}

// subscribe listens for what calls give back. The first call waits until it is told, and
// returns true: something may have been missed.
func (l *Limiter) subscribe() (first bool) {
	l.listen.Do(func() {
		first = true
		sub := l.cfg.Redis.Subscribe(l.ctx, l.channel())
		limit, cancel := context.WithTimeout(l.ctx, rediscall.Timeout)
		defer cancel()
		_, _ = sub.Receive(limit) // a client that is not connected goes on trying
		l.subscriber.Go(func() {
			defer sub.Close()
			messages := sub.ChannelWithSubscriptions()
			for {
				select {
				case <-l.ctx.Done():
					return
				case m, ok := <-messages:
					if !ok {
						return
					}
					l.onFreed(m)
				}
			}
		})
	})
	return first
}

// onFreed wakes those who wait for a permit or for room: of one provider, or, where messages may
// have been missed, of all.
func (l *Limiter) onFreed(message any) {
	m, one := message.(*redis.Message)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		if !one || a.provider == m.Payload {
			a.queue.freed()
		}
	}
}
