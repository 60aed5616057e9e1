package policy_test

import (
	"slices"
	"testing"
	"time"

	"oneflow/providers"
)

func TestABrokenProviderIsLeftAloneAfterTwentyCallsOfTheFleet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newService("a", after(100*time.Millisecond, refuses(providers.Unknown, 500)))
		b := newService("b", after(200*time.Millisecond, ok))
		w := newWorld(t, a, b)
		began := time.Now()
		all := rush(t, w.workers(4), 50, times(1000))
		for _, r := range all {
			if r.err != nil || r.res.Provider != "b" {
				t.Fatalf("a job ended with %v from %q", r.err, r.res.Provider)
			}
		}
		if len(all) != 1000 {
			t.Errorf("%d jobs, want 1000", len(all))
		}
		if n := a.calls(); n > 20 {
			t.Errorf("the broken provider was called %d times", n)
		}
		if states := w.heard("a"); !slices.Equal(states, []providers.BreakerState{providers.BreakerOpen}) {
			t.Errorf("heard %v", states)
		}
		t.Logf("%d calls to the broken one, in %s", a.calls(), time.Since(began))
	})
}
