package limiter_test

import (
	"context"
	"testing"
	"time"

	"oneflow/policy/limiter"
	"oneflow/providers"
)

func TestABurstMayComeAtOnceAndNoMore(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0, providers.Limits{RPM: 4}) // one in 15 s
	l := f.limiter(t, client(t, f.redis), limiter.Config{
		MaxWait: time.Second, Burst: func(string) int64 { return 3 },
		// The last call was long ago.
		Restore: func(context.Context, string, string) (limiter.Snapshot, error) { return limiter.Snapshot{}, nil },
	})
	for i := range 3 {
		s, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 1)
		if err != nil {
			t.Fatalf("call %d of a burst of 3: %v", i+1, err)
		}
		s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	}
	if wait, err := l.Wait(t.Context(), "p", ""); err != nil || wait < 5*time.Second {
		t.Errorf("a fourth may come after %v, %v", wait, err)
	}
}
