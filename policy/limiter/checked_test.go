package limiter

import (
	"errors"
	"testing"
	"time"

	"oneflow/providers"
)

// A slot that comes soon is used without another look at Redis, unless this process met a
// refusal meanwhile; one that is a while away, or that others may overtake, is looked at.
func TestARefusalIsLookedForWhereItCanStillBeHeeded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits  providers.Limits
		own     bool // the refusal is met by the process of the slot
		checked bool
	}{
		"soon, another's refusal":  {providers.Limits{RPS: 40}, false, true},
		"soon, its own":            {providers.Limits{RPS: 40}, true, false},
		"later, another's refusal": {providers.Limits{RPM: 400}, false, false},
		"later, its own":           {providers.Limits{RPM: 400}, true, false},
		"later, in tokens":         {providers.Limits{TPM: 60_000}, false, false}, // which nobody overtakes
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSimulation(t, 1, c.limits)
			other, err := New(w.limiter.cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(other.Close)
			demand := Demand{InputTokens: 1000}
			reserve := func(l *Limiter) *Slot {
				a, _ := l.placesFor("p", demand)
				s, err := l.reserve(t.Context(), a, &waiter{urgency: 1, index: -1}, demand, time.Now().Add(time.Minute))
				if err != nil || s == nil {
					t.Fatal(s, err)
				}
				return s
			}
			refused := reserve(other)
			if c.own {
				refused = reserve(w.limiter)
			}
			s := reserve(w.limiter)
			s.due = time.Now().Add(time.Hour) // so that it is not late, however long this takes
			if s.grant.wait <= 0 || s.checked() != (s.grant.wait <= brief && !s.grant.movable) {
				t.Fatalf("before the refusal: a wait of %s, movable: %t", s.grant.wait, s.grant.movable)
			}
			refused.Refused(t.Context(), &providers.Error{Kind: providers.RateLimited, RetryAfter: time.Hour})
			if s.checked() != c.checked {
				t.Errorf("is not looked at: %t, want %t", s.checked(), c.checked)
			}
			if s.due = time.Now(); !c.checked {
				if err := s.arrive(t.Context()); !errors.Is(err, errGone) {
					t.Errorf("it arrives: %v, though the provider refuses for an hour", err)
				}
			}
		})
	}
}
