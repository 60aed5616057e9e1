package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/rs/zerolog"

	"oneflow/providers"
)

// guard is one provider behind its policies.
type guard struct {
	name     string
	kind     string
	provider providers.Provider
	timeout  time.Duration
	calls    context.Context //nolint:containedctx // see Config.Calls
	limiter  *Limiter
	breaker  *breaker
	learn    func(providers.Learned)
	log      zerolog.Logger
	retry    failsafe.Executor[any]
	// rest is how long a provider is left alone that only a person can mend,
	// unless its settings say so first.
	rest time.Duration

	mu      sync.Mutex
	resting time.Time // until when
	because providers.Error
	until   time.Time // when the provider wants to be called again
}

// longWait is from where on a wait is not that of a queue for the limiter, but of a
// block or a day's limit that is used up.
const longWait = 2 * maxWait

// lateWait is how long a call that stands in the ledger may wait for another slot.
// It is far less than a worker may be silent, and than a row may be overdue, before
// the job is somebody else's: the row is what keeps a zombie from sending.
const lateWait = 5 * time.Second

// last marks a failure that must not be repeated here.
type last struct{ err error }

func (l *last) Error() string { return l.err.Error() }
func (l *last) Unwrap() error { return l.err }

func newGuard(p providers.Provider, cfg Config) *guard {
	policy := retrypolicy.NewBuilder[any]().
		HandleIf(func(_ any, err error) bool {
			_, stop := errors.AsType[*last](err)
			return err != nil && !stop
		}).
		WithMaxRetries(maxRetries).
		// Jitter is inside the function: the library's own would shorten a
		// Retry-After.
		WithDelayFunc(func(exec failsafe.ExecutionAttempt[any]) time.Duration {
			delay := cfg.Backoff(exec.Attempts())
			if e, ok := errors.AsType[*providers.Error](exec.LastError()); ok {
				delay = max(delay, e.RetryAfter)
			}
			return min(delay, maxDelay)
		}).
		ReturnLastFailure().
		Build()
	name := p.Name()
	return &guard{
		name: name, kind: cfg.Kinds[name], provider: p, timeout: cfg.CallTimeout, calls: cfg.Calls,
		limiter: cfg.Limiter, breaker: newBreaker(name, cfg), learn: func(l providers.Learned) { cfg.Learn(name, l) },
		log: cfg.Log.With().Str("provider", name).Logger(), retry: failsafe.With(policy), rest: cfg.Backoff(maxRetries + 1),
	}
}

// backoff doubles from a second, plus up to a quarter.
func backoff(n int) time.Duration {
	d := firstDelay << min(n-1, 6)
	return d + rand.N(d/4)
}

// errNotAttempted is the outcome where ctx ended before the first attempt.
var errNotAttempted = errors.New("not attempted")

// generate keeps the outcome of the last attempt itself: when ctx ends during a
// call, the executor would put ctx's error in the place of an answer that is paid
// for.
func (g *guard) generate(ctx context.Context, urgency int, req providers.Request, j providers.Journal) (providers.Response, error) {
	if err := g.mending(); err != nil {
		return providers.Response{}, err
	}
	var res providers.Response
	outcome := errNotAttempted
	err := g.retry.WithContext(ctx).Run(func() error {
		res, outcome = g.attempt(ctx, urgency, req, j)
		return outcome
	})
	if outcome == nil {
		return res, nil
	}
	if l, ok := errors.AsType[*last](outcome); ok {
		return res, l.err
	}
	// Retries are used up, or ctx ended the wait for the next.
	return res, err
}

// attempt makes one call, and again after each refusal for the rate limit that
// asks for a short wait: that is no failure and uses up no retry.
func (g *guard) attempt(ctx context.Context, urgency int, req providers.Request, j providers.Journal) (providers.Response, error) {
	for waited := time.Duration(0); ; {
		res, until, err := g.once(ctx, urgency, req, j)
		if err == nil {
			return res, nil
		}
		failure, ok := errors.AsType[*providers.Error](err)
		if !ok {
			return res, &last{err}
		}
		switch failure.Kind.Reaction() {
		case providers.Wait:
			// What did not come from the provider has waited for as long as may be.
			if until.IsZero() || !j.MayRepeat(failure) {
				return res, &last{err}
			}
			// A refusal counts for a second even where it asks for less, so that there
			// is an end to them.
			pause := max(time.Until(until), 0)
			if waited += max(pause, firstDelay); waited > maxWait {
				patient := *failure
				patient.RetryAfter = max(failure.RetryAfter, pause)
				return res, &last{&patient}
			}
			if g.limiter != nil {
				continue // it holds everybody until then, and keeps the order
			}
			if waitErr := sleep(ctx, pause+rand.N(firstDelay/4)); waitErr != nil {
				return res, &last{waitErr}
			}
			continue
		case providers.Retry:
			// A wait beyond what retry bears goes back to the queue.
			if j.MayRepeat(failure) && failure.RetryAfter <= maxDelay && g.calls.Err() == nil {
				return res, err
			}
		case providers.Pause:
			g.leave(failure)
		case providers.Final:
		}
		return res, &last{err}
	}
}

