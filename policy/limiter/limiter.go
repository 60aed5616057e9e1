// Package limiter shares a provider's rate limits among all workers: one Redis hash for
// each scope of limits, one script for each grant, on Redis' own clock. A scope is a
// provider as a whole, or its calls of one class of models with one of its keys. A call
// reserves the next slot that is free in all dimensions of all scopes that hold for it at
// once, with the key whose slot comes first, and sleeps until it; nobody polls. Each script (*.lua) says what it takes, returns and guarantees. It
// imports providers (the table of dimensions) and policy/rediscall.
package limiter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/policy/rediscall"
	"oneflow/providers"
)

const (
	defaultMargin  = 0.006
	defaultMaxWait = 10 * time.Second
	// permitTTL is the time that a permit is held unless its holder renews it,
	// and renewEvery how often that comes: the permits of a worker that was killed are
	// free again soon.
	permitTTL  = 30 * time.Second
	renewEvery = 8 * time.Second
	// permitSlack is added to the time for which a call may hold a permit: it is given
	// back after the call's own end.
	permitSlack = 5 * time.Second
	// permitRecheck is the delay before asking for a permit again where no message came: one may
	// have been lost.
	permitRecheck = 5 * time.Second
	// tooLate bounds how late a slot may be used. What was planned for another time
	// would come as a burst, and a window later it would meet those calls that come on time: a
	// minute is taken to be 360 ms longer, of which 160 are left for the way to the provider.
	tooLate = 200 * time.Millisecond
)

// Config configures a Limiter.
type Config struct {
	// Redis keeps the fleet's state.
	Redis redis.UniversalClient
	// Fleet is the fleet's id, which is in the names of Pub/Sub channels: those are
	// shared by all databases of a Redis. Default: empty.
	Fleet string
	// Settings returns a provider's settings as of the last look. It must not block:
	// it is asked for each call, so that a change takes effect at once.
	Settings func(provider string) Settings
	// Scopes returns the scopes in one of which calls of a model are counted, beside the
	// provider as a whole, and a name for the class of models that they have in common. It
	// is asked as Settings is. Default nil: there are none.
	Scopes func(provider, model string) (class string, scopes []Scope)
	// Restore returns what Redis had known about a scope, when it has forgotten that; the
	// empty scope is the provider as a whole. Default nil: nothing is known, calls may just
	// have been sent.
	Restore func(ctx context.Context, provider, scope string) (Snapshot, error)
	// Learn is told what answers and refusals have shown. It must not block.
	// Default nil: nobody is told.
	Learn func(provider string, what Learned)
	// CallTimeout bounds one call: what holds one of a limited
	// number of permits for longer has died.
	CallTimeout time.Duration
	// MaxWait is the longest wait that is worth keeping a job for. Default 10 s.
	MaxWait time.Duration
	// Margin is the part by which a provider's window is taken to be longer than it
	// is, since calls do not arrive exactly when they should: what is not used
	// for certainty. At least 50 ms and at most 10 s come of it. Default 0.006.
	Margin float64
	// Burst returns how many requests to a provider may be sent at once after a pause.
	// They are taken from the pace. Default nil: 1.
	Burst func(provider string) int64
	// Log gets what went wrong without anybody to tell.
	Log zerolog.Logger
}

// Settings hold what is in force for a provider now.
type Settings struct {
	// Limits are those in force.
	Limits providers.Limits
	// Pinned are the dimensions that a person has set. What answers say of others' use
	// does not lower them; refusals do.
	Pinned []providers.Dimension
}

func (s Settings) pinned(d providers.Dimension) bool { return slices.Contains(s.Pinned, d) }

// Scope is a part of a provider's calls that has limits of its own.
type Scope struct {
	// Name tells it from the provider's others, such as "gpt-6-luna" or, with several keys,
	// "gpt-6-luna@1f2e3d4c5b6a".
	Name string
	Settings
}

// Learned holds what answers and refusals have shown of a provider. Zero fields say
// nothing.
type Learned struct {
	// Scope is the one that it holds for; empty: the provider as a whole.
	Scope string
	// Limits are those that answers name or refusals show.
	Limits providers.Limits
	// BlockedUntil is the time until which the provider asked everybody to wait.
	BlockedUntil time.Time
	// Reason says what it was, without any text of a prompt or an answer.
	Reason string
}

// Snapshot holds what is known of a provider's recent past without Redis.
type Snapshot struct {
	// BlockedUntil is the time until which the provider asked to be left alone; zero if it
	// did not.
	BlockedUntil time.Time
	// LastCall is the time of the last call; zero: none in the last day.
	LastCall time.Time
	// Running is the number of calls under way.
	Running int64
	// Hours are the calls that were sent in the last hour, in the one before it,
	// and so on.
	Hours [24]int64
}

