package limiter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"oneflow/providers"
)

const (
	firstBlock = time.Second
	lastBlock  = time.Minute
	// maxRetryAfter bounds what a provider may ask for: beyond it, somebody made a
	// mistake with units.
	maxRetryAfter = 24 * time.Hour
	// brief is a wait after which a refusal that another worker met is not looked for: a call
	// that is already on its way meets it, too. Slots that are close together wait as long.
	brief = 2 * reserveAhead
)

// Slot is the right to send one call now, or at most 200 ms later. Exactly one of
// Done, Unused and Refused ends it; what is called after that does nothing. They do
// not fail: where Redis is away, a permit expires and a reservation ages out.
type Slot struct {
	limiter *Limiter
	account *account
	model   string
	grant   grant
	due     time.Time // on this machine's clock
	once    sync.Once
	renewal *time.Timer // nil: it holds no permit
	// refusals is the number of those that its account had met when it was asked for.
	refusals int64
	over     atomic.Bool
}

// errGone says that a slot can no longer be used.
var errGone = errors.New("the slot has passed, or the provider was blocked")

// renew tells Redis now and then that the call is under way.
func (s *Slot) renew() {
	if s.over.Load() || s.limiter.ctx.Err() != nil {
		return
	}
	for _, p := range s.grant.parts {
		if p.Limits.Concurrent <= 0 {
			continue
		}
		if _, err := s.limiter.run(s.limiter.ctx, s.limiter.scripts.renew, p.keys, s.grant.permit, permitTTL.Microseconds()); err != nil {
			s.limiter.cfg.Log.Debug().Err(err).Str("provider", s.account.provider).Msg("a permit is not kept: it expires")
		}
	}
	s.renewal.Reset(renewEvery)
}

// end has the slot end once, in the way of do.
func (s *Slot) end(do func()) {
	s.once.Do(func() {
		s.over.Store(true)
		if s.renewal != nil {
			s.renewal.Stop()
		}
		do()
	})
}

// arrive waits until the slot is due, also where urgent calls overtake it.
func (s *Slot) arrive(ctx context.Context) error {
	for s.grant.wait > 0 {
		timer := time.NewTimer(time.Until(s.due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		if s.checked() {
			return ctx.Err()
		}
		ok, moved, err := s.standing(ctx)
		switch {
		case err != nil:
			return err
		case moved > s.grant.slot:
			s.due, s.grant.slot = s.due.Add(moved-s.grant.slot), moved
		case !ok:
			return errGone
		default:
			return nil
		}
	}
	return ctx.Err()
}

// checked reports whether the grant is check enough: it was given a moment ago, nobody can overtake it,
// and no call of this process was refused since. Where calls follow each other closely, a look at Redis
// before each would cost as much as the grant.
func (s *Slot) checked() bool {
	return s.grant.wait <= brief && !s.grant.movable && s.account.refusals.Load() == s.refusals && !s.Late()
}

// standing reports whether the slot can still be used: it is not late, and the provider
// was not blocked in the meantime; and where it was moved to. It fails with *rediscall.UnavailableError or
// with ctx's error.
func (s *Slot) standing(ctx context.Context) (ok bool, moved time.Duration, err error) {
	if s.Late() {
		return false, 0, nil
	}
	blocked, moved, err := s.limiter.standing(ctx, s.grant)
	return err == nil && blocked <= s.grant.slot, moved, err
}

// Late reports that so much time has passed since the slot's that calls would come
// in a burst. Without limits nothing is spaced.
func (s *Slot) Late() bool { return s.grant.limited() && time.Since(s.due) > tooLate }

// Scope is the name of the scope in which the slot counts; empty where the provider has
// none for the model.
func (s *Slot) Scope() string { return s.grant.own().Name }

// Done ends a call that was sent. usage is what it used; where it says nothing
// about tokens, they count as used in full. limits is what the answer's headers
// said. It does not end with ctx.
func (s *Slot) Done(ctx context.Context, usage providers.Usage, limits providers.RateLimits) {
	s.end(func() {
		s.limiter.settle(ctx, s, answered, usage)
		s.limiter.observe(ctx, s, answered, limits, true)
	})
}

// Unused gives a slot back whose call was not sent, or was certainly not counted:
// its permit and its tokens are free again, the request itself ages out, as its place
// in the order is taken. It does not end with ctx.
func (s *Slot) Unused(ctx context.Context) {
	s.end(func() { s.limiter.settle(ctx, s, unsent, providers.Usage{}) })
}

// Refused ends a call that the provider refused for a rate limit: it blocks the
// slot's scope for all workers for as long as it asked, at most 24 h, or, where it did
// not say, for 1 s, then 2 s, up to a minute, until a call comes through. Where too
// many calls were under way, fewer will be. It returns until when, on this machine's
// clock, and does not end with ctx.
func (s *Slot) Refused(ctx context.Context, err *providers.Error) (until time.Time) {
	until = time.Now()
	s.end(func() {
		s.limiter.settle(ctx, s, refused, providers.Usage{})
		until = s.limiter.refuse(ctx, s, err)
		s.account.refusals.Add(1)
		s.account.blocks.forget()
	})
	return until
}
