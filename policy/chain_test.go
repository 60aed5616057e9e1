package policy_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"oneflow/policy"
	"oneflow/policy/breaker"
	"oneflow/providers"
)

// What follows from each kind of failure, as a user sees it.
func TestWhatFollowsFromEachKindOfFailure(t *testing.T) {
	t.Parallel()
	const retried, passedOn, counted, paused, waits = "retried", "passed on", "an attempt", "paused", "waits"
	for kind, want := range map[providers.Kind][]string{
		providers.RateLimited:       {passedOn, waits},
		providers.ConcurrencyLimit:  {passedOn, waits},
		providers.NotAsked:          {passedOn, waits},
		providers.Overloaded:        {retried, passedOn, counted},
		providers.Timeout:           {retried, passedOn, counted},
		providers.Connection:        {retried, passedOn, counted},
		providers.MalformedResponse: {retried, passedOn, counted},
		providers.Unknown:           {retried, passedOn, counted},
		providers.Cancelled:         {retried, counted},
		providers.OutOfMoney:        {passedOn, paused},
		providers.Unauthorised:      {passedOn, paused},
		providers.InvalidRequest:    {counted},
		providers.Moderated:         {counted},
		providers.NotFound:          {counted},
		providers.TooLarge:          {counted},
		providers.Unreadable:        {counted},
		providers.AccessDenied:      {passedOn, paused},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				failing := func(context.Context) (providers.Response, error) {
					return providers.Response{}, &providers.Error{Kind: kind, Status: 499, Billing: providers.Unbilled, Sent: true, RetryAfter: 30 * time.Second}
				}
				var got []string
				a := newService("a", failing)
				w := newWorkers(t, a, newService("b", ok))
				r := ask(t, w.worker(nil), first)
				if kind.Reaction() == providers.Retry && a.calls() == 4 {
					got = append(got, retried)
				} else if a.calls() != 1 {
					t.Errorf("sent %d times", a.calls())
				}
				if r.res.Provider == "b" {
					got = append(got, passedOn)
				} else if _, isError := errors.AsType[*providers.Error](r.err); !isError {
					t.Errorf("%v", r.err)
				}
				switch kind.Reaction() {
				case providers.Wait:
					got = append(got, waits)
				case providers.Pause:
					got = append(got, paused)
				case providers.Retry, providers.Final:
					got = append(got, counted)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}

				// Where the job says so, it goes on even after a final one, or never.
				a = newService("a", failing)
				w = newWorkers(t, a, newService("b", ok))
				s := w.worker(nil)
				always := ask(t, s, providers.Route{Provider: "a", Fallback: providers.FallbackAlways})
				if passes := always.res.Provider == "b"; passes != (kind != providers.Cancelled) {
					t.Errorf("fallback always: %q, %v", always.res.Provider, always.err)
				}
				if never := ask(t, w.worker(nil), providers.Route{Provider: "a", Fallback: providers.FallbackNever}); kindOf(never.err) == "" {
					t.Errorf("fallback never: %q, %v", never.res.Provider, never.err)
				}
			})
		})
	}
}

func TestAnUnknownOutcomeIsNotPaidForTwice(t *testing.T) {
	t.Parallel()
	for name, route := range map[string]providers.Route{"auto": first, "always": {Provider: "a", Fallback: providers.FallbackAlways}} {
		for _, billing := range []providers.Billing{providers.BillingUnknown, providers.Billed} {
			for _, kind := range []providers.Kind{providers.Timeout, providers.Moderated} {
				t.Run(name+" "+string(billing)+" "+string(kind), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						a, b := newService("a", func(context.Context) (providers.Response, error) {
							return providers.Response{}, &providers.Error{Kind: kind, Billing: billing, Sent: true}
						}), newService("b", ok)
						w := newWorkers(t, a, b)
						r := ask(t, w.worker(nil), route)
						if kindOf(r.err) != kind || a.calls() != 1 || b.calls() != 0 {
							t.Errorf("%v after %v", r.err, r.calls)
						}
						// Also where another was passed over before.
						w.set("b", settings{Settings: policy.Settings{Unavailable: true}})
						r = ask(t, w.worker(nil), providers.Route{Provider: "a", Chain: []string{"b", "a", "c"}, Fallback: route.Fallback})
						chain, _ := errors.AsType[*providers.ChainError](r.err)
						if chain == nil || chain.Decisive().Kind != kind || a.calls() != 2 {
							t.Errorf("%v after %v", r.err, r.calls)
						}
					})
				})
			}
		}
	}
}

func TestWhoIsPassedOverAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(w *workers, cfg *policy.Config)
		kind    providers.Kind
	}{
		"unavailable": {func(w *workers, _ *policy.Config) { w.set("a", settings{Settings: policy.Settings{Unavailable: true}}) }, providers.NotAsked},
		"held open": {func(w *workers, _ *policy.Config) {
			w.set("a", settings{Settings: policy.Settings{Breaker: breaker.Open}})
		}, providers.NotAsked},
		"blocked": {func(w *workers, _ *policy.Config) {
			w.set("a", settings{Settings: policy.Settings{BlockedUntil: time.Now().Add(5 * time.Second)}})
		}, providers.RateLimited},
		"not served": {func(_ *workers, cfg *policy.Config) { cfg.Providers = cfg.Providers[1:] }, providers.NotFound},
		"cannot do it": {func(_ *workers, cfg *policy.Config) {
			cfg.Translate = func(_, to string, req providers.Request) (providers.Request, error) {
				if to == "a" {
					return req, errors.New("it cannot do the request's stop")
				}
				return req, nil
			}
		}, providers.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := newService("a", ok), newService("b", ok)
				w := newWorkers(t, a, b)
				route := providers.Route{Provider: "b", Chain: []string{"a", "b"}}
				s := w.worker(func(cfg *policy.Config) { c.prepare(w, cfg) })
				began := time.Now()
				if r := ask(t, s, route); r.err != nil || r.res.Provider != "b" || a.calls() != 0 || time.Since(began) > 10*time.Millisecond {
					t.Errorf("%q, %v after %d calls to the other and %s", r.res.Provider, r.err, a.calls(), time.Since(began))
				}
				b.now(refuses(providers.Overloaded, 503))
				chain, _ := errors.AsType[*providers.ChainError](ask(t, s, route).err)
				if chain == nil || len(chain.Failures) != 2 || chain.Failures[0].Kind != c.kind || chain.Failures[0].Sent || !strings.Contains(chain.Error(), "enqueue status") {
					t.Errorf("%v", chain)
				}
			})
		})
	}
}

func TestAnEmptyAccountIsLeftAloneAndReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", refuses(providers.OutOfMoney, 402))
		w := newWorkers(t, a, newService("b", ok))
		s := w.worker(nil)
		for range 5 {
			if r := ask(t, s, first); r.err != nil || r.res.Provider != "b" {
				t.Errorf("%q, %v", r.res.Provider, r.err)
			}
		}
		never := ask(t, s, providers.Route{Provider: "a", Fallback: providers.FallbackNever})
		if kindOf(never.err) != providers.OutOfMoney || a.calls() != 1 {
			t.Errorf("%v after %d calls", never.err, a.calls())
		}
		if l := w.learned["a"]; len(l) != 1 || !l[0].OutOfMoney {
			t.Errorf("learned %+v", l)
		}
		a.now(ok)
		pass(time.Minute)
		if r := ask(t, s, first); r.err != nil || r.res.Provider != "a" {
			t.Errorf("%q, %v once there is money", r.res.Provider, r.err)
		}
	})
}

func TestTheChainIsTheJobsOwnElseTheTasks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		route providers.Route
		want  []string
	}{
		"the task's, without repetition": {providers.Route{Provider: "b"}, []string{"b", "a", "c"}},
		"the job's":                      {providers.Route{Provider: "b", Chain: []string{"c", "b", "c"}}, []string{"c", "b"}},
		"never":                          {providers.Route{Provider: "b", Fallback: providers.FallbackNever}, []string{"b"}},
		"the job's and never":            {providers.Route{Provider: "b", Chain: []string{"c", "b"}, Fallback: providers.FallbackNever}, []string{"c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				no := refuses(providers.RateLimited, 429)
				w := newWorkers(t, newService("a", no), newService("b", no), newService("c", no))
				s := w.worker(func(cfg *policy.Config) {
					cfg.Limiter, cfg.Redis = nil, nil
					cfg.Chain = func(providers.Task) []string { return []string{"a", "b", "c"} }
				})
				if r := ask(t, s, c.route); !slices.Equal(slices.Compact(r.calls), c.want) {
					t.Errorf("asked %v, want %v", slices.Compact(r.calls), c.want)
				}
			})
		})
	}
}