// once makes one call under a permit and in a slot. The time says until when the
// provider asked everybody to wait; it is zero if it did not.
//
// The permit comes first: while a provider is on trial few get one, and a slot that
// is taken and not used is lost to all. With nothing on trial a permit is cheap and
// is looked at again after the wait for the slot.
func (g *guard) once(ctx context.Context, urgency int, req providers.Request, j providers.Journal) (providers.Response, time.Time, error) {
	leave, err := g.breaker.permit(ctx)
	if err != nil {
		return providers.Response{}, time.Time{}, err
	}
	defer func() {
		if leave != (permit{}) { // a panic, or nothing was sent
			leave.unused()
		}
	}()
	slot, entry, err := g.place(ctx, urgency, req, j, leave)
	if err != nil {
		return providers.Response{}, time.Time{}, err
	}
	res, err := g.call(ctx, entry, slot, req)
	var until time.Time
	failure, _ := errors.AsType[*providers.Error](err)
	if failure != nil && (failure.Kind == providers.RateLimited || failure.Kind == providers.ConcurrencyLimit) {
		// The fleet must know before the ledger does.
		until = slot.refused(failure)
		g.block(until)
		g.log.Warn().Str("kind", string(failure.Kind)).Time("until", until).Msg("the provider asks to wait")
	}
	leave.tell(g.outcome(failure))
	leave = permit{}
	if endErr := entry.End(ctx, res, err); endErr != nil {
		// Not settled: nothing more may be sent for this job from here.
		err = fmt.Errorf("%s: settle the call: %w", g.name, endErr)
	}
	if until.IsZero() {
		slot.done(res, failure)
	}
	return res, until, err
}

// place waits for a slot and writes the call into the ledger. Where that took so
// long that the slot has passed, as with a Postgres that stood still, all that wait
// for it would go out at once: the call waits for another slot, and goes out from
// there without another row, so that a ledger that is always slow holds nobody up.
func (g *guard) place(ctx context.Context, urgency int, req providers.Request, j providers.Journal, leave permit) (slot, providers.Call, error) {
	got, err := g.slot(ctx, urgency, req)
	if err != nil {
		return slot{}, nil, err
	}
	if err := leave.standing(); err != nil {
		got.unused()
		return slot{}, nil, err
	}
	entry, err := g.begin(ctx, req, j)
	if err != nil {
		got.unused()
		return slot{}, nil, err
	}
	if !got.late() {
		return got, entry, nil
	}
	got.unused()
	soon, cancel := context.WithTimeout(ctx, lateWait)
	defer cancel()
	if got, err = g.slot(soon, urgency, req); err == nil {
		if err = leave.standing(); err == nil {
			return got, entry, nil
		}
		got.unused()
	}
	// Nothing was sent, whatever the reason.
	unsent := notAsked(g.name, firstDelay, errSlowLedger)
	if soon.Err() != nil && ctx.Err() == nil {
		err = unsent
	}
	if endErr := entry.End(ctx, providers.Response{}, unsent); endErr != nil {
		err = fmt.Errorf("%s: settle a call that was not sent: %w", g.name, endErr)
	}
	return slot{}, nil, err
}

func (g *guard) begin(ctx context.Context, req providers.Request, j providers.Journal) (providers.Call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return j.Begin(ctx, g.name, req)
}

// call sends req. It does not end with ctx.
func (g *guard) call(ctx context.Context, entry providers.Call, slot slot, req providers.Request) (res providers.Response, err error) {
	callCtx, cancel := context.WithTimeout(g.calls, g.timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			// Settle what was sent, then let the worker see the panic.
			failure := &providers.Error{Provider: g.name, Kind: providers.Unknown, Billing: providers.BillingUnknown, Sent: true}
			_ = entry.End(ctx, res, failure)
			slot.done(res, failure)
			panic(r)
		}
	}()
	res, err = g.provider.Generate(callCtx, req)
	if err != nil {
		return res, providers.AsError(g.name, err)
	}
	return res, nil
}

