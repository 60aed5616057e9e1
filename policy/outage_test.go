package policy_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/policy"
	"oneflow/providers"
)

func TestOneRefusalStopsTheFleetAndCostsNoAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", after(100*time.Millisecond, ok))
		w := newWorkers(t, a)
		w.set("a", settings{Limits: providers.Limits{RPS: 50}})
		sets := w.workers(4)
		var once sync.Once
		refused := make(chan time.Time, 1)
		time.AfterFunc(5*time.Second, func() {
			a.now(func(ctx context.Context) (res providers.Response, err error) {
				res, err = after(100*time.Millisecond, ok)(ctx)
				once.Do(func() {
					refused <- time.Now()
					err = &providers.Error{Kind: providers.RateLimited, Status: 429, Billing: providers.Unbilled, Sent: true, RetryAfter: 20 * time.Second}
				})
				return res, err
			})
		})
		all := rush(t, sets, 5, lasting(40*time.Second))
		at := <-refused
		sent := a.since(at.Add(time.Millisecond)) // what was sent in the same moment did not know
		if len(sent) == 0 || sent[0].Sub(at) < 20*time.Second || sent[0].Sub(at) > 25*time.Second {
			t.Fatalf("the next call was sent %s after the refusal", sent[0].Sub(at))
		}
		if n := len(a.since(at.Add(25 * time.Second))); n < 400 {
			t.Errorf("%d calls in the last 10 s, want them all to go on", n)
		}
		for _, r := range all {
			if e, isError := errors.AsType[*providers.Error](r.err); r.err != nil && (!isError || e.Kind.Reaction() != providers.Wait) {
				t.Errorf("a job ended with %v", r.err)
			}
		}
	})
}

func TestWithAllProvidersDownCallsAreFewAndJobsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newService("a", after(50*time.Millisecond, refuses(providers.Unknown, 500))), newService("b", after(50*time.Millisecond, refuses(providers.Overloaded, 529)))
		w := newWorkers(t, a, b)
		sets := w.workers(4)
		var mu sync.Mutex
		done, calls := 0, 0
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				j := &open{most: 20}
				for {
					res, err := sets[i%4].Generate(t.Context(), first, providers.Request{Task: providers.Text, Prompt: "p"}, j)
					if err == nil && res.Text == "answer" {
						break
					}
					wait := 15 * time.Second
					if chain, ok := errors.AsType[*providers.ChainError](err); ok {
						wait = max(chain.Decisive().RetryAfter, time.Second)
					} else if _, ok := errors.AsType[*providers.Error](err); !ok {
						t.Errorf("a job ended with %v", err)
						return
					}
					pass(wait)
				}
				mu.Lock()
				defer mu.Unlock()
				done++
				calls = max(calls, len(j.calls))
			})
		}
		pass(5 * time.Minute)
		if n := a.calls() + b.calls(); n > 60 {
			t.Errorf("%d calls in 5 minutes", n)
		}
		a.now(after(50*time.Millisecond, ok))
		wg.Wait()
		if done != 60 || calls > 20 {
			t.Errorf("%d jobs are done, with at most %d calls", done, calls)
		}
	})
}

func TestAProviderWithoutAKeyIsPassedOverAndWaitedForWhereItIsTheJobsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newService("a", ok), newService("b", ok)
		w := newWorkers(t, a, b)
		s := w.worker(nil)
		w.set("a", settings{Settings: policy.Settings{NoKey: true}})
		if r := ask(t, s, first); r.res.Provider != "b" || a.calls() != 0 {
			t.Errorf("%+v, %v, want the next one to answer", r.res, r.err)
		}
		r := ask(t, s, providers.Route{Provider: "a", Fallback: providers.FallbackNever})
		if e, ok := errors.AsType[*providers.Error](r.err); !ok || e.Kind.Reaction() != providers.Wait || e.Waiting == nil || e.Waiting.For != providers.WaitForKey || e.Sent {
			t.Errorf("%v, want the job to wait for a key", r.err)
		}
		// Without a key for another, a failure of the first counts as one.
		w.set("a", settings{})
		w.set("b", settings{Settings: policy.Settings{NoKey: true}})
		a = newService("a", func(context.Context) (providers.Response, error) {
			return providers.Response{}, &providers.Error{Provider: "a", Kind: providers.Overloaded, Billing: providers.Unbilled, Sent: true}
		})
		w = newWorkers(t, a, b)
		w.set("b", settings{Settings: policy.Settings{NoKey: true}})
		r = ask(t, w.worker(nil), first)
		chain, _ := errors.AsType[*providers.ChainError](r.err)
		if chain == nil || chain.Decisive().Kind != providers.Overloaded || b.calls() != 1 {
			t.Errorf("%v, want the failure of a to decide", r.err)
		}
	})
}