// Demand is the most that a call may use of what is limited, beside itself.
type Demand struct {
	// Model says in which scopes it counts.
	Model        string
	InputTokens  int64
	OutputTokens int64
	// Except reports whether a scope must not be the call's, such as that of a deployment which
	// does not answer. Where it leaves none, all may be. Default nil: any may be.
	Except func(scope string) bool
}

// WaitTooLongError says that a slot would come too late to wait for it. Nothing is
// reserved.
type WaitTooLongError struct {
	// Provider is the name of the provider.
	Provider string
	// After is the wait, as far as can be told.
	After time.Duration
	// Blocked is for how long of that the provider has asked to wait, or a limit of
	// the day is used up; 0: it is only that others come first.
	Blocked time.Duration
	// Dimension is the limit that is used up; empty: the provider has asked to wait.
	Dimension providers.Dimension
}

// Error says for how long, and for which limit.
func (b *WaitTooLongError) Error() string {
	wait := b.After.Round(time.Millisecond)
	if b.Dimension == "" {
		return fmt.Sprintf("%s: it asked to wait for %s", b.Provider, wait)
	}
	return fmt.Sprintf("%s: its limit %s is used up for %s", b.Provider, b.Dimension, wait)
}

// Limiter hands out slots, shared by all workers through Redis. What it promises:
// no window of a provider's limits holds more than the limit, whatever the number
// of workers; a slot goes to who came first, the most urgent before all others;
// nobody polls.
type Limiter struct {
	cfg     Config
	scripts scripts

	ctx        context.Context //nolint:containedctx // the life of the subscription
	cancel     context.CancelFunc
	listen     sync.Once
	subscriber sync.WaitGroup
	// recheck is permitRecheck, but in tests of the messages.
	recheck time.Duration

	mu       sync.Mutex
	accounts map[[2]string]*account
}

// account holds what this process knows about one class of a provider's models.
type account struct {
	provider string
	queue    waitQueue
	blocks   blockCache
	// refusals is the number of those that this process has met.
	refusals atomic.Int64
	// turn is the scope to begin with where several are as good.
	turn atomic.Uint64

	mu       sync.Mutex
	observed map[string]*observedLimits // by scope
	// lastBinding is the limit for which the last had to wait.
	lastBinding atomic.Pointer[providers.Dimension]
}

// binds returns the limit for which those wait who have not asked Redis yet.
func (a *account) binds(places []place) providers.Dimension {
	limited := func(d providers.Dimension) bool {
		return slices.ContainsFunc(places, func(p place) bool { return p.Limits.Of(d) > 0 })
	}
	if d := a.lastBinding.Load(); d != nil && limited(*d) {
		return *d
	}
	for _, d := range providers.Dimensions() {
		if limited(d) {
			return d
		}
	}
	return ""
}

// of returns what this process has seen of a scope.
func (a *account) of(scope string) *observedLimits {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.observed[scope] == nil {
		a.observed[scope] = &observedLimits{}
	}
	return a.observed[scope]
}

// New makes a Limiter. An error names the field that is wrong.
func New(cfg Config) (*Limiter, error) {
	if cfg.MaxWait == 0 {
		cfg.MaxWait = defaultMaxWait
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
		cfg: cfg, scripts: newScripts(), ctx: ctx, cancel: cancel, recheck: permitRecheck, accounts: make(map[[2]string]*account),
	}, nil
}

// Close ends what listens for free permits. Slots can still be given back.
func (l *Limiter) Close() {
	l.cancel()
	l.subscriber.Wait()
}

// account returns the one of a provider's models of that class.
func (l *Limiter) account(provider, class string) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[[2]string{provider, class}]
	if !ok {
		a = &account{provider: provider, observed: map[string]*observedLimits{}}
		l.accounts[[2]string{provider, class}] = a
	}
	return a
}

