package policy

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/providers"
)

//go:embed breaker.lua
var breakerScript string

// What the breaker's script does not know. The rest of its numbers stand there.
const (
	// fresh is how long a worker goes by what it last heard of the breaker.
	fresh = time.Second
	// gather is how long successes are gathered before Redis is told.
	gather = 250 * time.Millisecond
	// forcedWait is what a job waits for a provider that a person holds back.
	forcedWait = time.Minute
	// awayWait is what a job waits for a Redis that does not answer.
	awayWait = 5 * time.Second
	// probeWait is what a job waits for the outcome of somebody else's probe.
	probeWait = 2 * time.Second
	// maxUntold bounds what is kept to tell a Redis that is away.
	maxUntold = 10_000
)

// Why a provider is not asked.
var (
	errBreakerOpen = errors.New("its circuit breaker is open")
	errForcedOpen  = errors.New("its circuit breaker is held open by a person")
	errOnTrial     = errors.New("it has not answered yet, and enough calls are on trial")
	errRedisAway   = errors.New("no limit can be kept while Redis does not answer")
	errOutOfUse    = errors.New("it is marked as unavailable")
	errBlocked     = errors.New("it asked to be left alone")
	errSlowLedger  = errors.New("the ledger is too slow to call it in time")
	errCrowded     = errors.New("its limits are used up")
)

// BreakerStatus is where a breaker stands, for display.
type BreakerStatus struct {
	// State is that of the breaker itself; a person may hold it elsewhere, see
	// providers.Settings.
	State providers.BreakerState
	// OpenFor is how long it stays open; 0 unless it is.
	OpenFor time.Duration
	// Failures and Answers are of the last half minute.
	Failures, Answers int64
}

// ReadBreaker returns where a provider's breaker stands. The error is Redis'.
func ReadBreaker(ctx context.Context, rdb redis.UniversalClient, provider string) (BreakerStatus, error) {
	r, err := newBreaker(provider, Config{Redis: rdb}).run(ctx, "look", "0", "0", "", "")
	if err != nil {
		return BreakerStatus{}, fmt.Errorf("breaker of %s: %w", provider, err)
	}
	s := BreakerStatus{State: r.state, Failures: r.failures, Answers: r.answers}
	if r.state == providers.BreakerOpen {
		s.OpenFor = r.wait
	}
	return s, nil
}

// ResetBreaker closes a provider's breaker and forgets what it has counted.
func ResetBreaker(ctx context.Context, rdb redis.UniversalClient, provider string) error {
	if err := rdb.Del(ctx, breakerKey(provider)).Err(); err != nil {
		return fmt.Errorf("breaker of %s: %w", provider, err)
	}
	return nil
}

func breakerKey(provider string) string { return "oneflow:breaker:{" + provider + "}" }

// breaker is one worker's end of a provider's circuit breaker, which itself lives
// in Redis: see breaker.lua. While calls succeed it costs one call to Redis each
// quarter of a second. A nil breaker lets everything pass.
type breaker struct {
	provider string
	rdb      redis.UniversalClient
	script   *redis.Script
	probe    time.Duration   // when a probe without an outcome is given up
	calls    context.Context //nolint:containedctx // see Config.Calls
	forced   func() providers.BreakerState
	report   func(state providers.BreakerState, reason string)
	// asking lets one caller of this worker ask Redis at a time: the others go by
	// its answer.
	asking chan struct{}

	mu      sync.Mutex
	seen    reply
	at      time.Time // when seen was asked for
	untold  untold
	telling bool
	timer   bool   // a telling is due
	blame   string // the last failure, for the reason
}

// untold is what Redis has not been told yet.
type untold struct {
	ok, failed int
	tokens     []outcome
}

type outcome struct{ token, what string }

// reply is what the script says.
type reply struct {
	granted  int64
	state    providers.BreakerState
	wait     time.Duration
	sure     bool
	changed  bool
	opens    int64
	failures int64
	answers  int64
	away     bool // the script was not reached
}

// permit is leave for one call. Its outcome must be told, once.
type permit struct {
	b     *breaker
	token string
}

