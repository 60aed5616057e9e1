package limiter

import (
	"context"
	"testing"
	"time"

	"oneflow/providers"
)

// A random walk over what may happen to a fleet. The limit that counts for a window is the largest that was in force in it.
func TestNoWindowHoldsMoreThanTheLimitWhateverHappens(t *testing.T) {
	t.Parallel()
	for seed := range uint64(9) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			w := newSimulation(t, seed, providers.Limits{RPM: 300, TPM: 40_000})
			if seed%2 == 1 {
				w.limits = providers.Limits{RPM: 120, ITPM: 20_000, OTPM: 8000, Concurrent: 20}
			}
			w.cost = func() (Demand, Demand) {
				asked := Demand{InputTokens: 1 + w.rng.Int64N(300), OutputTokens: 1 + w.rng.Int64N(300)}
				if w.rng.IntN(50) == 0 {
					asked.InputTokens = 3000
				}
				return asked, Demand{InputTokens: 1 + w.rng.Int64N(asked.InputTokens), OutputTokens: 1 + w.rng.Int64N(asked.OutputTokens)}
			}
			w.latency = func() time.Duration { return w.rand(20 * time.Second) }
			if seed >= 3 {
				w.urgent = func() bool { return w.rng.IntN(4) == 0 }
			}
			next := 0
			start := func() {
				w.process(next)
				next++
			}
			for range 4 {
				start()
			}
			highest, lowered := w.limits, w.now
			check := func() {
				for _, d := range []struct {
					name  string
					limit int64
					cost  func(arrival) int64
				}{
					{"calls", highest.RPM, one},
					{"tokens", highest.TPM, allTokens},
					{"input tokens", highest.ITPM, func(a arrival) int64 { return a.used.InputTokens }},
					{"output tokens", highest.OTPM, func(a arrival) int64 { return a.used.OutputTokens }},
				} {
					if top := w.most(time.Minute, lowered, d.cost); d.limit > 0 && top > d.limit {
						t.Errorf("seed %d: %d %s in a minute, the limit is %d", seed, top, d.name, d.limit)
					}
				}
			}
			for range 25 {
				w.run(w.rand(12 * time.Second))
				switch w.rng.IntN(4) {
				case 0: // another is killed, and replaced
					w.dead[next-1-w.rng.IntN(4)] = true
					start()
				case 1: // somebody sets other limits
					check()
					scale := func(n *int64) { *n = *n * (50 + w.rng.Int64N(150)) / 100 }
					for _, n := range []*int64{&w.limits.RPM, &w.limits.TPM, &w.limits.ITPM, &w.limits.OTPM} {
						scale(n)
					}
					highest.RPM, highest.TPM = max(highest.RPM, w.limits.RPM), max(highest.TPM, w.limits.TPM)
					highest.ITPM, highest.OTPM = max(highest.ITPM, w.limits.ITPM), max(highest.OTPM, w.limits.OTPM)
				case 2: // the provider refuses a call
					w.refuse(providers.RateLimited, w.rand(3*time.Second))
				}
			}
			check()
			if len(w.calls) < 50 {
				t.Errorf("only %d calls in %v", len(w.calls), 25*6*time.Second)
			}
		})
	}
}

// refuse has the provider refuse a call that was sent right now; it returns for how long.
func (w *simulation) refuse(kind providers.Kind, retryAfter time.Duration) time.Duration {
	w.t.Helper()
	s := &Slot{limiter: w.limiter, account: w.account, due: time.Now(), grant: w.whole(w.now)}
	return time.Until(s.Refused(context.Background(), &providers.Error{Kind: kind, RetryAfter: retryAfter})).Round(100 * time.Millisecond)
}

