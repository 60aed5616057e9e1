package policy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/providers"
)

const (
	defaultMargin = 0.005
	// redisPatience is how long Redis may take to answer before it counts as away.
	redisPatience = 2 * time.Second
	// seatHold is how long a seat is held without another word from who holds it,
	// and seatWord how often that comes: the seats of a worker that was killed are
	// free again soon.
	seatHold = 30 * time.Second
	seatWord = 8 * time.Second
	// seatSlack is added to the time for which a call may hold a seat: it is given
	// back after the call's own end.
	seatSlack = 5 * time.Second
	// seatRecheck is when to ask for a seat again where no message came: one may
	// have been lost.
	seatRecheck = 5 * time.Second
	// tooLate is how late a slot may be used. What was planned for another time
	// would come as a burst.
	tooLate = 200 * time.Millisecond
)

// LimiterConfig is what a Limiter is made of.
type LimiterConfig struct {
	// Redis is where the fleet's state is kept.
	Redis redis.UniversalClient
	// Settings gives a provider's settings as of the last look. It must not block:
	// it is asked for each call, so that a change takes effect at once.
	Settings func(provider string) providers.Settings
	// Restore gives what Redis had known about a provider, when it has forgotten
	// that. Default nil: nothing is known, calls may just have been sent.
	Restore func(ctx context.Context, provider string) (Memory, error)
	// Learn is told what answers and refusals have shown. It must not block.
	// Default nil: nobody is told.
	Learn func(provider string, what providers.Learned)
	// CallTimeout is how long one call may take: what holds one of a limited
	// number of seats for longer has died.
	CallTimeout time.Duration
	// MaxWait is the longest wait that is worth keeping a job for. Default 10 s.
	MaxWait time.Duration
	// Margin is by which part a provider's window is taken to be longer than it
	// is, since calls do not arrive exactly when they should: what is not used
	// for certainty. At least 50 ms and at most 10 s come of it. Default 0.005.
	Margin float64
	// Burst is how many requests to a provider may be sent at once after a pause.
	// They are taken from the pace. Default nil: 1.
	Burst func(provider string) int64
	// Log gets what went wrong without anybody to tell.
	Log zerolog.Logger
}

// Memory is what is known about a provider's recent past without Redis.
type Memory struct {
	// BlockedUntil is until when the provider asked to be left alone; zero if it
	// did not.
	BlockedUntil time.Time
	// LastCall is when the last call was sent; zero: none in the last day.
	LastCall time.Time
	// Running is how many calls are under way.
	Running int64
	// Hours are the calls that were sent in the last hour, in the one before it,
	// and so on.
	Hours [24]int64
}

// Cost is the most that a call may use of what is limited, beside itself.
type Cost struct {
	InputTokens  int64
	OutputTokens int64
}

// Busy tells that a slot would come too late to wait for it. Nothing is reserved.
type Busy struct { //nolint:errname // policy.Busy says it
	// Provider is the name of the provider.
	Provider string
	// After is how long it would take, as far as can be told.
	After time.Duration
	// Blocked is for how long of that the provider has asked to be left alone, or
	// the day's limit is used up; 0: it is only that others come first.
	Blocked time.Duration
}

// Error tells for how long.
func (b *Busy) Error() string {
	return fmt.Sprintf("%s: its limit is used up for %s", b.Provider, b.After.Round(time.Millisecond))
}

// Away tells that Redis cannot be asked: calls stop, they never run unlimited.
type Away struct{ Err error } //nolint:errname // policy.Away says it

// Error tells why.
func (a *Away) Error() string { return "rate limits: Redis cannot be asked: " + a.Err.Error() }

// Unwrap returns the cause.
func (a *Away) Unwrap() error { return a.Err }

// Limiter hands out slots, shared by all workers through Redis. What it promises:
// no window of a provider's limits holds more than the limit, whatever the number
// of workers; a slot goes to who came first, the most urgent before all others;
// nobody polls.
type Limiter struct {
	cfg     LimiterConfig
	scripts scripts
	windows windows

	ctx    context.Context //nolint:containedctx // the life of the subscription
	cancel context.CancelFunc
	listen sync.Once
	ears   sync.WaitGroup

	mu       sync.Mutex
	accounts map[string]*account
}

// account is what this process knows about one provider.
type account struct {
	provider string
	keys     []string
	gate     gate
	lessons  lessons
	look     look
}

// NewLimiter makes a Limiter. An error names the field that is wrong.
func NewLimiter(cfg LimiterConfig) (*Limiter, error) {
	if cfg.MaxWait == 0 {
		cfg.MaxWait = maxWait
	}
	if cfg.Margin == 0 {
		cfg.Margin = defaultMargin
	}
	if cfg.Burst == nil {
		cfg.Burst = func(string) int64 { return 1 }
	}
	switch {
	case cfg.Redis == nil:
		return nil, errors.New("limiter: Redis is missing")
	case cfg.Settings == nil:
		return nil, errors.New("limiter: Settings is missing")
	case cfg.CallTimeout <= 0:
		return nil, fmt.Errorf("limiter: CallTimeout must be positive, got %s", cfg.CallTimeout)
	case cfg.MaxWait < 0:
		return nil, fmt.Errorf("limiter: MaxWait must be positive, got %s", cfg.MaxWait)
	case cfg.Margin < 0 || cfg.Margin >= 1:
		return nil, fmt.Errorf("limiter: Margin must be from 0 to below 1, got %g", cfg.Margin)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Limiter{
		cfg: cfg, scripts: newScripts(), windows: windows{time.Second, time.Minute, 24 * time.Hour},
		ctx: ctx, cancel: cancel, accounts: make(map[string]*account),
	}, nil
}

// Close ends what listens for free seats. Slots can still be given back.
func (l *Limiter) Close() {
	l.cancel()
	l.ears.Wait()
}

func (l *Limiter) account(provider string) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[provider]
	if !ok {
		// The braces keep both keys of a provider in one slot of a Redis cluster.
		hash := "oneflow:limit:{" + provider + "}"
		a = &account{provider: provider, keys: []string{hash, hash + ":seats"}}
		l.accounts[provider] = a
	}
	return a
}

