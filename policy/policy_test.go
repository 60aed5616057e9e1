package policy_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/policy"
	"oneflow/providers"
)

func TestTransientFailuresAreRepeatedThreeTimesEverLater(t *testing.T) {
	t.Parallel()
	for range 5 { // the jitter is random
		synctest.Test(t, func(t *testing.T) {
			p := newScript(fails(providers.Overloaded, providers.Unbilled, 0))
			j := &ledger{t: t}
			_, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
			if kindOf(err) != providers.Overloaded {
				t.Errorf("%v", err)
			}
			got := p.delays()
			if len(got) != 3 || !within(got[0], time.Second, 1250*time.Millisecond) || !within(got[1], 2*time.Second, 2500*time.Millisecond) || !within(got[2], 4*time.Second, 5*time.Second) {
				t.Errorf("repeated after %v, want 1, 2 and 4 s plus up to a quarter", got)
			}
			j.settled(p)
		})
	}
}

func TestARepetitionThatSucceedsIsASuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newScript(fails(providers.Timeout, providers.BillingUnknown, 0), fails(providers.Connection, providers.Unbilled, 0), ok)
		j := &ledger{t: t, mayRepeat: true}
		res, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
		if err != nil || res.Text != "answer" || len(p.calls) != 3 {
			t.Errorf("%+v, %v after %d calls", res, err, len(p.calls))
		}
		j.settled(p)
	})
}

func TestWhatAProviderAsksToWaitIsRespected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind  providers.Kind
		after time.Duration
		want  []time.Duration // the least waits; none if it goes back to the queue
	}{
		"overloaded, 20 s":         {providers.Overloaded, 20 * time.Second, []time.Duration{20 * time.Second}},
		"overloaded, 60 s":         {providers.Overloaded, time.Minute, []time.Duration{time.Minute}},
		"overloaded, less":         {providers.Overloaded, time.Millisecond, []time.Duration{time.Second}},
		"overloaded, too long":     {providers.Overloaded, 61 * time.Second, nil},
		"overloaded, for years":    {providers.Overloaded, 99999 * time.Hour, nil},
		"rate limited, 10 s":       {providers.RateLimited, 10 * time.Second, []time.Duration{10 * time.Second}},
		"rate limited, not said":   {providers.RateLimited, 0, []time.Duration{time.Second}},
		"rate limited, too long":   {providers.RateLimited, 11 * time.Second, nil},
		"too many calls at once":   {providers.ConcurrencyLimit, 2 * time.Second, []time.Duration{2 * time.Second}},
		"too many calls, too long": {providers.ConcurrencyLimit, time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newScript(fails(c.kind, providers.Unbilled, c.after), ok)
				j := &ledger{t: t}
				_, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
				got := p.delays()
				j.settled(p)
				if c.want == nil {
					if e, isError := errors.AsType[*providers.Error](err); !isError || e.RetryAfter != c.after || len(got) != 0 {
						t.Errorf("repeated after %v, then %v, want the wait of %s handed back", got, err, c.after)
					}
					return
				}
				if err != nil || len(got) != 1 || !within(got[0], c.want[0], c.want[0]+c.want[0]/4+time.Second/4) {
					t.Errorf("repeated after %v, then %v, want %v", got, err, c.want)
				}
			})
		})
	}
}

func TestRateLimitsUseUpNoRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused, broken := fails(providers.RateLimited, providers.Unbilled, 0), fails(providers.Overloaded, providers.Unbilled, 0)
		p := newScript(slices.Concat(
			slices.Repeat([]func(context.Context) (providers.Response, error){refused}, 9),
			[]func(context.Context) (providers.Response, error){broken, refused, refused, broken, refused, broken, refused, ok})...)
		j := &ledger{t: t}
		res, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
		if err != nil || res.Text != "answer" || len(p.calls) != 17 {
			t.Errorf("%+v, %v after %d calls", res, err, len(p.calls))
		}
		j.settled(p)
	})
}

func TestARateLimitWithoutEndIsHandedBackToTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newScript(slices.Repeat([]func(context.Context) (providers.Response, error){fails(providers.RateLimited, providers.Unbilled, 0)}, 100)...)
		j := &ledger{t: t}
		started := time.Now()
		_, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
		if e, isError := errors.AsType[*providers.Error](err); !isError || e.Kind != providers.RateLimited || time.Since(started) > 15*time.Second {
			t.Errorf("%v after %s and %d calls", err, time.Since(started), len(p.calls))
		}
		j.settled(p)
	})
}