func TestRefusalsThatDoNotSayForHowLongDouble(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{RPM: 600})
	if _, err := w.limiter.Wait(t.Context(), "p", ""); err != nil {
		t.Fatal(err)
	}
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		want := time.Duration(seconds) * time.Second
		w.set(w.now + time.Minute)
		if got := w.refuse(providers.RateLimited, 0); got != want {
			t.Errorf("blocked for %v, want %v", got, want)
		}
		// Others that were under way hit the same wall.
		first := w.now
		w.set(w.now + 100*time.Millisecond)
		s := &Slot{limiter: w.limiter, account: w.account, grant: w.whole(first - time.Millisecond)}
		s.Refused(t.Context(), &providers.Error{Kind: providers.RateLimited})
		if wait, err := w.limiter.Wait(t.Context(), "p", ""); err != nil || wait != want-100*time.Millisecond {
			t.Errorf("blocked for %v after a second refusal, %v, want %v", wait, err, want-100*time.Millisecond)
		}
	}
	w.set(w.now + 2*time.Minute)
	s := w.slot(Demand{})
	s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	w.set(w.now + time.Second)
	if got := w.refuse(providers.RateLimited, 0); got != time.Second {
		t.Errorf("blocked for %v after a success, want 1 s", got)
	}
	if got := w.refuse(providers.RateLimited, 1000*time.Hour); got != 24*time.Hour {
		t.Errorf("blocked for %v, want no more than a day", got)
	}
	if err := w.limiter.Forget(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if wait, err := w.limiter.Wait(t.Context(), "p", ""); err != nil || wait > 200*time.Millisecond {
		t.Errorf("still a wait of %v, %v, after a person lifted the block", wait, err)
	}
}

// slot takes a slot that must be free at once, or soon.
// whole is a grant of the provider as a whole.
func (w *simulation) whole(slot time.Duration) grant {
	return grant{slot: slot, parts: []part{{place: place{Scope{Settings: w.settings()}, keysOf("p", "")}}}}
}

func (w *simulation) slot(cost Demand) *Slot {
	w.t.Helper()
	g, err := w.limiter.ask(context.Background(), w.account, cost, defaultMaxWait, false)
	if err != nil || g.status != statusGranted {
		w.t.Fatalf("no slot: status %d, wait %v, %v", g.status, g.wait, err)
	}
	w.set(max(w.now, g.slot))
	return &Slot{limiter: w.limiter, account: w.account, model: cost.Model, grant: g, due: time.Now()}
}

func TestSeatsOfAKilledProcessExpire(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{Concurrent: 2})
	w.slot(Demand{})
	w.set(w.now + 10*time.Second)
	other := w.slot(Demand{})
	full := func() (bool, time.Duration) {
		g, err := w.limiter.ask(t.Context(), w.account, Demand{}, lookOnly, false)
		if err != nil {
			t.Fatal(err)
		}
		return g.status == statusNoPermit, g.wait
	}
	if yes, wait := full(); !yes || wait != 20*time.Second {
		t.Errorf("full %v for %v, want for the rest of what a permit is held without a word", yes, wait)
	}
	w.set(w.now + 21*time.Second)
	if yes, _ := full(); yes {
		t.Error("the permit of a killed process did not expire")
	}
	w.slot(Demand{})
	if yes, _ := full(); !yes {
		t.Error("three permits of two")
	}
	other.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	other.Unused(t.Context()) // does nothing
	w.slot(Demand{})
	if yes, _ := full(); !yes {
		t.Error("a permit was given back twice")
	}
}

func TestTooManyAtOnceLowersConcurrency(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{Concurrent: 5})
	for range 5 {
		w.slot(Demand{})
	}
	w.set(w.now + time.Second)
	s := &Slot{limiter: w.limiter, account: w.account, due: time.Now(), grant: w.whole(w.now)}
	s.Refused(t.Context(), &providers.Error{Kind: providers.ConcurrencyLimit})
	if len(w.learned) != 1 || w.learned[0].Limits.Concurrent != 4 {
		t.Fatalf("learned %+v, want 4 at once", w.learned)
	}
	w.refuse(providers.ConcurrencyLimit, 0) // one more of those five, refused at the same moment
	if got := w.learned[1].Limits.Concurrent; got != 4 {
		t.Errorf("a second refusal at once lowers it to %d, want still 4", got)
	}
}

func TestALargeCallIsNotStarvedBySmallOnes(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{TPM: 60_000})
	w.cost = w.tokens
	for id := range 4 {
		w.process(id)
	}
	w.run(90 * time.Second)
	began := w.now
	large := Demand{InputTokens: 30_000}
	for {
		g, err := w.limiter.ask(t.Context(), w.account, large, defaultMaxWait, false)
		if err != nil {
			t.Fatal(err)
		}
		if g.status == statusGranted {
			w.calls = append(w.calls, arrival{at: g.slot, used: large})
			break
		}
		// As a queue would bring it back.
		w.run(max(g.wait, time.Second))
		if w.now-began > 3*time.Minute {
			t.Fatal("half a limit could not be had in 3 minutes")
		}
	}
	t.Logf("after %v", w.now-began)
	w.run(70 * time.Second)
	if top := w.most(time.Minute, 0, allTokens); top > 60_000 {
		t.Errorf("%d tokens in a minute, the limit is 60000", top)
	}
}
