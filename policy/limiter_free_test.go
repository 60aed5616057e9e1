package policy_test

import (
	"errors"
	"testing"
	"time"

	"oneflow/policy"
	"oneflow/providers"
)

func TestARefusalStopsAllWhereThereIsNoLimitToo(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, providers.Limits{})
	for _, l := range f.limiters { // all have looked, and seen no block
		s, err := l.Acquire(t.Context(), "p", policy.Cost{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	}
	s, err := f.limiters[0].Acquire(t.Context(), "p", policy.Cost{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Refused(t.Context(), &providers.Error{Kind: providers.RateLimited, RetryAfter: time.Hour})
	if _, err := f.limiters[0].Acquire(t.Context(), "p", policy.Cost{}, 0); !isBusy(err, time.Hour) {
		t.Errorf("who was refused: %v", err)
	}
	<-time.After(100 * time.Millisecond) // what they have seen is old by then
	for _, l := range f.limiters[1:] {
		if _, err := l.Acquire(t.Context(), "p", policy.Cost{}, 0); !isBusy(err, time.Hour) {
			t.Errorf("another: %v", err)
		}
	}
	if err := f.limiters[1].Forget(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	<-time.After(100 * time.Millisecond)
	for _, l := range f.limiters {
		if _, err := l.Acquire(t.Context(), "p", policy.Cost{}, 0); err != nil {
			t.Errorf("after the block was lifted: %v", err)
		}
	}
}

func isBusy(err error, about time.Duration) bool {
	busy, ok := errors.AsType[*policy.Busy](err)
	return ok && (busy.After-about).Abs() < time.Minute
}
