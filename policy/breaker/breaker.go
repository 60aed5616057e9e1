// Package breaker is the circuit breaker of one provider, shared by the whole fleet:
// it lives in Redis (breaker.lua), and each worker holds an end of it. While calls
// succeed it costs one call to Redis each quarter of a second. It imports nothing of
// OneFlow but policy/rediscall.
package breaker

import (
	"context"
	_ "embed" // the script
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed breaker.lua
var lua string

// What the breaker's script does not know. The rest of its numbers stand there.
const (
	// fresh is the time for which a worker goes by what it last heard of the breaker.
	fresh = time.Second
	// gather is the time for which successes are gathered before Redis is told.
	gather = 250 * time.Millisecond
	// maxWait bounds the wait of a call while enough others are on trial.
	maxWait = 10 * time.Second
	// reportAgain is the delay after which outcomes are reported again that Redis did not take.
	reportAgain = 5 * time.Second
	// maxPending bounds what is kept to report to a Redis that is away.
	maxPending = 10_000
)

// State is the state of a circuit breaker.
type State string

// The states of a circuit breaker.
const (
	Closed   State = "closed"
	Open     State = "open"
	HalfOpen State = "half_open"
)

// Outcome says how a call ended that was made under a permit.
type Outcome string

// The outcomes. Throttled opens a half-open breaker again and is else Nothing, which
// says nothing about the provider.
const (
	Succeeded Outcome = "ok"
	Failed    Outcome = "failed"
	Throttled Outcome = "throttled"
	Nothing   Outcome = "nothing"
)

// OpenError says that the breaker is open: the provider is not called.
type OpenError struct {
	// Since is the time at which it opened; zero if that is not known.
	Since time.Time
	// NextProbe is the time at which a call is let through again to try the provider; zero where
	// a person holds the breaker open.
	NextProbe time.Time
	// Forced reports whether a person holds it open.
	Forced bool
}

// Error says which of both it is.
func (e *OpenError) Error() string {
	if e.Forced {
		return "its circuit breaker is held open by an operator"
	}
	return "its circuit breaker is open"
}

// ErrOnTrial says that the provider has not answered yet, and as many calls as may be
// are under way to find out whether it does.
var ErrOnTrial = errors.New("it has not answered yet, and enough calls are on trial")

// Config configures a Breaker.
type Config struct {
	// Provider is the name under which Redis keeps it. It is needed.
	Provider string
	// Redis is needed.
	Redis redis.UniversalClient
	// CallTimeout bounds one call: a probe without an outcome is given
	// up that long after it may have begun. It is needed.
	CallTimeout time.Duration
	// Calls ends with the worker: what Redis was not told by then is not told again.
	// Default: never.
	Calls context.Context //nolint:containedctx // the life of the calls of a whole worker
	// Forced returns where a person holds the breaker, Open or Closed; empty: it
	// works by itself. It is asked for each call and must not block. Default: empty.
	Forced func() State
	// OnChange is told by the worker that moved it where it has gone and why. It must
	// not block. Default: nobody is told.
	OnChange func(state State, reason string)
}

// Breaker is one worker's end of a provider's circuit breaker. It is safe for
// concurrent use. A nil Breaker lets everything pass.
type Breaker struct {
	cfg    Config
	script *redis.Script
	probe  time.Duration // when a probe without an outcome is given up
	// asking lets one caller of this worker ask Redis at a time: the others go by
	// its answer.
	asking chan struct{}

	mu          sync.Mutex
	seen        reply
	at          time.Time // when seen was asked for
	pending     pendingReport
	reporting   bool
	timer       bool   // a report is due
	lastFailure string // for the reason
}

// New returns a worker's end of the breaker. An error names the field that is wrong.
func New(cfg Config) (*Breaker, error) {
	switch {
	case cfg.Provider == "":
		return nil, errors.New("breaker: Provider is missing")
	case cfg.Redis == nil:
		return nil, errors.New("breaker: Redis is missing")
	case cfg.CallTimeout <= 0:
		return nil, errors.New("breaker: CallTimeout must be positive, got " + cfg.CallTimeout.String())
	}
	if cfg.Calls == nil {
		cfg.Calls = context.Background()
	}
	if cfg.Forced == nil {
		cfg.Forced = func() State { return "" }
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func(State, string) {}
	}
	return &Breaker{
		cfg: cfg, script: redis.NewScript(lua), probe: cfg.CallTimeout + maxWait + fresh, asking: make(chan struct{}, 1),
	}, nil
}

// Permit allows one call. Its outcome must be recorded, once; the zero Permit needs no
// record.
type Permit struct {
	b     *Breaker
	token string
}

// Acquire asks for a permit to make a call. Where enough others are on trial it waits,
// for at most 10 s. It fails with *OpenError, ErrOnTrial, *rediscall.UnavailableError
// or ctx's error.
func (b *Breaker) Acquire(ctx context.Context) (Permit, error) {
	if b == nil {
		return Permit{}, nil
	}
	if err := ctx.Err(); err != nil {
		return Permit{}, err
	}
	permit := Permit{b: b}
	if known, err := b.known(); known {
		return permit, err
	}
	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	for {
		select {
		case b.asking <- struct{}{}:
		case <-ctx.Done():
			return Permit{}, ctx.Err()
		case <-limit.C:
			return Permit{}, ErrOnTrial
		}
		got, err := b.ask(ctx, &permit, limit.C)
		<-b.asking
		if got || err != nil {
			return permit, err
		}
	}
}

// Try is Acquire for a caller who can go elsewhere: where enough others are on trial, it
// fails with ErrOnTrial at once.
func (b *Breaker) Try(ctx context.Context) (Permit, error) {
	if b == nil {
		return Permit{}, nil
	}
	permit := Permit{b: b}
	if known, err := b.known(); known {
		return permit, err
	}
	select {
	case b.asking <- struct{}{}:
	case <-ctx.Done():
		return Permit{}, ctx.Err()
	}
	defer func() { <-b.asking }()
	over := make(chan time.Time)
	close(over)
	got, err := b.ask(ctx, &permit, over)
	if !got && err == nil {
		err = ErrOnTrial
	}
	return permit, err
}

// ask asks Redis, and reports whether that decided. Where too many are on trial it
// waits a moment, so that those behind it do.
func (b *Breaker) ask(ctx context.Context, permit *Permit, limit <-chan time.Time) (bool, error) {
	if known, err := b.known(); known {
		return true, err
	}
	token := strconv.FormatUint(rand.Uint64(), 36)
	r, err := b.run(ctx, "ask", "0", "0", token, "")
	switch {
	case err != nil && ctx.Err() != nil:
		return false, ctx.Err()
	case r.granted == 2:
		permit.token = token
		return true, nil
	case r.granted == 1:
		return true, nil
	}
	if err := b.refusal(r, 0); err != nil {
		return true, err
	}
	full := time.NewTimer(r.wait)
	defer full.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-limit:
		return false, ErrOnTrial
	case <-full.C:
		return false, nil
	}
}

