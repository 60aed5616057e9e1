package policy_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/policy"
	"oneflow/policy/breaker"
	"oneflow/providers"
)

// Whoever is handed back is told what is waited for, and until when.
func TestAWaitSaysWhatItIsForAndUntilWhen(t *testing.T) {
	t.Parallel()
	limited := func(l providers.Limits) func(*testing.T, *workers, *policy.Chains) {
		return func(t *testing.T, w *workers, s *policy.Chains) {
			t.Helper()
			w.set("a", settings{Limits: l})
			ask(t, s, providers.Route{Provider: "a"})
		}
	}
	for name, c := range map[string]struct {
		prepare   func(t *testing.T, w *workers, s *policy.Chains)
		reason    providers.WaitReason
		dimension providers.Dimension
		from, to  time.Duration // until it is over
	}{
		"requests a minute": {limited(providers.Limits{RPM: 1}), providers.WaitForLimit, providers.DimensionRPM, 55 * time.Second, 65 * time.Second},
		"requests a day":    {limited(providers.Limits{RPD: 1}), providers.WaitForLimit, providers.DimensionRPD, 23 * time.Hour, 25 * time.Hour},
		"a block": {func(t *testing.T, w *workers, s *policy.Chains) {
			t.Helper()
			w.set("a", settings{Limits: providers.Limits{RPM: 600}})
			a := w.services[0].(*service)
			a.now(func(context.Context) (providers.Response, error) {
				return providers.Response{}, &providers.Error{Kind: providers.RateLimited, Status: 429, Billing: providers.Unbilled, Sent: true, RetryAfter: 40 * time.Second}
			})
			ask(t, s, providers.Route{Provider: "a"})
		}, providers.WaitForBlock, "", 39 * time.Second, 41 * time.Second},
		"an open breaker": {func(t *testing.T, w *workers, s *policy.Chains) {
			t.Helper()
			trip(t, w, w.services[0].(*service), s)
		}, providers.WaitForBreaker, "", 6 * time.Second, 11 * time.Second},
		"a disabled provider": {func(_ *testing.T, w *workers, _ *policy.Chains) {
			w.set("a", settings{Settings: policy.Settings{Unavailable: true, By: "ann"}})
		}, providers.WaitForOperator, "", 0, 0},
		"a breaker that is held open": {func(_ *testing.T, w *workers, _ *policy.Chains) {
			w.set("a", settings{Settings: policy.Settings{Breaker: breaker.Open}})
		}, providers.WaitForOperator, "", 0, 0},
		"Redis": {func(_ *testing.T, w *workers, _ *policy.Chains) {
			w.redis.SetError("LOADING Redis is away")
		}, providers.WaitForRedis, "", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newService("a", ok)
				w := newWorkers(t, a)
				s := w.worker(nil)
				c.prepare(t, w, s)
				calls := a.calls()
				r := ask(t, s, providers.Route{Provider: "a", Urgency: 1})
				failure, _ := errors.AsType[*providers.Error](r.err)
				if failure == nil || failure.Waiting == nil || failure.Sent || failure.Kind.Reaction() != providers.Wait || a.calls() != calls {
					t.Fatalf("%v after %d more calls, want a wait", r.err, a.calls()-calls)
				}
				got := failure.Waiting
				if got.For != c.reason || got.Dimension != c.dimension {
					t.Errorf("waits for %q, %q, want %q, %q", got.For, got.Dimension, c.reason, c.dimension)
				}
				if until := time.Until(got.Until); c.to > 0 && !within(until, c.from, c.to) || c.to == 0 && !got.Until.IsZero() {
					t.Errorf("until %v from now, want from %v to %v", until, c.from, c.to)
				}
				if c.reason == providers.WaitForBreaker && !within(time.Since(got.Since), 0, 5*time.Second) {
					t.Errorf("open since %v, want just now", got.Since)
				}
				if name == "a disabled provider" && got.By != "ann" {
					t.Errorf("disabled by %q", got.By)
				}
			})
		})
	}
}

// The wait is what the provider asked for, whatever else its headers say.
func TestTheNextCallIsMadeWhenTheProviderAskedForIt(t *testing.T) {
	t.Parallel()
	for _, limited := range []providers.Limits{{RPM: 600}, {TPM: 60_000, RPM: 6000}, {}} {
		for _, asked := range []time.Duration{350 * time.Millisecond, time.Second, 6 * time.Second, 20 * time.Second, 90 * time.Second} {
			t.Run(asked.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a := newService("a", after(100*time.Millisecond, ok))
					w := newWorkers(t, a)
					w.set("a", settings{Limits: limited})
					sets := w.workers(4)
					said := providers.RateLimits{
						Requests: &providers.RateLimit{Limit: 600, Remaining: 0, Reset: asked}, Tokens: &providers.RateLimit{Limit: 60_000, Remaining: 0, Reset: asked},
					}
					refused := make(chan time.Time, 1)
					time.AfterFunc(2*time.Second, func() {
						var refusing atomic.Bool
						a.now(func(ctx context.Context) (providers.Response, error) {
							if res, err := after(100*time.Millisecond, ok)(ctx); err != nil || !refusing.CompareAndSwap(false, true) {
								return res, err
							}
							refused <- time.Now()
							return providers.Response{}, &providers.Error{
								Kind: providers.RateLimited, Status: 429, Billing: providers.Unbilled, Sent: true, RetryAfter: asked, Limits: said,
							}
						})
					})
					rush(t, sets, 5, lasting(asked+5*time.Second))
					at := <-refused
					after := a.since(at.Add(110 * time.Millisecond)) // others were sent before they could know
					if len(after) == 0 {
						t.Fatal("no call was made any more")
					}
					if got := after[0].Sub(at); got < asked-50*time.Millisecond || got > asked+time.Second {
						t.Errorf("the next call came after %v, asked for were %v", got, asked)
					}
				})
			})
		}
	}
}
