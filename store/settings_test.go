package store_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

// settings reads what is set for the database's provider.
func (w *database) settings(t *testing.T) fleet.Settings {
	t.Helper()
	all, _, err := w.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fleet.Config{}.Settings(all)["mock"]
}

func (w *database) configure(t *testing.T, limits providers.Limits, written ...providers.Dimension) {
	t.Helper()
	err := w.Register(t.Context(), worker.Presence{ID: w.worker, Host: "test", PID: 1, Providers: []worker.Served{
		{Name: "mock", Kind: "mock", Concurrency: 1, Limits: limits, Written: written},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLimitsArePinnedElseLearnedElseConfigured(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.configure(t, providers.Limits{RPM: 60, TPM: 1000, RPS: 2, OTPM: 9}, providers.DimensionTPM, providers.DimensionRPS)
	check := func(what string, want providers.Limits) {
		t.Helper()
		if diff := cmp.Diff(want, w.settings(t).Limits); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("configured", providers.Limits{RPM: 60, TPM: 1000, RPS: 2, OTPM: 9})

	// A default gives way to what the provider says; what the file says is a bound.
	must(t, w.Learn(ctx, "mock", fleet.Learned{Limits: providers.Limits{RPM: 500, TPM: 5000, RPS: 1}}))
	must(t, w.Learn(ctx, "mock", fleet.Learned{Limits: providers.Limits{ITPM: 77}}))
	learned := providers.Limits{RPM: 500, TPM: 1000, RPS: 1, ITPM: 77, OTPM: 9}
	check("learned", learned)

	// A worker that comes up with other defaults does not undo what was learned.
	w.configure(t, providers.Limits{RPM: 50, TPM: 1000, RPS: 2, OTPM: 9}, providers.DimensionTPM, providers.DimensionRPS)
	check("after a restart", learned)

	must(t, w.SetLimits(ctx, "mock", "", map[providers.Dimension]int64{providers.DimensionRPM: 30, providers.DimensionTPM: 0}, "ada@alpha"))
	must(t, w.SetLimits(ctx, "mock", "", map[providers.Dimension]int64{providers.DimensionRPS: 9}, "ada@alpha"))
	must(t, w.Learn(ctx, "mock", fleet.Learned{Limits: providers.Limits{RPM: 700}}))
	check("pinned", providers.Limits{RPM: 30, RPS: 9, ITPM: 77, OTPM: 9})

	must(t, w.ResetLimits(ctx, "mock", "", "ada@alpha"))
	check("reset", providers.Limits{RPM: 50, TPM: 1000, RPS: 2, OTPM: 9})
}

func TestLimitsAreSetOfOneClassOfModels(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	pin := func(scope string, rpm int64) {
		must(t, w.SetLimits(ctx, "mock", scope, map[providers.Dimension]int64{providers.DimensionRPM: rpm}, "ada"))
	}
	must(t, w.Learn(ctx, "mock", fleet.Learned{Scope: "small@key", Limits: providers.Limits{RPM: 30}}))
	pin("small", 70)
	pin("small", 90)
	must(t, w.SetLimits(ctx, "mock", "small", map[providers.Dimension]int64{providers.DimensionTPM: 0}, "bob"))
	pin("large", 5)
	must(t, w.Learn(ctx, "mock", fleet.Learned{Scope: "small", Limits: providers.Limits{RPM: 30}}))
	scopes := func() []fleet.ScopeLimits {
		all, _, err := w.Settings(ctx)
		must(t, err)
		return all["mock"].Scopes
	}
	got := scopes()
	if len(got) != 3 || len(got[0].Pinned) != 1 || got[0].Pinned[providers.DimensionRPM] != 5 || got[1].Scope != "small" ||
		!cmp.Equal(got[1].Pinned, map[providers.Dimension]int64{providers.DimensionRPM: 90, providers.DimensionTPM: 0}) ||
		got[1].PinnedBy != "bob" || got[1].PinnedAt.IsZero() || got[1].Learned.RPM != 30 || got[2].Pinned != nil {
		t.Errorf("%+v", got)
	}
	if err := w.SetLimits(ctx, "none", "small", nil, "ada"); !errors.Is(err, fleet.ErrUnknownProvider) {
		t.Errorf("of a provider that is not there: %v", err)
	}
	must(t, w.ResetLimits(ctx, "mock", "small", "ada"))
	if got := scopes(); len(got) != 1 || got[0].Scope != "large" {
		t.Errorf("after a reset of small, with its keys: %+v", got)
	}
	if err := w.ResetLimits(ctx, "none", "small", "ada"); !errors.Is(err, fleet.ErrUnknownProvider) {
		t.Errorf("of a provider that is not there: %v", err)
	}
}

func TestABlockGetsLongerNeverShorterAndEnds(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	late, early := time.Now().Add(time.Hour).Truncate(time.Millisecond), time.Now().Add(time.Minute)
	must(t, w.Learn(ctx, "mock", fleet.Learned{BlockedUntil: late, Reason: "rate_limited"}))
	must(t, w.Learn(ctx, "mock", fleet.Learned{BlockedUntil: early, Reason: "concurrency_limit"}))
	must(t, w.Learn(ctx, "mock", fleet.Learned{Limits: providers.Limits{RPM: 1}}))
	if got := w.settings(t).BlockedUntil; !got.Equal(late) {
		t.Errorf("blocked until %s, want %s", got, late)
	}
	w.exec(t, `UPDATE providers SET blocked_until = now() - interval '1 second'`)
	if got := w.settings(t).BlockedUntil; !got.IsZero() {
		t.Errorf("a block that has ended is still told: %s", got)
	}
	must(t, w.Learn(ctx, "mock", fleet.Learned{BlockedUntil: late}))
	must(t, w.ResetLimits(ctx, "mock", "", "ada"))
	if got := w.settings(t).BlockedUntil; !got.IsZero() {
		t.Errorf("a block outlived the reset: %s", got)
	}
}

func TestAProviderWithoutMoneyIsLeftAloneForAWhile(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	must(t, w.Learn(ctx, "mock", fleet.Learned{OutOfMoney: true}))
	if got := w.settings(t); got.Status != fleet.Unavailable || got.Reason != "its account is out of money" || got.By != "" {
		t.Errorf("%+v", got)
	}
	w.exec(t, `UPDATE providers SET out_of_money_at = now() - interval '11 minutes'`)
	if got := w.settings(t); got.Status != fleet.Available || got.Reason != "" {
		t.Errorf("after ten minutes: %+v", got)
	}
	must(t, w.Learn(ctx, "mock", fleet.Learned{OutOfMoney: true}))
	must(t, w.SetStatus(ctx, "mock", fleet.Available, "", "ada"))
	if got := w.settings(t); got.Status != fleet.Available {
		t.Errorf("enabled by a person: %+v", got)
	}
	// What a person said is not covered by what was learned.
	must(t, w.SetStatus(ctx, "mock", fleet.Unavailable, "too dear", "ada"))
	must(t, w.Learn(ctx, "mock", fleet.Learned{OutOfMoney: true}))
	if got := w.settings(t); got.Status != fleet.Unavailable || got.Reason != "too dear" || got.By != "ada" {
		t.Errorf("disabled by a person: %+v", got)
	}
}

func TestBreakersAreHeldAndChainsKept(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	must(t, w.Learn(ctx, "mock", fleet.Learned{Breaker: fleet.BreakerOpen, Reason: "half of 20 calls failed"}))
	if got := w.settings(t); got.Breaker != "" {
		t.Errorf("a breaker that opened by itself is taken for an order: %+v", got)
	}
	for _, order := range []fleet.BreakerState{fleet.BreakerOpen, fleet.BreakerClosed, ""} {
		must(t, w.ForceBreaker(ctx, "mock", order, "ada"))
		if got := w.settings(t).Breaker; got != order {
			t.Errorf("held %q, want %q", got, order)
		}
	}
	must(t, w.SetChain(ctx, providers.Text, []string{"a", "b"}, "ada"))
	must(t, w.SetChain(ctx, providers.Text, []string{"b", "a"}, "bob"))
	must(t, w.SetChain(ctx, providers.Image, []string{"c"}, "ada"))
	must(t, w.SetChain(ctx, providers.Image, nil, "ada"))
	_, chains, err := w.Settings(ctx)
	if diff := cmp.Diff(map[providers.Task][]string{providers.Text: {"b", "a"}}, chains); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	list, err := w.Chains(ctx)
	if err != nil || len(list) != 1 || list[0].ChangedBy != "bob" || list[0].ChangedAt.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestNothingCanBeSetForAProviderThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	for what, err := range map[string]error{
		"learn":   w.Learn(ctx, "none", fleet.Learned{OutOfMoney: true}),
		"limits":  w.SetLimits(ctx, "none", "", map[providers.Dimension]int64{providers.DimensionRPM: 1}, "ada"),
		"reset":   w.ResetLimits(ctx, "none", "", "ada"),
		"status":  w.SetStatus(ctx, "none", fleet.Unavailable, "r", "ada"),
		"breaker": w.ForceBreaker(ctx, "none", fleet.BreakerOpen, "ada"),
		"metrics": w.ResetMetrics(ctx, "none"),
	} {
		if !errors.Is(err, fleet.ErrUnknownProvider) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, w.AddProvider(ctx, fleet.Configured{Name: "none", Kind: "mock", Concurrency: 2, Limits: providers.Limits{RPM: 5}}))
	must(t, w.SetLimits(ctx, "none", "", map[providers.Dimension]int64{providers.DimensionRPS: 3}, "ada"))
	must(t, w.AddProvider(ctx, fleet.Configured{Name: "none", Kind: "openai", Concurrency: 9}))
	all, _, err := w.Settings(ctx)
	if want := (providers.Limits{RPM: 5, RPS: 3}); err != nil || all["none"].InForce() != want {
		t.Errorf("%+v, %v", all["none"], err)
	}
}

func TestTheLedgerKnowsWhatRedisHasForgotten(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	jobsOf := w.accept(t, 3, nil)
	done, running, old := w.mustClaim(t, jobsOf[0]), w.mustClaim(t, jobsOf[1]), w.mustClaim(t, jobsOf[2])
	must(t, w.Succeed(t.Context(), success(done, w.sent(t, done, nil), nil)))
	w.sent(t, running, nil)
	must(t, w.Succeed(t.Context(), success(old, w.sent(t, old, nil), nil)))
	ended := func(j *jobs.Job, ago string) {
		w.exec(t, `
			UPDATE calls SET started_at = now() - $2::interval, finished_at = now() - $2::interval
			WHERE id IN (SELECT call_id FROM call_jobs WHERE job_id = $1)`, j.ID, ago)
	}
	ended(old, "25 hours")
	until := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	must(t, w.Learn(t.Context(), "mock", fleet.Learned{BlockedUntil: until}))
	got, err := w.Sent(t.Context(), "mock", "")
	if err != nil || got.Running != 1 || got.Hours[0] != 2 || got.Hours[1] != 0 || time.Since(got.LastCall) > time.Minute || !got.BlockedUntil.Equal(until) {
		t.Errorf("%+v, %v, want what was begun in the last day", got, err)
	}
	ended(done, "90 minutes")
	if got, err := w.Sent(t.Context(), "mock", ""); err != nil || got.Hours[0] != 1 || got.Hours[1] != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := w.Sent(t.Context(), "openai", ""); err != nil || got != (store.Sent{}) {
		t.Errorf("of another provider: %+v, %v", got, err)
	}
}

// Whoever writes a provider's row writes its limits: no order makes one without
// them, and none takes them away.
func TestNoOrderMakesAProviderWithoutLimits(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	orders := map[string]func(string) error{
		"disable": func(p string) error { return w.SetStatus(ctx, p, fleet.Unavailable, "no", "ada") },
		"enable":  func(p string) error { return w.SetStatus(ctx, p, fleet.Available, "", "ada") },
		"learn":   func(p string) error { return w.Learn(ctx, p, fleet.Learned{Breaker: fleet.BreakerClosed}) },
		"block": func(p string) error {
			return w.Learn(ctx, p, fleet.Learned{BlockedUntil: time.Now().Add(-time.Second)})
		},
		"out of money":  func(p string) error { return w.Learn(ctx, p, fleet.Learned{OutOfMoney: true}) },
		"pin":           func(p string) error { return w.SetLimits(ctx, p, "", map[providers.Dimension]int64{}, "ada") },
		"reset limits":  func(p string) error { return w.ResetLimits(ctx, p, "", "ada") },
		"breaker":       func(p string) error { return w.ForceBreaker(ctx, p, fleet.BreakerClosed, "ada") },
		"reset metrics": func(p string) error { return w.ResetMetrics(ctx, p) },
		"a chain":       func(p string) error { return w.SetChain(ctx, providers.Text, []string{p}, "ada") },
		"add once again": func(p string) error {
			return w.AddProvider(ctx, fleet.Configured{Name: "known", Kind: "openai", Concurrency: 1})
		},
	}
	must(t, w.AddProvider(ctx, fleet.Configured{Name: "known", Kind: "openai", Concurrency: 1, Limits: providers.Limits{RPM: 60}}))
	for name, order := range orders {
		if err := order("unheard of"); err != nil && !errors.Is(err, fleet.ErrUnknownProvider) {
			t.Errorf("%s: %v", name, err)
		}
		if n := w.count(t, `SELECT count(*) FROM providers WHERE name = 'unheard of'`); n != 0 {
			t.Fatalf("%s made a provider that nobody configured", name)
		}
		must(t, order("known"))
		all, _, err := w.Settings(ctx)
		if limits := (fleet.Config{}).Settings(all)["known"].Limits; err != nil || limits.RPM != 60 {
			t.Errorf("%s leaves a provider of 60 requests a minute with %+v, %v", name, limits, err)
		}
	}
}

func TestAFleetKeepsItsID(t *testing.T) {
	t.Parallel()
	one, other := newDatabase(t), newDatabase(t)
	ids := map[uuid.UUID]bool{}
	var mu sync.Mutex
	together(8, func(int) {
		id, err := one.FleetID(t.Context())
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		ids[id] = true
	})
	theirs, err := other.FleetID(t.Context())
	if err != nil || len(ids) != 1 || ids[theirs] || theirs == uuid.Nil {
		t.Errorf("%v and %s, %v", ids, theirs, err)
	}
	if _, err := one.Heartbeats(t.Context(), time.Second, true); err != nil {
		t.Fatal(err)
	}
	if id, err := one.FleetID(t.Context()); err != nil || !ids[id] {
		t.Errorf("a heartbeat made it %s, %v", id, err)
	}
}

func TestWhatIsLearnedOfAScopeIsItsOwn(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	must(t, w.Learn(ctx, "mock", fleet.Learned{Scope: "small", Limits: providers.Limits{RPM: 500}}))
	until := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	must(t, w.Learn(ctx, "mock", fleet.Learned{Scope: "small", Limits: providers.Limits{TPM: 9}, BlockedUntil: until, Reason: "rate_limited"}))
	must(t, w.Learn(ctx, "mock", fleet.Learned{Scope: "small", BlockedUntil: until.Add(-time.Minute), Reason: "earlier"}))
	must(t, w.Learn(ctx, "mock", fleet.Learned{Scope: "large@key", Limits: providers.Limits{RPM: 7}}))
	if err := w.Learn(ctx, "none", fleet.Learned{Scope: "small", Limits: providers.Limits{RPM: 7}}); !errors.Is(err, fleet.ErrUnknownProvider) {
		t.Errorf("of a provider that is not there: %v", err)
	}
	want := []fleet.ScopeLimits{
		{Scope: "large@key", Learned: providers.Limits{RPM: 7}},
		{Scope: "small", Learned: providers.Limits{RPM: 500, TPM: 9}, BlockedUntil: until, BlockedReason: "rate_limited"},
	}
	got, _, err := w.Settings(ctx)
	if err != nil || !cmp.Equal(got["mock"].Scopes, want, cmpopts.EquateApproxTime(time.Millisecond)) || got["mock"].Learned != (providers.Limits{}) {
		t.Errorf("%+v, %v: want %+v, and nothing of the whole", got["mock"], err, want)
	}
	if sent, err := w.Sent(ctx, "mock", "small"); err != nil || !sent.BlockedUntil.Equal(until) {
		t.Errorf("for a Redis that forgot: %+v, %v", sent, err)
	}
	if sent, err := w.Sent(ctx, "mock", ""); err != nil || !sent.BlockedUntil.IsZero() {
		t.Errorf("of the whole provider: %+v, %v", sent, err)
	}
	must(t, w.ResetLimits(ctx, "mock", "", "ada"))
	if got, _, err := w.Settings(ctx); err != nil || len(got["mock"].Scopes) > 0 {
		t.Errorf("after a reset: %+v, %v", got["mock"].Scopes, err)
	}
}