// known reports whether what is known here decides; the error is the refusal.
func (b *Breaker) known() (bool, error) {
	switch b.cfg.Forced() {
	case Open:
		return true, &OpenError{Forced: true}
	case Closed:
		return true, nil
	case HalfOpen:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	age := time.Since(b.at)
	if b.at.IsZero() || age >= fresh {
		return false, nil
	}
	if err := b.refusal(b.seen, age); err != nil {
		return true, err
	}
	return b.seen.state == Closed && b.seen.sure, nil
}

// refusal returns why r, heard so long ago, lets no call be made; nil if it does, or if
// Redis must be asked again.
func (b *Breaker) refusal(r reply, age time.Duration) error {
	switch {
	case r.away != nil:
		return r.away
	case r.state == Open && age < r.wait, r.state == HalfOpen && age < r.wait:
		now := time.Now()
		e := &OpenError{NextProbe: now.Add(r.wait - age)}
		if r.open > 0 {
			e.Since = now.Add(-r.open - age)
		}
		return e
	}
	return nil
}

// Refusing reports whether a call would be refused, as far as is known here.
func (b *Breaker) Refusing() bool {
	if b == nil {
		return false
	}
	_, err := b.known()
	return err != nil
}

// Last returns the state in which the breaker was last seen here: Closed where nobody has asked.
func (b *Breaker) Last() State {
	if b == nil {
		return Closed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen.state == "" {
		return Closed
	}
	return b.seen.state
}

// Check returns why no call may be made any longer under p, which was given before the
// wait for a slot; nil if one may.
func (p Permit) Check() error {
	if p.b == nil || p.token != "" {
		return nil
	}
	_, err := p.b.known()
	return err
}

// Record says what came of the call. cause names a failure, for the reason that is
// given when the breaker opens.
func (p Permit) Record(what Outcome, cause string) {
	b := p.b
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if cause != "" {
		b.lastFailure = cause
	}
	if what == Failed {
		b.seen.sure = false // Redis must be asked before the next call
	}
	due := gather
	switch {
	case p.token != "":
		b.pending.tokens, due = append(b.pending.tokens, outcome{p.token, what}), 0
	case what == Succeeded:
		b.pending.ok = min(b.pending.ok+1, maxPending)
		if !b.seen.sure {
			due = 0
		}
	case what == Failed:
		b.pending.failed, due = min(b.pending.failed+1, maxPending), 0
	default:
		return
	}
	b.reportIn(due)
}
