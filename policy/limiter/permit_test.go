package limiter_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/policy/limiter"
	"oneflow/providers"
)

func TestASeatIsHeldForAsLongAsTheCallTakes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, providers.Limits{Concurrent: 1})
	permits := "oneflow:limit:{p}:permits"
	s, err := f.limiters[0].Acquire(t.Context(), "p", limiter.Demand{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	left := func() time.Duration {
		held, err := f.redis.ZRangeWithScores(t.Context(), permits, 0, -1).Result()
		if err != nil || len(held) != 1 {
			t.Fatalf("%v, %v", held, err)
		}
		return time.Until(time.UnixMicro(int64(held[0].Score)))
	}
	if d := left(); d < 15*time.Second || d > 31*time.Second {
		t.Errorf("held for %v without another word, want about half a minute", d)
	}
	// Most of that passes, and the call is still under way.
	held := f.redis.ZRange(t.Context(), permits, 0, -1).Val()
	f.redis.ZAdd(t.Context(), permits, redis.Z{Member: held[0], Score: float64(time.Now().Add(time.Second).UnixMicro())})
	s.Renew()
	if d := left(); d < 15*time.Second {
		t.Errorf("held for %v after another word", d)
	}
	s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	s.Renew() // does not take it back
	other, err := f.limiters[1].Acquire(t.Context(), "p", limiter.Demand{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	other.Unused(t.Context())
}
