package metrics

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/fleet"
)

// hourly is a store with a call in each minute of the last ten hours, and from then on.
type hourly struct {
	Store
	began time.Time
	asked time.Duration // for which calls were summed up
}

func (h *hourly) CallTotals(_ context.Context, from, until time.Time) (fleet.CallTotals, error) {
	if from.IsZero() {
		from = h.began
	}
	if until.IsZero() {
		until = time.Now()
	}
	h.asked += until.Sub(from)
	t := fleet.NewCallTotals()
	t.Models[fleet.ModelKey{Provider: "p", Model: "m"}] = fleet.ModelTotals{Succeeded: int64(until.Sub(from) / time.Minute)}
	return t, nil
}

func TestTheSumOfAllCallsIsWholeAndThePastIsReadOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &hourly{began: time.Now().Add(-10 * time.Hour)}
		m := &Metrics{cfg: Config{Store: h}, before: fleet.NewCallTotals(), named: map[fleet.ModelKey]bool{}}
		for range 50 {
			got, err := m.callTotals(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := int64(time.Since(h.began) / time.Minute)
			if n := got.Models[fleet.ModelKey{Provider: "p", Model: "m"}].Succeeded; n != want {
				t.Fatalf("%d calls, want %d", n, want)
			}
			<-time.After(10 * time.Minute)
		}
		// Ten hours once, and each time two hours at most.
		if h.asked > 10*time.Hour+9*time.Hour+50*2*time.Hour {
			t.Errorf("%s of calls were summed up", h.asked)
		}
	})
}
