package limiter_test

import (
	"errors"
	"testing"
	"time"

	"oneflow/policy/limiter"
	"oneflow/providers"
)

func TestARefusalStopsAllWhereThereIsNoLimitToo(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, providers.Limits{})
	for _, l := range f.limiters { // all have looked, and seen no block
		s, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	}
	s, err := f.limiters[0].Acquire(t.Context(), "p", limiter.Demand{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Refused(t.Context(), &providers.Error{Kind: providers.RateLimited, RetryAfter: time.Hour})
	if _, err := f.limiters[0].Acquire(t.Context(), "p", limiter.Demand{}, 0); !isBusy(err, time.Hour) {
		t.Errorf("who was refused: %v", err)
	}
	soon := func(what string, is func(error) bool) {
		t.Helper()
		for _, l := range f.limiters {
			began := time.Now()
			for {
				s, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 0)
				if is(err) {
					break
				}
				if time.Since(began) > 30*time.Second {
					t.Errorf("%s: %v", what, err)
					break
				}
				if err == nil {
					s.Unused(t.Context())
				}
			}
		}
	}
	soon("blocked", func(err error) bool { return isBusy(err, time.Hour) })
	if err := f.limiters[1].Forget(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	soon("after the block was lifted", func(err error) bool { return err == nil })
}

func isBusy(err error, about time.Duration) bool {
	busy, ok := errors.AsType[*limiter.WaitTooLongError](err)
	return ok && (busy.After-about).Abs() < time.Minute
}