func newBreaker(provider string, cfg Config) *breaker {
	if cfg.Redis == nil {
		return nil
	}
	b := &breaker{
		provider: provider, rdb: cfg.Redis, script: redis.NewScript(breakerScript), probe: cfg.CallTimeout + maxWait + fresh,
		calls: cfg.Calls, asking: make(chan struct{}, 1),
		forced: func() providers.BreakerState { return "" },
		report: func(state providers.BreakerState, reason string) {
			cfg.Log.Warn().Str("provider", provider).Str("breaker", string(state)).Str("reason", reason).Msg("circuit breaker moved")
			if cfg.Learn != nil {
				cfg.Learn(provider, providers.Learned{Breaker: state, Reason: reason})
			}
		},
	}
	if cfg.Settings != nil {
		b.forced = func() providers.BreakerState { return cfg.Settings(provider).Breaker }
	}
	return b
}

// permit asks for leave to make a call. It waits while others are on trial, for at
// most maxWait, and fails with an *providers.Error of kind NotAsked, or with ctx's
// error.
func (b *breaker) permit(ctx context.Context) (permit, error) {
	if b == nil {
		return permit{}, nil
	}
	if err := ctx.Err(); err != nil {
		return permit{}, err
	}
	leave := permit{b: b}
	if known, err := b.known(); known {
		return leave, err
	}
	patience := time.NewTimer(maxWait)
	defer patience.Stop()
	for {
		select {
		case b.asking <- struct{}{}:
		case <-ctx.Done():
			return permit{}, ctx.Err()
		case <-patience.C:
			return permit{}, notAsked(b.provider, probeWait, errOnTrial)
		}
		got, err := b.ask(ctx, &leave, patience.C)
		<-b.asking
		if got || err != nil {
			return leave, err
		}
	}
}

// ask asks Redis. Where too many are on trial it waits a moment, so that those
// behind it do.
func (b *breaker) ask(ctx context.Context, leave *permit, patience <-chan time.Time) (bool, error) {
	if known, err := b.known(); known {
		return true, err
	}
	token := strconv.FormatUint(rand.Uint64(), 36)
	r, err := b.run(ctx, "ask", "0", "0", token, "")
	switch {
	case err != nil && ctx.Err() != nil:
		return false, ctx.Err()
	case r.granted == 2:
		leave.token = token
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
	case <-patience:
		return false, notAsked(b.provider, probeWait, errOnTrial)
	case <-full.C:
		return false, nil
	}
}

// known decides by what is known here, if that is fresh enough. The error is the
// refusal.
func (b *breaker) known() (bool, error) {
	switch b.forced() {
	case providers.BreakerOpen:
		return true, notAsked(b.provider, forcedWait, errForcedOpen)
	case providers.BreakerClosed:
		return true, nil
	case providers.BreakerHalfOpen:
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
	return b.seen.state == providers.BreakerClosed && b.seen.sure, nil
}

// refusal is why r, heard so long ago, lets no call be made; nil if it does, or if
// Redis must be asked again.
func (b *breaker) refusal(r reply, age time.Duration) error {
	switch {
	case r.away:
		return notAsked(b.provider, awayWait, errRedisAway)
	case r.state == providers.BreakerOpen && age < r.wait:
		return notAsked(b.provider, r.wait-age, errBreakerOpen)
	case r.state == providers.BreakerHalfOpen && age < r.wait:
		return notAsked(b.provider, probeWait, errBreakerOpen)
	}
	return nil
}

// refusing tells whether a call would be refused, as far as is known here.
func (b *breaker) refusing() bool {
	if b == nil {
		return false
	}
	_, err := b.known()
	return err != nil
}

// standing tells whether a call may still be made under p, which was given before
// the wait for a slot.
func (p permit) standing() error {
	if p.b == nil || p.token != "" {
		return nil
	}
	_, err := p.b.known()
	return err
}

// unused gives the permit back: no call was made, or it says nothing.
func (p permit) unused() { p.tell("nothing", "") }

// tell says what came of the call: "ok", "failed", "throttled" or "nothing".
func (p permit) tell(what, blame string) {
	b := p.b
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if blame != "" {
		b.blame = blame
	}
	if what == "failed" {
		b.seen.sure = false // Redis must be asked before the next call
	}
	due := gather
	switch {
	case p.token != "":
		b.untold.tokens, due = append(b.untold.tokens, outcome{p.token, what}), 0
	case what == "ok":
		b.untold.ok = min(b.untold.ok+1, maxUntold)
		if !b.seen.sure {
			due = 0
		}
	case what == "failed":
		b.untold.failed, due = min(b.untold.failed+1, maxUntold), 0
	default:
		return
	}
	b.tellIn(due)
}

// tellIn sees to it that Redis is told after so long. b.mu is held.
func (b *breaker) tellIn(due time.Duration) {
	switch {
	case b.telling:
	case due == 0:
		b.telling = true
		go b.flush()
	case !b.timer:
		b.timer = true
		time.AfterFunc(due, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.timer = false
			b.tellIn(0)
		})
	}
}

