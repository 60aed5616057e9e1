package limiter_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oneflow/policy/limiter"
	"oneflow/providers"
)

func TestTheStateSaysWhatHoldsAProviderBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, providers.Limits{RPM: 2, RPD: 3, TPM: 6000, Concurrent: 5})
	l := f.limiters[0]
	s, err := l.Acquire(t.Context(), "p", limiter.Demand{InputTokens: 10, OutputTokens: 20}, 0)
	if err != nil {
		t.Fatal(err)
	}
	look := func() limiter.State {
		t.Helper()
		got, err := l.State(t.Context(), "p", limiter.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := look()
	want := limiter.State{Binds: providers.DimensionRPM, InFlight: 1, Dimensions: []limiter.DimensionState{
		{Dimension: providers.DimensionRPM, Limit: 2, Used: 1},
		{Dimension: providers.DimensionRPD, Limit: 3, Used: 1},
		{Dimension: providers.DimensionTPM, Limit: 6000, Used: 30},
	}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(limiter.State{}, "Wait")); diff != "" || got.Wait <= 0 || got.Wait > 31*time.Second {
		t.Errorf("half a minute between calls: %s (wait %v)", diff, got.Wait)
	}
	// The answer says that others have used half of the tokens.
	s.Done(t.Context(), providers.Usage{InputTokens: 10, OutputTokens: 20}, providers.RateLimits{
		Tokens: &providers.RateLimit{Limit: 6000, Remaining: 2970, Reset: 30 * time.Second},
	})
	if got := look().Dimensions[2]; got.Others < 2000 || got.Others > 3000 || !between(time.Until(got.OthersUntil), 15, 34) {
		t.Errorf("others use %d until %v, want 3000 for half a minute", got.Others, got.OthersUntil)
	}
	// A refusal blocks; it is said since when, until when and why.
	f.mu.Lock()
	f.settings.Limits.RPM = 600
	f.mu.Unlock()
	acquire(t, l).Refused(t.Context(), &providers.Error{Kind: providers.RateLimited, RetryAfter: time.Hour})
	got = look()
	if got.BlockedFor != providers.RateLimited || !between(time.Until(got.BlockedUntil), 3500, 3601) || time.Since(got.BlockedSince) > time.Minute || got.Binds != "" {
		t.Errorf("blocked for %q since %v until %v, binds %q", got.BlockedFor, got.BlockedSince, got.BlockedUntil, got.Binds)
	}
	// An operator lifts it, and pins the tokens: what others use counts no longer.
	if err := l.Forget(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if got = look(); !got.BlockedUntil.IsZero() || got.BlockedFor != "" || got.Dimensions[2].Others != 0 {
		t.Errorf("after it was lifted: %+v", got)
	}
}

func between(d time.Duration, from, to float64) bool { return d.Seconds() >= from && d.Seconds() <= to }