// outcome is what the breaker is told of a call, and the failure's name.
func (g *guard) outcome(failure *providers.Error) (what, blame string) {
	if failure == nil {
		return "ok", ""
	}
	blame = strings.ReplaceAll(string(failure.Kind), "_", " ")
	if failure.Status != 0 {
		blame += fmt.Sprintf(" (HTTP %d)", failure.Status)
	}
	switch {
	case g.calls.Err() != nil: // cut off by us
		return "nothing", ""
	case failure.Kind.Reaction() == providers.Wait:
		return "throttled", blame
	case failure.Kind.Health() == providers.Failing:
		return "failed", blame
	case failure.Kind.Health() == providers.Alive:
		return "ok", ""
	}
	return "nothing", ""
}

// leave leaves the provider alone for a while: its account is empty or its key was
// refused, and the next call would only hear the same. A refusal of one thing that
// the key may not do (403) is between that job and the provider.
func (g *guard) leave(failure *providers.Error) {
	learned := providers.Learned{OutOfMoney: true, Reason: "its account has no credit left"}
	if failure.Kind == providers.Unauthorised {
		if failure.Status == 403 {
			return
		}
		learned = providers.Learned{Reason: "its API key was refused"}
	}
	g.mu.Lock()
	known := time.Now().Before(g.resting)
	g.resting = time.Now().Add(g.rest)
	g.because = providers.Error{
		Provider: g.name, Kind: failure.Kind, Billing: providers.Unbilled, Status: failure.Status, Code: failure.Code,
	}
	g.mu.Unlock()
	if known {
		return
	}
	g.log.Error().Str("kind", string(failure.Kind)).Msg("out of use until a person mends it")
	g.learn(learned)
}

// mending is why the provider is left alone now, if it is.
func (g *guard) mending() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Now().Before(g.resting) {
		because := g.because
		return &because
	}
	return nil
}

// block notes until when the provider wants to be left alone.
func (g *guard) block(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = until
}

// revive forgets what has kept the provider out of use: a person has mended it.
func (g *guard) revive() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until, g.resting = time.Time{}, time.Time{}
}

// blocked is for how long the provider wants to be left alone, as far as is known
// here: from a call of this worker, or from its settings. The limiter knows for
// certain, and is asked before each call.
func (g *guard) blocked(settings providers.Settings) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(time.Until(g.until), time.Until(settings.BlockedUntil), 0)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// slot is a slot of the limiter's, or none where there is no limiter.
type slot struct {
	ctx  context.Context //nolint:containedctx // of the job's, without its end
	slot *Slot
}

// slot waits for one. A wait that is too long comes back as a failure that asks
// for it.
func (g *guard) slot(ctx context.Context, urgency int, req providers.Request) (slot, error) {
	if g.limiter == nil {
		return slot{}, nil
	}
	got, err := g.limiter.Acquire(ctx, g.name, Estimate(g.kind, req), urgency)
	if err == nil {
		return slot{context.WithoutCancel(ctx), got}, nil
	}
	if busy, ok := errors.AsType[*Busy](err); ok {
		why := errCrowded
		if busy.Blocked > longWait {
			why = errBlocked
		}
		return slot{}, &providers.Error{Provider: g.name, Kind: providers.RateLimited, Billing: providers.Unbilled, RetryAfter: busy.After, Err: why}
	}
	if _, ok := errors.AsType[*Away](err); ok {
		return slot{}, notAsked(g.name, awayWait, errRedisAway)
	}
	return slot{}, err
}

// late tells that the slot has passed. Whether the provider was blocked meanwhile is
// not asked again: what is sent this soon after is as good as under way.
func (s slot) late() bool { return s.slot != nil && s.slot.late() }

func (s slot) unused() {
	if s.slot != nil {
		s.slot.Unused(s.ctx)
	}
}

// done hands the slot back with what was used.
func (s slot) done(res providers.Response, failure *providers.Error) {
	switch {
	case s.slot == nil:
	case failure == nil:
		s.slot.Done(s.ctx, res.Usage, res.Limits)
	case !failure.Sent:
		s.slot.Unused(s.ctx)
	default:
		s.slot.Done(s.ctx, failure.Usage, failure.Limits)
	}
}

// refused tells the fleet to wait, and returns until when.
func (s slot) refused(failure *providers.Error) time.Time {
	asked := time.Now().Add(max(failure.RetryAfter, firstDelay))
	if s.slot == nil {
		return asked
	}
	if until := s.slot.Refused(s.ctx, failure); !until.IsZero() {
		return until
	}
	return asked // Redis is away: this call waits for itself
}
