package limiter

import (
	"testing"
	"time"

	"oneflow/providers"
)

func TestALoweredLimitHoldsForWhatWasSentBefore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after int64 }{"halved": {60, 30}, "a tenth": {60, 6}, "of many": {3000, 1500}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSimulation(t, 1, providers.Limits{RPM: c.before})
			var slots []time.Duration
			ask := func(n int64) {
				for range n {
					g, err := w.limiter.ask(t.Context(), w.account, Demand{}, time.Hour, false)
					if err != nil || g.status != statusGranted {
						t.Fatalf("%+v, %v", g, err)
					}
					slots = append(slots, g.slot)
				}
			}
			ask(c.before / 2)
			lowered := len(slots)
			w.limits.RPM = c.after
			ask(2 * c.after)
			for last := lowered; last < len(slots); last++ {
				n := int64(0)
				for _, slot := range slots[:last+1] {
					if slot > slots[last]-time.Minute {
						n++
					}
				}
				if n > c.after {
					t.Fatalf("slot %d after the limit was lowered is the %dth of a minute, of %d", last-lowered, n, c.after)
				}
			}
			// And all of it is used, once those of before have left the window.
			if took, most := slots[len(slots)-1]-slots[lowered-1], 3*time.Minute+2*time.Minute/time.Duration(c.after); took > most {
				t.Errorf("two windows of the lowered limit took %s, want %s at most", took, most)
			}
		})
	}
}
