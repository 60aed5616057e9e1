package policy_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/policy"
	"oneflow/policy/breaker"
	"oneflow/policy/limiter"
	"oneflow/providers"
)

// sites is a provider of two deployments, which answer as they are told.
type sites struct {
	mu     sync.Mutex
	calls  map[string]int
	answer map[string]func(context.Context) (providers.Response, error)
}

func (*sites) Name() string { return "a" }

func (s *sites) Generate(ctx context.Context, _ providers.Request) (providers.Response, error) {
	place := providers.DeploymentOfScope(providers.ScopeOf(ctx))
	s.mu.Lock()
	s.calls[place]++
	answer := s.answer[place]
	s.mu.Unlock()
	return answer(ctx)
}

// now has a deployment answer otherwise from now on, and returns the calls of before.
func (s *sites) now(place string, answer func(context.Context) (providers.Response, error)) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.calls
	s.calls = map[string]int{}
	s.answer[place] = answer
	return before
}

// newSites returns a worker of a provider with the deployments east and west.
func newSites(t *testing.T, limits map[string]providers.Limits) (*workers, *sites, *policy.Chains) {
	t.Helper()
	two := &sites{calls: map[string]int{}, answer: map[string]func(context.Context) (providers.Response, error){"east": ok, "west": ok}}
	w := newWorkers(t)
	w.services = []providers.Provider{two}
	c := w.client()
	slots, err := limiter.New(limiter.Config{
		Redis: c, CallTimeout: time.Minute, Settings: func(string) limiter.Settings { return limiter.Settings{} },
		Restore: func(context.Context, string, string) (limiter.Snapshot, error) { return limiter.Snapshot{}, nil },
		Scopes: func(_, model string) (string, []limiter.Scope) {
			var list []limiter.Scope
			for _, place := range []string{"east", "west"} {
				list = append(list, limiter.Scope{Name: providers.ScopeName(model, place, ""), Settings: limiter.Settings{Limits: limits[place]}})
			}
			return model, list
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(slots.Close)
	return w, two, w.worker(func(cfg *policy.Config) {
		cfg.Deployments = map[string][]string{"a": {"east", "west"}}
		cfg.Limiter = slots
	})
}

func TestADeploymentThatIsDownDoesNotShutTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fast := map[string]providers.Limits{"east": {RPM: 6000}, "west": {RPM: 6000}}
		w, two, s := newSites(t, fast)
		two.now("east", refuses(providers.Overloaded, 503))
		for range 60 {
			if err := ask(t, s, first).err; err != nil {
				t.Fatalf("%v, want an answer of the deployment that works", err)
			}
		}
		synctest.Wait()
		before := two.now("east", ok)
		if before["east"] < 5 || before["east"] > 20 || before["west"] != 60 {
			t.Errorf("calls %v: a failure is repeated elsewhere, and ten of them open the breaker of that deployment", before)
		}
		for place, want := range map[string]breaker.State{"a/east": breaker.Open, "a/west": breaker.Closed} {
			if st, err := breaker.Read(t.Context(), w.client(), place); err != nil || st.State != want {
				t.Errorf("%s: %+v, %v", place, st, err)
			}
		}
		if states := w.heard("a"); len(states) != 0 {
			t.Errorf("the provider's breaker is said to be %v", states)
		}
		pass(time.Minute)
		for range 60 {
			if err := ask(t, s, first).err; err != nil {
				t.Fatal(err)
			}
			pass(100 * time.Millisecond)
		}
		if after := two.now("east", ok); after["east"] < 20 || after["east"]+after["west"] != 60 {
			t.Errorf("calls %v, want both used again", after)
		}
	})
}

func TestWhereAllDeploymentsAreDownTheProviderIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, two, s := newSites(t, map[string]providers.Limits{"east": {RPM: 6000}, "west": {RPM: 6000}})
		two.now("east", refuses(providers.Overloaded, 503))
		two.now("west", refuses(providers.Overloaded, 503))
		var err error
		for range 30 {
			if err = ask(t, s, first).err; err == nil {
				t.Fatal("an answer")
			}
			synctest.Wait()
		}
		if e := providers.AsError("a", err); e.Waiting == nil || e.Waiting.For != providers.WaitForBreaker {
			t.Errorf("%v, want a wait for the breaker", err)
		}
		if states := w.heard("a"); !slices.Contains(states, breaker.Open) {
			t.Errorf("the provider's breaker is said to be %v", states)
		}
		two.now("west", ok)
		pass(15 * time.Second)
		for range 5 {
			_ = ask(t, s, first)
			pass(2 * time.Second)
		}
		if states := w.heard("a"); states[len(states)-1] != breaker.Closed {
			t.Errorf("the provider's breaker is said to be %v, and one deployment answers", states)
		}
	})
}

func TestARefusalOfOneDeploymentSendsACallToAnother(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]func(context.Context) (providers.Response, error){
		"for the rate, for longer than a job waits": func(context.Context) (providers.Response, error) {
			return providers.Response{}, &providers.Error{Kind: providers.RateLimited, Status: 429, Billing: providers.Unbilled, Sent: true, RetryAfter: 50 * time.Second}
		},
		"a failure": refuses(providers.Overloaded, 500),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, two, s := newSites(t, map[string]providers.Limits{"east": {RPM: 600}, "west": {RPM: 600}})
				two.now("east", refusal)
				for range 3 {
					if err := ask(t, s, first).err; err != nil {
						t.Errorf("%v, want the answer of the other", err)
					}
				}
				if calls := two.now("east", ok); calls["west"] != 3 || calls["east"] == 0 {
					t.Errorf("calls %v", calls)
				}
			})
		})
	}
}

func TestADeploymentWithoutCreditOrKeyIsLeftAloneAndTheOthersAreNot(t *testing.T) {
	t.Parallel()
	for kind, status := range map[providers.Kind]int{providers.OutOfMoney: 429, providers.Unauthorised: 401} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, two, s := newSites(t, map[string]providers.Limits{"east": {RPM: 6000}, "west": {RPM: 6000}})
				two.now("east", refuses(kind, status))
				failed := 0
				for range 20 {
					if ask(t, s, first).err != nil {
						failed++
					}
				}
				if calls := two.now("east", refuses(kind, status)); failed > 1 || calls["east"] > 1 || calls["west"] < 19 {
					t.Errorf("%d failed; calls %v, want one at the deployment that refuses", failed, calls)
				}
				w.mu.Lock()
				for _, l := range w.learned["a"] {
					if l.OutOfMoney {
						t.Errorf("the whole provider was said to be out of credit: %+v", l)
					}
				}
				w.mu.Unlock()
				two.now("west", refuses(kind, status))
				for range 3 {
					_ = ask(t, s, first)
				}
				if calls := two.now("east", ok); calls["east"]+calls["west"] > 1 {
					t.Errorf("calls %v after both have refused", calls)
				}
			})
		})
	}
}