func TestWhatMayNotBeRepeatedIsSentOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind    providers.Kind
		billing providers.Billing
	}{
		"unknown outcome": {providers.Timeout, providers.BillingUnknown},
		"billed":          {providers.MalformedResponse, providers.Billed},
		"refused":         {providers.InvalidRequest, providers.Unbilled},
		"moderated":       {providers.Moderated, providers.Unbilled},
		"no money":        {providers.OutOfMoney, providers.Unbilled},
		"wrong key":       {providers.Unauthorised, providers.Unbilled},
		"no such model":   {providers.NotFound, providers.Unbilled},
		"too large":       {providers.TooLarge, providers.Unbilled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newScript(fails(c.kind, c.billing, 0), ok)
				j := &ledger{t: t}
				if _, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j); kindOf(err) != c.kind {
					t.Errorf("%v", err)
				}
				if len(p.calls) != 1 {
					t.Errorf("sent %d times", len(p.calls))
				}
				j.settled(p)
			})
		})
	}
}

func TestAnErrorOfNoKindHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newScript(func(context.Context) (providers.Response, error) {
			return providers.Response{}, errors.New("the prompt was: secret")
		})
		j := &ledger{t: t}
		_, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
		e, isError := errors.AsType[*providers.Error](err)
		if !isError || e.Billing != providers.BillingUnknown || len(p.calls) != 1 {
			t.Fatalf("%v after %d calls", err, len(p.calls))
		}
		if diff := cmp.Diff("p: unknown", e.Error()); diff != "" {
			t.Error(diff)
		}
		j.settled(p)
	})
}

func TestTheEndOfWaitingCutsNoCallAndBeginsNone(t *testing.T) {
	t.Parallel()
	slowly := func(answer func(context.Context) (providers.Response, error)) func(context.Context) (providers.Response, error) {
		return func(ctx context.Context) (providers.Response, error) {
			select {
			case <-ctx.Done():
				return providers.Response{}, &providers.Error{Kind: providers.Cancelled, Billing: providers.BillingUnknown, Err: ctx.Err()}
			case <-time.After(30 * time.Second):
				return answer(ctx)
			}
		}
	}
	for name, c := range map[string]struct {
		answers []func(context.Context) (providers.Response, error)
		after   time.Duration // when waiting ends
		calls   int
		check   func(providers.Response, error) bool
	}{
		"before the first call":            {[]func(context.Context) (providers.Response, error){ok}, 0, 0, func(_ providers.Response, err error) bool { return errors.Is(err, context.Canceled) }},
		"during a call that succeeds":      {[]func(context.Context) (providers.Response, error){slowly(ok)}, 10 * time.Second, 1, func(r providers.Response, err error) bool { return err == nil && r.Text == "answer" }},
		"during a call that is refused":    {[]func(context.Context) (providers.Response, error){slowly(fails(providers.Moderated, providers.Unbilled, 0)), ok}, 10 * time.Second, 1, func(_ providers.Response, err error) bool { return kindOf(err) == providers.Moderated }},
		"during a call that fails":         {[]func(context.Context) (providers.Response, error){slowly(fails(providers.Overloaded, providers.Unbilled, 0)), ok}, 10 * time.Second, 1, func(_ providers.Response, err error) bool { return err != nil }},
		"during the wait for a repetition": {[]func(context.Context) (providers.Response, error){fails(providers.Overloaded, providers.Unbilled, 30*time.Second), ok}, 10 * time.Second, 1, func(_ providers.Response, err error) bool { return err != nil }},
		"during the wait for a rate limit": {[]func(context.Context) (providers.Response, error){fails(providers.RateLimited, providers.Unbilled, 9*time.Second), ok}, 5 * time.Second, 1, func(_ providers.Response, err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				waiting, stop := context.WithCancel(t.Context())
				defer stop()
				if c.after == 0 {
					stop()
				} else {
					time.AfterFunc(c.after, stop)
				}
				p := newScript(c.answers...)
				j := &ledger{t: t}
				began := time.Now()
				res, err := guarded(t, p, t.Context()).Generate(waiting, providers.Route{Provider: "p"}, providers.Request{}, j)
				if !c.check(res, err) {
					t.Errorf("%+v, %v", res, err)
				}
				if len(p.calls) != c.calls {
					t.Errorf("%d calls, want %d", len(p.calls), c.calls)
				}
				if took := time.Since(began); took > 30*time.Second {
					t.Errorf("it went on for %s", took)
				}
				j.settled(p)
			})
		})
	}
}

