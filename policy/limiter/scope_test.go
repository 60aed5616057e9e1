package limiter

import (
	"context"
	"testing"
	"time"

	"oneflow/providers"
)

// in returns what a window held of one scope.
func in(scope string) func(arrival) int64 {
	return func(a arrival) int64 {
		if a.scope == scope {
			return 1
		}
		return 0
	}
}

// models have processes ask for three models in turn, each of which has two keys with such
// limits.
func (w *simulation) models(limits map[string]providers.Limits) {
	w.cost = w.tokens
	w.model = func(id int) string { return []string{"slow", "mid", "fast"}[id%3] }
	w.scopes = func(model string) (list []Scope) {
		for _, key := range []string{"a", "b"} {
			list = append(list, Scope{Name: providers.ScopeName(model, "", key), Settings: Settings{Limits: limits[model]}})
		}
		return list
	}
	for id := range 9 {
		w.process(id)
	}
}

func TestEachModelAndKeyHasItsLimitUsedToTheFullAndNeverExceeded(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{})
	limits := map[string]providers.Limits{"slow": {RPM: 12}, "mid": {RPM: 120, TPM: 10_000_000}, "fast": {RPM: 240, Concurrent: 120}}
	w.models(limits)
	w.run(2 * time.Minute)
	half := w.now
	limits["mid"] = providers.Limits{RPM: 60}
	w.run(4 * time.Minute)
	for model, l := range limits {
		for _, key := range []string{"a", "b"} {
			scope := providers.ScopeName(model, "", key)
			if top := w.most(time.Minute, half+time.Minute, in(scope)); top > l.RPM {
				t.Errorf("%s: %d calls in a minute, the limit is %d", scope, top, l.RPM)
			}
			got := float64(w.used(w.now-3*time.Minute, w.now, in(scope))) / float64(3*l.RPM)
			t.Logf("%s: %.2f %%", scope, 100*got)
			if got < 0.97 {
				t.Errorf("%s: %.2f %% of its limit used, want 97", scope, 100*got)
			}
		}
	}
	if top := w.most(time.Minute, 0, in("mid@a")); top > 120 {
		t.Errorf("%d calls in a minute before the limit was halved", top)
	}
}

func TestTheProvidersLimitHoldsAboveThoseOfItsModels(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{RPM: 600, TPM: 100_000})
	w.models(map[string]providers.Limits{"slow": {RPM: 12}, "mid": {RPM: 400}, "fast": {TPM: 500_000}})
	w.run(3 * time.Minute)
	if top := w.most(time.Minute, 0, one); top > 600 {
		t.Errorf("%d calls in a minute, the provider's limit is 600", top)
	}
	if top := w.most(time.Minute, 0, allTokens); top > 100_000 {
		t.Errorf("%d tokens in a minute, the provider's limit is 100,000", top)
	}
	if got := w.used(w.now-2*time.Minute, w.now, allTokens); got < 195_000 {
		t.Errorf("%d tokens in two minutes, want most of 200,000", got)
	}
	for _, key := range []string{"a", "b"} {
		if top := w.most(time.Minute, 0, in("slow@"+key)); top > 12 {
			t.Errorf("%d calls of the slow model in a minute with key %s, its limit is 12", top, key)
		}
	}
}

func TestARefusalStopsOneModelWithOneKeyOnly(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{})
	w.models(map[string]providers.Limits{"slow": {RPM: 60}, "mid": {RPM: 60}, "fast": {RPM: 600}})
	w.run(time.Minute)
	slot := w.slot(Demand{Model: "fast"})
	slot.Refused(context.Background(), &providers.Error{Kind: providers.RateLimited, RetryAfter: 30 * time.Second})
	began := w.now
	w.run(30 * time.Second)
	other := map[string]string{"fast@a": "fast@b", "fast@b": "fast@a"}[slot.Scope()]
	// What was under way as it was refused may still arrive.
	if n := w.used(began+time.Second, w.now, in(slot.Scope())); n > 0 {
		t.Errorf("%d calls in the scope that was refused", n)
	}
	for _, scope := range []string{other, "slow@a", "mid@b"} {
		if n := w.used(began, w.now, in(scope)); n < 25 {
			t.Errorf("%d calls in %s in 30 s, want it to go on", n, scope)
		}
	}
	if last := w.learned[len(w.learned)-1]; last.Scope != slot.Scope() || last.BlockedUntil.IsZero() {
		t.Errorf("learned %+v, want the block of %s", last, slot.Scope())
	}
	if wait, err := w.limiter.Wait(context.Background(), "p", "fast"); err != nil || wait > 5*time.Second {
		t.Errorf("a call of the model waits %v, %v: want it to go with the other key", wait, err)
	}
}
