package limiter

import (
	"context"
	"testing"
	"time"

	"oneflow/providers"
)

func TestAnUrgentCallGoesBeforeAllWhoseSlotsAreStillToCome(t *testing.T) {
	t.Parallel()
	const spacing = time.Minute / 120
	for name, limits := range map[string]providers.Limits{
		"requests":            {RPM: 120},
		"requests and tokens": {RPM: 120, TPM: 60_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSimulation(t, 1, limits)
			w.jitter = 0
			w.cost = func() (Demand, Demand) {
				return Demand{InputTokens: 100, OutputTokens: 100}, Demand{InputTokens: 100, OutputTokens: 50}
			}
			for id := range 8 {
				w.process(id)
			}
			w.run(20 * time.Second)
			const urgent = 10
			for range urgent {
				w.run(2*time.Second + w.rand(time.Second))
				g, err := w.limiter.ask(context.Background(), w.account, Demand{InputTokens: 100}, defaultMaxWait, true)
				if err != nil || g.status != statusGranted || g.wait > spacing+spacing/100 {
					t.Fatalf("an urgent call waits for %v, want one slot, %v, at most; status %d, %v", g.wait, spacing, g.status, err)
				}
				w.send(&Slot{limiter: w.limiter, account: w.account, grant: g, due: time.Now().Add(time.Hour)}, Demand{InputTokens: 100}, 100)
			}
			w.run(40 * time.Second)
			calls := w.sorted()
			for i, c := range calls[1:] {
				if gap := c.at - calls[i].at; gap < spacing || gap > spacing+spacing/100 {
					t.Errorf("call %d comes %v after the one before, want the pace of %v", i+1, gap, spacing)
				}
			}
		})
	}
}

func TestNobodyIsOvertakenWithoutEnd(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{RPM: 60})
	w.jitter = 0
	for id := range 4 {
		w.process(id)
	}
	w.run(10 * time.Second)
	before := len(w.calls)
	// There is always one more that is urgent.
	var ask func()
	urgent := 0
	ask = func() {
		g, err := w.limiter.ask(context.Background(), w.account, Demand{}, defaultMaxWait, true)
		if err != nil {
			t.Fatal(err)
		}
		if g.status != statusGranted {
			w.at(w.now+time.Second, ask)
			return
		}
		urgent++
		w.send(&Slot{limiter: w.limiter, account: w.account, grant: g, due: time.Now().Add(time.Hour)}, Demand{}, 100)
		w.at(g.slot, ask)
	}
	ask()
	w.run(2 * time.Minute)
	all := len(w.calls) - before
	if bulk := all - urgent; all < 118 || bulk < all/5 {
		t.Errorf("%d calls in two minutes at 60 a minute, %d of them not urgent: want one in five at least", all, bulk)
	}
}