func TestTheEndOfCallsCutsThemOffAndNothingIsSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls, cutOff := context.WithCancel(t.Context())
		p := newScript(func(ctx context.Context) (providers.Response, error) {
			<-ctx.Done()
			return providers.Response{}, &providers.Error{Kind: providers.Cancelled, Billing: providers.BillingUnknown, Sent: true, Err: ctx.Err()}
		})
		j := &ledger{t: t, mayRepeat: true}
		time.AfterFunc(10*time.Second, cutOff)
		began := time.Now()
		_, err := guarded(t, p, calls).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
		if kindOf(err) != providers.Cancelled || len(p.calls) != 1 || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %d calls and %s", err, len(p.calls), time.Since(began))
		}
		j.settled(p)
	})
}

func TestACallEndsAtItsTimeoutAndWaitingDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var left []time.Duration
		p := newScript(
			fails(providers.RateLimited, providers.Unbilled, 10*time.Second),
			fails(providers.Overloaded, providers.Unbilled, time.Minute),
			func(ctx context.Context) (providers.Response, error) {
				deadline, _ := ctx.Deadline()
				left = append(left, time.Until(deadline))
				<-ctx.Done()
				return providers.Response{}, &providers.Error{Kind: providers.Timeout, Billing: providers.BillingUnknown, Err: ctx.Err()}
			})
		j := &ledger{t: t}
		_, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
		if kindOf(err) != providers.Timeout || !slices.Equal(left, []time.Duration{time.Minute}) {
			t.Errorf("%v, the call had %v", err, left)
		}
		j.settled(p)
	})
}

func TestAPanicSettlesItsCallAndIsSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newScript(func(context.Context) (providers.Response, error) { panic("secret prompt") })
		j := &ledger{t: t}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
		}()
		j.settled(p)
		if e, isError := errors.AsType[*providers.Error](j.entries[0].err); !isError || e.Billing != providers.BillingUnknown {
			t.Errorf("settled with %v, want an unknown outcome", j.entries[0].err)
		}
	})
}

func TestWhatTheJournalRefusesIsNotSent(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]int{"at once": 1, "before a repetition": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				refused := errors.New("lease lost")
				p := newScript(fails(providers.Overloaded, providers.Unbilled, 0), ok)
				j := &ledger{t: t, refuse: refused, refuseAt: at}
				_, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
				if !errors.Is(err, refused) || len(p.calls) != at-1 {
					t.Errorf("%v after %d calls", err, len(p.calls))
				}
				j.settled(p)
			})
		})
	}
}

func TestNothingIsSentAfterACallThatCouldNotBeSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("Postgres is away")
		p := newScript(fails(providers.Overloaded, providers.Unbilled, 0), ok)
		j := &ledger{t: t, endErr: lost}
		_, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "p"}, providers.Request{}, j)
		if !errors.Is(err, lost) || len(p.calls) != 1 {
			t.Errorf("%v after %d calls", err, len(p.calls))
		}
		j.settled(p)
	})
}

func TestASetSaysWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	p := newScript(ok)
	for name, cfg := range map[string]policy.Config{
		"no timeout":     {Providers: []providers.Provider{p}, Calls: t.Context()},
		"no calls":       {Providers: []providers.Provider{p}, CallTimeout: time.Second},
		"provider twice": {Providers: []providers.Provider{p, p}, CallTimeout: time.Second, Calls: t.Context()},
	} {
		if _, err := policy.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := guarded(t, p, t.Context()).Generate(t.Context(), providers.Route{Provider: "other"}, providers.Request{}, &ledger{t: t}); err == nil || len(p.calls) != 0 {
		t.Errorf("a provider that is not served: %v", err)
	}
}
