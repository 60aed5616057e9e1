package breaker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/policy/rediscall"
)

// pendingReport holds what Redis has not been told yet.
type pendingReport struct {
	ok, failed int
	tokens     []outcome
}

type outcome struct {
	token string
	what  Outcome
}

// reportIn has Redis be told after so long. b.mu is held.
func (b *Breaker) reportIn(due time.Duration) {
	switch {
	case b.reporting:
	case due == 0:
		b.reporting = true
		go b.report()
	case !b.timer:
		b.timer = true
		time.AfterFunc(due, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.timer = false
			b.reportIn(0)
		})
	}
}

// report tells Redis what it was not told yet. While Redis is away that is kept.
func (b *Breaker) report() {
	for {
		b.mu.Lock()
		u := b.pending
		if u.ok == 0 && u.failed == 0 && len(u.tokens) == 0 {
			b.reporting = false
			b.mu.Unlock()
			return
		}
		b.pending = pendingReport{}
		b.mu.Unlock()
		var o outcome
		if len(u.tokens) > 0 {
			o, u.tokens = u.tokens[0], u.tokens[1:]
		}
		_, err := b.run(context.Background(), "record", strconv.Itoa(u.ok), strconv.Itoa(u.failed), o.token, o.what)
		if err == nil {
			u.ok, u.failed = 0, 0
		} else if o.token != "" {
			u.tokens = append(u.tokens, o)
		}
		b.mu.Lock()
		b.pending.ok, b.pending.failed = min(b.pending.ok+u.ok, maxPending), min(b.pending.failed+u.failed, maxPending)
		b.pending.tokens = append(u.tokens, b.pending.tokens...)
		b.pending.tokens = b.pending.tokens[:min(len(b.pending.tokens), maxPending)]
		if err != nil {
			b.reporting = false
			if b.cfg.Calls.Err() == nil {
				b.reportIn(reportAgain)
			}
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
	}
}

// reply is the answer of the script.
type reply struct {
	granted  int64
	state    State
	wait     time.Duration
	sure     bool
	changed  bool
	opens    int64
	failures int64
	answers  int64
	open     time.Duration // for how long it has not been closed
	away     error         // the script was not reached
}

// run runs the script and keeps what it says.
func (b *Breaker) run(ctx context.Context, op, ok, failed, token string, what Outcome) (reply, error) {
	asked := time.Now()
	r, err := runScript(ctx, b.script, b.cfg.Redis, b.cfg.Provider, op, ok, failed, token, string(what), b.probe.Milliseconds())
	if err != nil {
		if ctx.Err() != nil {
			return r, err // says nothing of Redis
		}
		r.away = err
	}
	b.mu.Lock()
	b.seen, b.at = r, asked
	cause := b.lastFailure
	b.mu.Unlock()
	if r.changed {
		b.cfg.OnChange(r.state, reason(r, cause))
	}
	return r, err
}

func key(provider string) string { return "oneflow:breaker:{" + provider + "}" }

func runScript(ctx context.Context, script *redis.Script, rdb redis.UniversalClient, provider string, args ...any) (reply, error) {
	v, err := rediscall.Do(ctx, func(ctx context.Context) ([]any, error) {
		v, err := script.Run(ctx, rdb, []string{key(provider)}, args...).Slice()
		if err == nil && len(v) != 9 {
			err = fmt.Errorf("the breaker's script returned %d values, want 9", len(v))
		}
		return v, err
	})
	if err != nil {
		return reply{}, err
	}
	n := func(i int) int64 { x, _ := v[i].(int64); return x }
	state, _ := v[1].(string)
	return reply{
		granted: n(0), state: State(state), wait: time.Duration(n(2)) * time.Millisecond, sure: n(3) == 1,
		changed: n(4) == 1, opens: n(5), failures: n(6), answers: n(7), open: time.Duration(n(8)) * time.Millisecond,
	}, nil
}

// reason says why the breaker moved.
func reason(r reply, cause string) string {
	switch {
	case r.state == HalfOpen:
		return "one call is let through to try it"
	case r.state == Closed:
		return "the call that was let through succeeded"
	case r.opens > 1:
		return "the call that was let through failed: " + cause
	}
	return fmt.Sprintf("%d of the last %d answers were failures, the last: %s", r.failures, r.answers, cause)
}

// Status is the state of a breaker, for display. A person may hold it elsewhere.
type Status struct {
	State State
	// Since is the time at which it opened, NextProbe that at which the next call is let through; zero
	// while it is closed.
	Since, NextProbe time.Time
	// Failures and Answers are of the last half minute.
	Failures, Answers int64
}

// Read returns where a provider's breaker stands, and changes nothing.
func Read(ctx context.Context, rdb redis.UniversalClient, provider string) (Status, error) {
	r, err := runScript(ctx, redis.NewScript(lua), rdb, provider, "look", "0", "0", "", "", 0)
	if err != nil {
		return Status{}, fmt.Errorf("breaker of %s: %w", provider, err)
	}
	s := Status{State: r.state, Failures: r.failures, Answers: r.answers}
	if r.state != Closed {
		now := time.Now()
		s.Since, s.NextProbe = now.Add(-r.open), now.Add(r.wait)
	}
	return s, nil
}
