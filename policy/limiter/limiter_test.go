package limiter_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/rs/zerolog"

	"oneflow/internal/storetest"
	"oneflow/policy/limiter"
	"oneflow/providers"
)

// fleet is a number of limiters on one Redis, each as in a process of its own.
type fleet struct {
	redis    *redis.Client
	limiters []*limiter.Limiter

	mu       sync.Mutex
	settings limiter.Settings
	memory   limiter.Snapshot
	learned  []limiter.Learned
}

func newFleet(tb testing.TB, n int, limits providers.Limits) *fleet {
	tb.Helper()
	f := &fleet{redis: client(tb), settings: limiter.Settings{Limits: limits}}
	for range n {
		f.limiters = append(f.limiters, f.limiter(tb, client(tb, f.redis), limiter.Config{}))
	}
	return f
}

// client is a client of its own, on the same database number as another.
func client(tb testing.TB, as ...*redis.Client) *redis.Client {
	tb.Helper()
	var opt *redis.Options
	if len(as) > 0 {
		o := *as[0].Options()
		opt = &o
	} else {
		var err error
		if opt, err = redis.ParseURL(storetest.Redis(tb)); err != nil {
			tb.Fatal(err)
		}
	}
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	c := redis.NewClient(opt)
	tb.Cleanup(func() { c.Close() })
	return c
}

// limiter fills in what cfg leaves open.
func (f *fleet) limiter(tb testing.TB, c redis.UniversalClient, cfg limiter.Config) *limiter.Limiter {
	tb.Helper()
	cfg.Redis, cfg.CallTimeout, cfg.Log = c, max(cfg.CallTimeout, time.Minute), zerolog.Nop()
	cfg.Settings = func(string) limiter.Settings {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.settings
	}
	cfg.Restore = func(context.Context, string, string) (limiter.Snapshot, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.memory, nil
	}
	cfg.Learn = func(_ string, what limiter.Learned) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.learned = append(f.learned, what)
	}
	l, err := limiter.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	return l
}

// sent is one call, at its slot on Redis' clock.
type sent struct {
	at   time.Duration
	cost int64
}

// most returns the most that any window of this length held.
func most(calls []sent, window time.Duration) int64 {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b sent) int { return int(a.at - b.at) })
	var top, sum int64
	first := 0
	for _, c := range calls {
		sum += c.cost
		for calls[first].at <= c.at-window {
			sum -= calls[first].cost
			first++
		}
		top = max(top, sum)
	}
	return top
}

func TestFourProcessesShareALimitEvenlyAndNeverBreakIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4, providers.Limits{RPS: 100})
	var mu sync.Mutex
	var calls []sent
	var wg sync.WaitGroup
	began := time.Now()
	for _, l := range f.limiters {
		for range 10 {
			wg.Go(func() {
				for {
					s, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 1)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					calls = append(calls, sent{s.At(), 1})
					enough := len(calls) >= 300
					mu.Unlock()
					s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
					if enough {
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if top := most(calls, time.Second); top > 100 {
		t.Errorf("%d calls in a second, the limit is 100", top)
	}
	t.Logf("%d calls in %v, at most %d", len(calls), time.Since(began), most(calls, time.Second))
}

func TestACallThatWouldWaitTooLongIsToldForHowLong(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, providers.Limits{RPM: 1})
	l := f.limiters[0]
	if _, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 0)
		busy, ok := errors.AsType[*limiter.WaitTooLongError](err)
		if !ok {
			t.Fatal(err)
		}
		if busy.After < 30*time.Second || busy.After > 61*time.Second {
			t.Errorf("wait %v, want what is left of a minute: what could not be waited for must not be reserved", busy.After)
		}
	}
}
