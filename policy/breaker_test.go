package policy_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/internal/storetest"
	"oneflow/policy"
	"oneflow/policy/breaker"
	"oneflow/providers"
)

func TestABrokenProviderIsLeftAloneAfterTwentyCallsOfTheFleet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", after(100*time.Millisecond, refuses(providers.Unknown, 500)))
		b := newService("b", after(200*time.Millisecond, ok))
		w := newWorkers(t, a, b)
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
		if states := w.heard("a"); !slices.Equal(states, []breaker.State{breaker.Open}) {
			t.Errorf("heard %v", states)
		}
		t.Logf("%d calls to the broken one, in %s", a.calls(), time.Since(began))
	})
}

func TestAProviderThatBreaksUnderLoadIsLeftAloneSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", after(100*time.Millisecond, ok))
		w := newWorkers(t, a, newService("b", after(100*time.Millisecond, ok)))
		w.set("a", settings{Limits: providers.Limits{RPS: 40}})
		broke := make(chan time.Time, 1)
		time.AfterFunc(10*time.Second, func() {
			a.now(after(100*time.Millisecond, refuses(providers.Unknown, 500)))
			broke <- time.Now()
		})
		all := rush(t, w.workers(4), 4, lasting(18*time.Second))
		if n := len(a.since(<-broke)); n > 20 {
			t.Errorf("called %d times after it broke", n)
		}
		for _, r := range all {
			if r.err != nil {
				t.Fatalf("a job ended with %v", r.err)
			}
		}
	})
}

func TestProbesAreOneASecondAtMostAndTrafficReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := after(300*time.Millisecond, refuses(providers.Overloaded, 503))
		a := newService("a", broken)
		w := newWorkers(t, a, newService("b", after(time.Second, ok)))
		sets := w.workers(4)
		began := time.Now()
		rush(t, sets, 10, lasting(3*time.Minute))
		probes := a.since(began.Add(10 * time.Second))
		if len(probes) < 3 || len(probes) > 10 {
			t.Errorf("%d probes in 3 minutes", len(probes))
		}
		a.now(after(5*time.Second, ok)) // and slow, so that probes could pile up
		healed := time.Now()
		var back time.Time
		for _, r := range rush(t, sets, 10, lasting(2*time.Minute)) {
			if r.err != nil {
				t.Fatalf("a job ended with %v", r.err)
			}
			if r.res.Provider == "a" && (back.IsZero() || r.at.Before(back)) {
				back = r.at
			}
		}
		if back.IsZero() || back.Sub(healed) > 70*time.Second {
			t.Errorf("traffic was back after %s", back.Sub(healed))
		}
		all := a.since(began.Add(10 * time.Second))
		for i := 1; i < len(all) && all[i].Before(back); i++ {
			if gap := all[i].Sub(all[i-1]); gap < time.Second {
				t.Errorf("a probe %s after another", gap)
			}
		}
		if late := len(a.since(time.Now().Add(-30 * time.Second))); late < 100 {
			t.Errorf("%d calls in the last 30 s, want the traffic back", late)
		}
		states := w.heard("a")
		if len(states) < 5 || states[0] != breaker.Open || states[1] != breaker.HalfOpen || states[len(states)-1] != breaker.Closed {
			t.Errorf("heard %v", states)
		}
	})
}

func TestAProbeWithoutAnswerHoldsTheOthersBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", after(10*time.Millisecond, refuses(providers.Overloaded, 503)))
		w := newWorkers(t, a, newService("b", after(time.Second, ok)))
		sets := w.workers(4)
		began := time.Now()
		rush(t, sets, 10, lasting(5*time.Second))
		a.now(func(ctx context.Context) (providers.Response, error) { <-ctx.Done(); return after(0, ok)(ctx) })
		rush(t, sets, 10, lasting(30*time.Second))
		if n := len(a.since(began.Add(9 * time.Second))); n != 1 || a.most != 1 {
			t.Errorf("%d probes, %d at once, want the one", n, a.most)
		}
	})
}