// flush tells Redis what it was not told yet. While Redis is away that is kept.
func (b *breaker) flush() {
	for {
		b.mu.Lock()
		u := b.untold
		if u.ok == 0 && u.failed == 0 && len(u.tokens) == 0 {
			b.telling = false
			b.mu.Unlock()
			return
		}
		b.untold = untold{}
		b.mu.Unlock()
		var o outcome
		if len(u.tokens) > 0 {
			o, u.tokens = u.tokens[0], u.tokens[1:]
		}
		_, err := b.run(context.Background(), "tell", strconv.Itoa(u.ok), strconv.Itoa(u.failed), o.token, o.what)
		if err == nil {
			u.ok, u.failed = 0, 0
		} else if o.token != "" {
			u.tokens = append(u.tokens, o)
		}
		b.mu.Lock()
		b.untold.ok, b.untold.failed = min(b.untold.ok+u.ok, maxUntold), min(b.untold.failed+u.failed, maxUntold)
		b.untold.tokens = append(u.tokens, b.untold.tokens...)
		b.untold.tokens = b.untold.tokens[:min(len(b.untold.tokens), maxUntold)]
		if err != nil {
			b.telling = false
			if b.calls.Err() == nil {
				b.tellIn(awayWait)
			}
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
	}
}

// run runs the script and keeps what it says.
func (b *breaker) run(ctx context.Context, op, ok, failed, token, what string) (reply, error) {
	asked := time.Now()
	v, err := bounded(ctx, func(ctx context.Context) ([]any, error) {
		return b.script.Run(ctx, b.rdb, []string{breakerKey(b.provider)}, op, ok, failed, token, what, b.probe.Milliseconds()).Slice()
	})
	if err == nil && len(v) != 8 {
		err = fmt.Errorf("the script returned %d values, want 8", len(v))
	}
	r := reply{away: err != nil}
	if err == nil {
		n := func(i int) int64 { x, _ := v[i].(int64); return x }
		state, _ := v[1].(string)
		r = reply{
			granted: n(0), state: providers.BreakerState(state), wait: time.Duration(n(2)) * time.Millisecond, sure: n(3) == 1,
			changed: n(4) == 1, opens: n(5), failures: n(6), answers: n(7),
		}
	}
	if ctx.Err() != nil && err != nil {
		return r, err // says nothing of Redis
	}
	b.mu.Lock()
	b.seen, b.at = r, asked
	blame := b.blame
	b.mu.Unlock()
	if r.changed {
		b.report(r.state, reason(r, blame))
	}
	return r, err
}

// reason says why the breaker moved.
func reason(r reply, blame string) string {
	switch {
	case r.state == providers.BreakerHalfOpen:
		return "one call is let through to try it"
	case r.state == providers.BreakerClosed:
		return "the call that was let through succeeded"
	case r.opens > 1:
		return "the call that was let through failed: " + blame
	}
	return fmt.Sprintf("%d of the last %d answers were failures, the last: %s", r.failures, r.answers, blame)
}

// notAsked is why a provider was passed over, and for how long. Up to a quarter is
// added, so that those who wait do not come back in the same moment.
func notAsked(provider string, wait time.Duration, why error) *providers.Error {
	wait = (wait + rand.N(wait/4+1)).Round(time.Millisecond)
	return &providers.Error{Provider: provider, Kind: providers.NotAsked, Billing: providers.Unbilled, RetryAfter: wait, Err: why}
}
