package limiter_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/policy/limiter"
	"oneflow/policy/rediscall"
	"oneflow/providers"
)

func acquire(t *testing.T, l *limiter.Limiter) *limiter.Slot {
	t.Helper()
	s, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestARefusalStopsTheWholeFleetForAsLongAsTheProviderAsked(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4, providers.Limits{RPS: 40})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var calls []time.Duration // their slots, on Redis' clock
	enough, after := make(chan struct{}), make(chan struct{})
	var until time.Time
	var wg sync.WaitGroup
	for _, l := range f.limiters {
		for range 5 {
			wg.Go(func() {
				for {
					s, err := l.Acquire(ctx, "p", limiter.Demand{}, 1)
					if err != nil {
						return
					}
					mu.Lock()
					calls = append(calls, s.At())
					if len(calls) == 40 {
						close(enough)
					}
					if !until.IsZero() && time.Now().After(until) {
						select {
						case <-after:
						default:
							close(after)
						}
					}
					mu.Unlock()
					s.Done(ctx, providers.Usage{}, providers.RateLimits{})
				}
			})
		}
	}
	<-enough
	s := acquire(t, f.limiters[0])
	clock := func() time.Duration {
		now, err := f.redis.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(now.UnixMicro()) * time.Microsecond
	}
	asked := 2 * time.Second
	before := clock()
	end := s.Refused(t.Context(), &providers.Error{Kind: providers.RateLimited, RetryAfter: asked})
	said := clock()
	mu.Lock()
	until = end
	mu.Unlock()
	<-after
	cancel()
	wg.Wait()
	for _, c := range calls {
		// Each process may have been given its next slot already.
		if c > said+250*time.Millisecond && c < before+asked {
			t.Errorf("a call %v after the refusal, the provider asked for %v", c-said, asked)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.learned) != 1 || !f.learned[0].BlockedUntil.Equal(end) {
		t.Errorf("learned %+v, want the block until %v", f.learned, end)
	}
}

func TestNoMoreCallsAreUnderWayThanAllowedAndNobodyWaitsInVain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4, providers.Limits{Concurrent: 3})
	var running, top, total atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for _, l := range f.limiters {
		l.TrustMessages()
		for range 3 {
			wg.Go(func() {
				for range 5 {
					s := acquire(t, l)
					now := running.Add(1)
					for old := top.Load(); now > old && !top.CompareAndSwap(old, now); old = top.Load() {
					}
					<-time.After(10 * time.Millisecond)
					running.Add(-1)
					total.Add(1)
					s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
				}
			})
		}
	}
	wg.Wait()
	if top.Load() > 3 || total.Load() != 60 {
		t.Errorf("%d at once, %d in all; want at most 3, and 60", top.Load(), total.Load())
	}
	// 200 ms of work; here a single lost message costs half a minute.
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestWithoutRedisCallsStop(t *testing.T) {
	t.Parallel()
	f := &fleet{settings: limiter.Settings{Limits: providers.Limits{RPM: 600}}}
	gone := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { gone.Close() })
	l := f.limiter(t, gone, limiter.Config{})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			began := time.Now()
			_, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 0)
			if _, ok := errors.AsType[*rediscall.UnavailableError](err); !ok {
				t.Errorf("got %v, want that Redis is away", err)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	wg.Wait()
}

func TestARedisThatForgotIsToldAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, providers.Limits{RPM: 600, RPD: 100, TPM: 6000, Concurrent: 10})
	for _, l := range f.limiters {
		acquire(t, l)
	}
	f.mu.Lock()
	f.memory = limiter.Snapshot{LastCall: time.Now(), Running: 2}
	f.memory.Hours[0], f.memory.Hours[20] = 30, 68
	f.mu.Unlock()
	if err := f.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	// No burst: the first call waits for its place, tokens for what was used in the minute before.
	began := time.Now()
	s, err := f.limiters[0].Acquire(t.Context(), "p", limiter.Demand{InputTokens: 100}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited < 700*time.Millisecond {
		t.Errorf("100 tokens of 6000 a minute were free after %v, want about a second", waited)
	}
	s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	acquire(t, f.limiters[1])
	// 98 calls are known, two were sent: the day is used up until those of 20 hours ago leave.
	_, err = f.limiters[1].Acquire(t.Context(), "p", limiter.Demand{}, 0)
	if busy, ok := errors.AsType[*limiter.WaitTooLongError](err); !ok || busy.After < 3*time.Hour || busy.After > 5*time.Hour {
		t.Errorf("got %v, want a wait of 4 hours", err)
	}

	f.mu.Lock()
	f.memory = limiter.Snapshot{BlockedUntil: time.Now().Add(time.Hour)}
	f.mu.Unlock()
	f.redis.FlushDB(t.Context())
	_, err = f.limiters[0].Acquire(t.Context(), "p", limiter.Demand{}, 1)
	if busy, ok := errors.AsType[*limiter.WaitTooLongError](err); !ok || busy.After < 59*time.Minute || busy.After > 61*time.Minute {
		t.Errorf("got %v, want that the provider is still blocked for an hour", err)
	}
}

func TestAChangedLimitCountsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, providers.Limits{RPM: 1})
	l := f.limiters[0]
	acquire(t, l).Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	if wait, err := l.Wait(t.Context(), "p", ""); err != nil || wait < 30*time.Second {
		t.Fatalf("wait %v, %v, want a minute", wait, err)
	}
	f.mu.Lock()
	f.settings.Limits.RPM = 600
	f.mu.Unlock()
	began := time.Now()
	for range 5 {
		acquire(t, l).Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("5 calls at 600 a minute took %v", took)
	}
}

func TestWhoGivesUpWaitingTakesNothingAlong(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, providers.Limits{RPS: 1, Concurrent: 2})
	l := f.limiters[0]
	acquire(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := l.Acquire(ctx, "p", limiter.Demand{}, 0); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that it was cancelled", err)
			}
		})
	}
	cancel()
	wg.Wait()
	// The second permit is free, whoever of the four had it.
	acquire(t, l)
	if permits := f.redis.ZCard(t.Context(), "oneflow:limit:{p}:permits").Val(); permits != 2 {
		t.Errorf("%d permits are held, want 2", permits)
	}
}

func BenchmarkAcquire(b *testing.B) {
	for name, limits := range map[string]providers.Limits{
		"none":            {},
		"requests":        {RPM: 100_000_000},
		"requests+tokens": {RPM: 100_000_000, ITPM: 100_000_000, OTPM: 100_000_000},
		"all":             {RPM: 100_000_000, RPD: 100_000_000, TPM: 100_000_000, Concurrent: 1000},
	} {
		b.Run(name, func(b *testing.B) {
			f := newFleet(b, 4, limits)
			var n atomic.Int64
			b.SetParallelism(16)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				l := f.limiters[int(n.Add(1))%4]
				for pb.Next() {
					s, err := l.Acquire(b.Context(), "p", limiter.Demand{InputTokens: 10, OutputTokens: 10}, 1)
					if err != nil {
						b.Error(err)
						return
					}
					s.Done(b.Context(), providers.Usage{InputTokens: 10, OutputTokens: 5}, providers.RateLimits{})
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "grants/s")
		})
	}
}