// Acquire waits for the next slot that is free in all dimensions of the provider's
// limits at once, and returns when its time has come. Among those who wait in this
// process, the lowest urgency number goes first. It fails with *Busy where the wait
// would be longer than MaxWait, with *Away, or with ctx's error; then nothing is
// reserved. The slot must be given back by one of its methods.
func (l *Limiter) Acquire(ctx context.Context, provider string, cost Cost, urgency int) (*Slot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a := l.account(provider)
	w := &waiter{urgency: urgency, index: -1}
	deadline := time.Now().Add(l.patience(provider, urgency))
	for {
		if l.cfg.Settings(provider).Limits == (providers.Limits{}) {
			return l.free(ctx, a, deadline)
		}
		slot, err := l.reserve(ctx, a, w, cost, deadline)
		if err != nil {
			return nil, err
		}
		if slot == nil {
			continue // no seat, back at the gate
		}
		if err := slot.arrive(ctx); err == nil {
			return slot, nil
		} else if !errors.Is(err, errGone) {
			slot.Unused(ctx)
			return nil, err
		}
		slot.Unused(ctx)
	}
}

// slowest is how long a slot may be waited for, however seldom there is one.
const slowest = time.Minute

// patience is how long a slot is worth waiting for. Where slots are far between,
// somebody has to wait for the next all the same, or it would go to whoever asks by
// chance at the right moment; and the most urgent wait longer than others, so that
// they come first.
func (l *Limiter) patience(provider string, urgency int) time.Duration {
	between := spacing(l.cfg.Settings(provider).Limits)
	long := min(3*max(between, 0), slowest)
	if urgency == 0 {
		long = min(3*l.cfg.MaxWait, slowest)
	}
	return max(l.cfg.MaxWait, long)
}

// reserve waits for its turn at the gate and asks Redis. Neither slot nor error
// means: no seat was free, wait for the next turn.
func (l *Limiter) reserve(ctx context.Context, a *account, w *waiter, cost Cost, deadline time.Time) (*Slot, error) {
	limits := l.cfg.Settings(a.provider).Limits
	if wait, ok := a.gate.join(w, spacing(limits), max(time.Until(deadline), 0)); !ok {
		return nil, &Busy{Provider: a.provider, After: wait}
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case err := <-w.turn:
		if err != nil {
			return nil, err
		}
	case <-timer.C:
		a.gate.leave(w)
		return nil, &Busy{Provider: a.provider, After: max(a.gate.expected(w.urgency), time.Second)}
	case <-ctx.Done():
		a.gate.leave(w)
		return nil, ctx.Err()
	}
	// The limits may have changed in the meantime.
	limits = l.cfg.Settings(a.provider).Limits
	g, err := l.ask(ctx, a, limits, cost, max(time.Until(deadline), 0), w.urgency == 0)
	switch {
	case err != nil:
		a.gate.fail(err)
		return nil, err
	case g.status == statusBusy:
		a.gate.asked()
		return nil, &Busy{Provider: a.provider, After: g.wait, Blocked: g.blocked}
	case g.status == statusSeatless:
		if l.hear() {
			a.gate.asked()
		} else {
			a.gate.seatless(min(g.wait, seatRecheck))
		}
		return nil, nil //nolint:nilnil // see above
	}
	a.gate.granted(g.slot, g.wait, w.urgency == 0)
	s := &Slot{limiter: l, account: a, grant: g, due: time.Now().Add(g.wait)}
	if limits.Concurrent > 0 {
		s.keep = time.AfterFunc(seatWord, s.keepSeat)
	}
	return s, nil
}

// Wait tells for how long a small call would have to wait now, at the lowest
// urgency: 0 if not at all. It reserves nothing.
func (l *Limiter) Wait(ctx context.Context, provider string) (time.Duration, error) {
	a := l.account(provider)
	g, err := l.ask(ctx, a, l.cfg.Settings(provider).Limits, Cost{1, 1}, lookOnly, false)
	if err != nil {
		return 0, err
	}
	if g.status == statusSeatless {
		g.wait = min(g.wait, time.Second) // a seat expires late, but is given back soon
	}
	return max(g.wait, a.gate.expected(math.MaxInt)), nil
}

// Forget lifts what refusals have brought about in Redis: a block, its doubling,
// and lowered concurrency. It is for a person who knows better.
func (l *Limiter) Forget(ctx context.Context, provider string) error {
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	err := l.cfg.Redis.HDel(ctx, l.account(provider).keys[0], "blocked", "refusals", "lowered", "lowered_until").Err()
	if err != nil {
		return &Away{err}
	}
	return nil
}

// spacing is the time between two requests if this process had the provider for
// itself; 0 where only tokens say, below 0 where nothing does.
func spacing(limits providers.Limits) time.Duration {
	switch {
	case limits.RPM > 0 && limits.RPS > 0:
		return max(time.Minute/time.Duration(limits.RPM), time.Second/time.Duration(limits.RPS))
	case limits.RPM > 0:
		return time.Minute / time.Duration(limits.RPM)
	case limits.RPS > 0:
		return time.Second / time.Duration(limits.RPS)
	case limits.TPM > 0 || limits.ITPM > 0 || limits.OTPM > 0:
		return 0
	}
	return -1
}