// Acquire waits for the next slot that is free in all dimensions of the provider's
// limits at once, and in those of one of the model's scopes, which is the slot's, and
// returns when its time has come. Among those who wait in this process for models of the
// same class, the lowest urgency number goes first. It fails with *WaitTooLongError where
// the wait would be longer than MaxWait, with *rediscall.UnavailableError, or with ctx's
// error; then nothing is reserved. The slot must be given back by one of its methods.
func (l *Limiter) Acquire(ctx context.Context, provider string, demand Demand, urgency int) (*Slot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &waiter{urgency: urgency, index: -1}
	var deadline time.Time
	for {
		a, places := l.placesFor(provider, demand)
		if deadline.IsZero() {
			deadline = time.Now().Add(l.longestWait(places, urgency))
		}
		if unlimited(places) {
			return l.free(ctx, a, demand, deadline)
		}
		slot, err := l.reserve(ctx, a, w, demand, deadline)
		if err != nil {
			return nil, err
		}
		if slot == nil {
			continue // no permit, back at the queue
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

// slowest bounds the wait for a slot, however seldom there is one.
const slowest = time.Minute

// longestWait returns how long a slot is worth waiting for. Where slots are far between,
// somebody has to wait for the next all the same, or it would go to whoever asks by
// chance at the right moment; and the most urgent wait longer than others, so that
// they come first.
func (l *Limiter) longestWait(places []place, urgency int) time.Duration {
	long := time.Duration(0)
	if !unlimited(places) {
		long = min(3*max(spacing(places), 0), slowest)
	}
	if urgency == 0 {
		long = min(3*l.cfg.MaxWait, slowest)
	}
	return max(l.cfg.MaxWait, long)
}

// reserve waits for its turn at the queue and asks Redis. Neither slot nor error
// means: no permit was free, wait for the next turn.
func (l *Limiter) reserve(ctx context.Context, a *account, w *waiter, demand Demand, deadline time.Time) (*Slot, error) {
	_, places := l.placesFor(a.provider, demand)
	if wait, ok := a.queue.join(w, spacing(places), max(time.Until(deadline), 0)); !ok {
		return nil, &WaitTooLongError{Provider: a.provider, After: wait, Dimension: a.binds(places)}
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case err := <-w.turn:
		if err != nil {
			return nil, err
		}
	case <-timer.C:
		a.queue.leave(w)
		return nil, &WaitTooLongError{Provider: a.provider, After: max(a.queue.expected(w.urgency), time.Second), Dimension: a.binds(places)}
	case <-ctx.Done():
		a.queue.leave(w)
		return nil, ctx.Err()
	}
	refusals := a.refusals.Load()
	g, err := l.ask(ctx, a, demand, max(time.Until(deadline), 0), w.urgency == 0)
	if err == nil && g.binds != "" {
		a.lastBinding.Store(&g.binds)
	}
	switch {
	case err != nil:
		a.queue.fail(err)
		return nil, err
	case g.status == statusTooLong:
		a.queue.asked()
		return nil, &WaitTooLongError{Provider: a.provider, After: a.queue.later(g.wait, w.urgency), Blocked: g.blocked, Dimension: g.binds}
	case g.status == statusNoPermit:
		if l.subscribe() {
			a.queue.asked()
		} else {
			a.queue.noPermit(min(g.wait, l.recheck))
		}
		return nil, nil //nolint:nilnil // see above
	}
	a.queue.granted(g.slot, g.wait, w.urgency == 0)
	s := &Slot{limiter: l, account: a, model: demand.Model, grant: g, due: time.Now().Add(g.wait), refusals: refusals}
	if g.holdsPermit() {
		s.renewal = time.AfterFunc(renewEvery, s.renew)
	}
	return s, nil
}

// Wait returns for how long a small call of a model would have to wait now, at the lowest
// urgency: 0 if not at all. It reserves nothing.
func (l *Limiter) Wait(ctx context.Context, provider, model string) (time.Duration, error) {
	a, _ := l.places(provider, model)
	g, err := l.ask(ctx, a, Demand{Model: model, InputTokens: 1, OutputTokens: 1}, lookOnly, false)
	if err != nil {
		return 0, err
	}
	if g.status == statusNoPermit {
		g.wait = min(g.wait, time.Second) // a permit expires late, but is given back soon
	}
	return max(g.wait, a.queue.expected(math.MaxInt)), nil
}

// Forget lifts what refusals and answers have brought about in Redis: a block, its
// doubling, lowered concurrency, and what others are taken to use, in the provider as a
// whole and in the scopes of those names. It is for a person who knows better.
func (l *Limiter) Forget(ctx context.Context, provider string, scopes ...string) error {
	ctx, cancel := context.WithTimeout(ctx, rediscall.Timeout)
	defer cancel()
	fields := []string{"blocked", "blocked_at", "blocked_for", "refusals", "refused_again", "lowered", "lowered_until"}
	for _, d := range providers.Dimensions() {
		fields = append(fields, string(d)+".others")
	}
	for _, scope := range append([]string{""}, scopes...) {
		if err := l.cfg.Redis.HDel(ctx, keysOf(provider, scope)[0], fields...).Err(); err != nil {
			return &rediscall.UnavailableError{Err: err}
		}
	}
	return nil
}