func TestWhatSaysNothingOfTheProviderMovesNoBreaker(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind   providers.Kind
		status int
	}{
		"moderated": {providers.Moderated, 400}, "invalid": {providers.InvalidRequest, 400}, "unknown model": {providers.NotFound, 404},
		"too large": {providers.TooLarge, 413}, "throttled": {providers.RateLimited, 429}, "crowded": {providers.ConcurrencyLimit, 429},
		"no money": {providers.OutOfMoney, 402}, "no right": {providers.Unauthorised, 403}, "cut off": {providers.Cancelled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newService("a", after(10*time.Millisecond, refuses(c.kind, c.status)))
				w := newWorkers(t, a)
				s := w.worker(nil)
				for range 30 {
					ask(t, s, providers.Route{Provider: "a"})
					pass(time.Second)
				}
				if states := w.heard("a"); len(states) != 0 {
					t.Errorf("heard %v after %d calls", states, a.calls())
				}
			})
		})
	}
}

// trip opens a's breaker.
func trip(t *testing.T, w *workers, a *service, s *policy.Chains) {
	t.Helper()
	a.now(after(time.Millisecond, refuses(providers.Overloaded, 503)))
	for len(w.heard("a")) == 0 {
		ask(t, s, first)
	}
	if st, err := breaker.Read(t.Context(), w.client(), "a"); err != nil || st.State != breaker.Open || !st.NextProbe.After(time.Now()) || st.Failures < 9 {
		t.Fatalf("%+v, %v", st, err)
	}
}

func TestAThrottledProbeOpensAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a, newService("b", ok))
		s := w.worker(nil)
		trip(t, w, a, s)
		a.now(refuses(providers.RateLimited, 429))
		pass(11 * time.Second)
		ask(t, s, first)
		synctest.Wait()
		want := []breaker.State{breaker.Open, breaker.HalfOpen, breaker.Open}
		if states := w.heard("a"); !slices.Equal(states, want) {
			t.Errorf("heard %v", states)
		}
		if st, err := breaker.Read(t.Context(), w.client(), "a"); err != nil || time.Until(st.NextProbe) < 15*time.Second {
			t.Errorf("it is open until %s, %v, want longer than the first time", st.NextProbe, err)
		}
	})
}

func TestAProbeThatIsCutOffIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a, newService("b", ok))
		s := w.worker(nil)
		trip(t, w, a, s)
		calls, cutOff := context.WithCancel(t.Context())
		dying := w.worker(func(c *policy.Config) { c.Calls = calls })
		a.now(after(time.Hour, ok))
		pass(11 * time.Second)
		time.AfterFunc(5*time.Second, cutOff)
		ask(t, dying, first)
		a.now(ok)
		pass(time.Second)
		if r := ask(t, s, first); r.err != nil || r.res.Provider != "a" {
			t.Errorf("%q, %v", r.res.Provider, r.err)
		}
	})
}

func TestWorkersHearOfAnOpenBreakerWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a, newService("b", ok))
		one, two := w.worker(nil), w.worker(nil)
		if r := ask(t, two, first); r.res.Provider != "a" {
			t.Fatalf("%+v", r)
		}
		trip(t, w, a, one)
		a.now(ok)
		pass(2 * time.Second)
		if r := ask(t, two, first); r.res.Provider != "b" || r.err != nil {
			t.Errorf("%q, %v", r.res.Provider, r.err)
		}
		if err := w.client().Del(t.Context(), "oneflow:breaker:{a}").Err(); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if r := ask(t, two, first); r.res.Provider != "a" || r.err != nil {
			t.Errorf("%q, %v after a reset", r.res.Provider, r.err)
		}
	})
}

func TestAPersonHoldsTheBreakerOpenOrClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a, newService("b", ok))
		s := w.worker(nil)
		w.set("a", settings{Settings: policy.Settings{Breaker: breaker.Open}})
		if r := ask(t, s, first); r.res.Provider != "b" || a.calls() != 0 {
			t.Errorf("held open: %q after %d calls", r.res.Provider, a.calls())
		}
		w.set("a", settings{})
		trip(t, w, a, s)
		a.now(ok)
		w.set("a", settings{Settings: policy.Settings{Breaker: breaker.Closed}})
		if r := ask(t, s, first); r.res.Provider != "a" {
			t.Errorf("held closed: %q, %v", r.res.Provider, r.err)
		}
	})
}

func TestNothingIsSentWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	for name, limited := range map[string]bool{"limiter and breaker": true, "breaker alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := newService("a", ok), newService("b", ok)
				w := newWorkers(t, a, b)
				s := w.worker(func(c *policy.Config) {
					if !limited {
						c.Limiter = nil
					}
				})
				if r := ask(t, s, first); r.err != nil {
					t.Fatal(r.err)
				}
				w.redis.SetError("LOADING Redis is away")
				pass(2 * time.Second)
				for range 3 {
					r := ask(t, s, first)
					e, isError := errors.AsType[*providers.Error](r.err)
					if !isError || e.Kind.Reaction() != providers.Wait || e.RetryAfter < time.Second || len(r.calls) != 0 {
						t.Errorf("%v after calls of %v, want a wait", r.err, r.calls)
					}
				}
				w.redis.SetError("")
				pass(2 * time.Second)
				if r := ask(t, s, first); r.err != nil || a.calls() != 2 || b.calls() != 0 {
					t.Errorf("%v after %d and %d calls", r.err, a.calls(), b.calls())
				}
			})
		})
	}
}

func TestFailuresThatRedisDidNotHearOfAreToldLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a)
		s := w.worker(func(c *policy.Config) { c.Limiter = nil })
		if r := ask(t, s, first); r.err != nil {
			t.Fatal(r.err)
		}
		synctest.Wait() // the worker knows that all is well
		a.now(func(ctx context.Context) (providers.Response, error) {
			w.redis.SetError("LOADING Redis is away")
			return after(time.Second, refuses(providers.Overloaded, 503))(ctx)
		})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { ask(t, s, providers.Route{Provider: "a"}) })
		}
		wg.Wait()
		w.redis.SetError("")
		pass(10 * time.Second)
		if st, err := breaker.Read(t.Context(), w.client(), "a"); err != nil || st.Failures != 10 || st.State != breaker.Open {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

// The bubbles run the script in miniredis; this is Redis.
func TestTheBreakerInARealRedis(t *testing.T) {
	t.Parallel()
	c := storetest.Client(t, storetest.Redis(t))
	a, b := newService("a", refuses(providers.Overloaded, 503)), newService("b", ok)
	s, err := policy.New(policy.Config{
		Providers: []providers.Provider{a, b}, CallTimeout: time.Minute, Calls: t.Context(), Redis: c,
		Backoff: func(int) time.Duration { return time.Millisecond },
		Chain:   func(providers.Task) []string { return []string{"a", "b"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if r := ask(t, s, first); r.err != nil || r.res.Provider != "b" {
				t.Errorf("%q, %v", r.res.Provider, r.err)
			}
		})
	}
	wg.Wait()
	if n := a.calls(); n < 10 || n > 20 {
		t.Errorf("%d calls to the broken one", n)
	}
	st, err := breaker.Read(t.Context(), c, "a")
	if err != nil || st.State != breaker.Open || st.Failures < 10 || !st.NextProbe.After(time.Now()) {
		t.Errorf("%+v, %v", st, err)
	}
	if err := c.Del(t.Context(), "oneflow:breaker:{a}").Err(); err != nil {
		t.Fatal(err)
	}
	if st, err = breaker.Read(t.Context(), c, "a"); err != nil || st != (breaker.Status{State: breaker.Closed}) {
		t.Errorf("%+v, %v after a reset", st, err)
	}
}

func TestProbesThatSayNothingAreASecondApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a, newService("b", after(100*time.Millisecond, ok)))
		sets := w.workers(4)
		trip(t, w, a, sets[0])
		a.now(after(10*time.Millisecond, refuses(providers.Unauthorised, 403)))
		began := time.Now()
		rush(t, sets, 2, lasting(20*time.Second))
		probes := a.since(began)
		if len(probes) < 5 || len(probes) > 15 {
			t.Errorf("%d probes in the 10 s and a few after it was open", len(probes))
		}
		for i := 1; i < len(probes); i++ {
			if gap := probes[i].Sub(probes[i-1]); gap < time.Second {
				t.Errorf("a probe %s after another", gap)
			}
		}
	})
}