func TestAFinalFailureOfAnotherProviderDoesNotFailTheJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, c := newService("a", refuses(providers.Overloaded, 503)), newService("b", refuses(providers.NotFound, 404)), newService("c", ok)
		w := newWorkers(t, a, b, c)
		route := providers.Route{Provider: "a", Chain: []string{"a", "b", "c"}}
		r := ask(t, w.worker(nil), route)
		chain, _ := errors.AsType[*providers.ChainError](r.err)
		if chain == nil || chain.Decisive().Kind != providers.Overloaded || c.calls() != 0 {
			t.Errorf("%v after %v", r.err, r.calls)
		}
		want := "no provider did it: a: overloaded (HTTP 503); b: not found (HTTP 404) (`enqueue status` with the job's id shows each call)"
		if diff := cmp.Diff(want, r.err.Error()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLimitsOfOurOwnAreNoReasonToAskAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newService("a", ok), newService("b", ok)
		w := newWorkers(t, a, b)
		w.set("a", settings{Limits: providers.Limits{RPM: 4}})
		s := w.worker(nil)
		var mu sync.Mutex
		var waits int
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				r := ask(t, s, first)
				e, isError := errors.AsType[*providers.Error](r.err)
				mu.Lock()
				defer mu.Unlock()
				if isError && e.Kind == providers.RateLimited && e.RetryAfter > 0 && len(r.calls) == 0 {
					waits++
				} else if r.err != nil {
					t.Errorf("%v", r.err)
				}
			})
		}
		wg.Wait()
		if waits < 8 || b.calls() != 0 {
			t.Errorf("%d wait, %d went to the other", waits, b.calls())
		}
	})
}

func TestTheLedgersRefusalEndsTheChain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newService("a", refuses(providers.Overloaded, 503)), newService("b", ok)
		w := newWorkers(t, a, b)
		_, err := w.worker(nil).Generate(t.Context(), first, providers.Request{Task: providers.Text, Prompt: "p"}, &open{most: 2})
		if !errors.Is(err, errTooMany) || a.calls() != 2 || b.calls() != 0 {
			t.Errorf("%v after %d and %d calls", err, a.calls(), b.calls())
		}
	})
}

func TestWhatIsAskedOfAnotherIsTranslatedAndNothingOfItIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newService("a", refuses(providers.Overloaded, 503)), newService("b", ok)
		w := newWorkers(t, a, b)
		var log bytes.Buffer
		s := w.worker(func(cfg *policy.Config) {
			cfg.Log = zerolog.New(&log)
			cfg.Translate = func(from, to string, req providers.Request) (providers.Request, error) {
				req.Model = from + " in " + to
				return req, nil
			}
		})
		res, err := s.Generate(t.Context(), first, providers.Request{Task: providers.Text, Prompt: "canary", Model: "m"}, &open{})
		if err != nil || res.Provider != "b" || a.asked[0].Model != "m" || b.asked[0].Model != "a in b" || b.asked[0].Prompt != "canary" {
			t.Errorf("%v, asked for %q and %q", err, a.asked[0].Model, b.asked[0].Model)
		}
		if !strings.Contains(log.String(), `"provider":"b","instead_of":"a","kind":"overloaded"`) || strings.Contains(log.String(), "canary") {
			t.Errorf("log: %s", log.String())
		}
	})
}

func TestRefusalsWithoutEndAreHandedBackToTheQueueByTheLimiterToo(t *testing.T) {
	t.Parallel()
	for _, kind := range []providers.Kind{providers.RateLimited, providers.ConcurrencyLimit} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newService("a", refuses(kind, 429))
				w := newWorkers(t, a)
				w.set("a", settings{Limits: providers.Limits{Concurrent: 5}})
				began := time.Now()
				r := ask(t, w.worker(nil), providers.Route{Provider: "a"})
				if e, isError := errors.AsType[*providers.Error](r.err); !isError || e.Kind.Reaction() != providers.Wait || a.calls() > 10 || time.Since(began) > 30*time.Second {
					t.Errorf("%v after %d calls and %s", r.err, a.calls(), time.Since(began))
				}
			})
		})
	}
}
