package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/providers"
)

// called writes a call of an hour's age in minutes into the ledger.
func (w *database) called(t *testing.T, change string, ago time.Duration, state, kind string, ms int64, cost *int64) {
	t.Helper()
	j := w.mustClaim(t, w.accept(t, 1, nil)[0])
	c := w.sent(t, j, nil)
	w.exec(t, `
		UPDATE calls
		SET state = $2, error_kind = $3, latency_ms = $4, cost_nano = $5, input_tokens = 10, output_tokens = 3,
			finished_at = now() - make_interval(secs => $6)
		WHERE id = $1`, c.CallID, state, kind, ms, cost, ago.Seconds())
	if change != "" {
		w.exec(t, `UPDATE calls SET `+change+` WHERE id = $1`, c.CallID)
	}
}

// withinABucket compares figures as exactly as latencies are kept.
var withinABucket = cmp.FilterPath(func(p cmp.Path) bool {
	return slices.Contains([]string{"Mean", "P50", "P95", "P99"}, strings.TrimPrefix(p.Last().String(), "."))
}, cmp.Comparer(func(a, b int64) bool { return max(a, b) <= min(a, b)+min(a, b)*9/100 }))

func TestHealthHasTheFiguresOfEachModel(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	zero, some := new(int64(0)), new(int64(500))
	for i := range 10 {
		w.called(t, "", time.Minute, "succeeded", "", int64(i+1)*100, some)
	}
	w.called(t, "", 20*time.Minute, "failed_unbilled", "rate_limited", 1, zero)
	w.called(t, "", 10*time.Minute, "failed_unbilled", "overloaded", 1, zero)
	w.called(t, "", 30*time.Minute, "failed_unbilled", "invalid_request", 1, zero)
	w.called(t, "", 5*time.Minute, "unknown", "timeout", 9000, nil)
	w.called(t, "model = 'n'", 2*time.Minute, "succeeded", "", 70, some)
	w.called(t, "", 2*time.Hour, "succeeded", "", 1, some)                       // before the window
	w.called(t, "provider = 'forgotten'", time.Minute, "succeeded", "", 1, some) // of no provider that is known

	read := func() fleet.Health {
		t.Helper()
		list, err := w.Health(ctx, time.Hour)
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list[0]
	}
	h := read()
	want := []fleet.Figures{
		{
			Provider: "mock", Model: "m", Mean: 550, P50: 500, P95: 1000, P99: 1000, LastError: "timeout",
			Traffic: fleet.Traffic{
				Requests: 14, Succeeded: 10, RateLimited: 1, Refused: 1, Unknown: 1, InputTokens: 140, OutputTokens: 42,
				Money: jobs.Money{Cost: 5000, Unpriced: 1},
			},
		},
		{
			Provider: "mock", Model: "n", Mean: 70, P50: 70, P95: 70, P99: 70,
			Traffic: fleet.Traffic{Requests: 1, Succeeded: 1, InputTokens: 10, OutputTokens: 3, Money: jobs.Money{Cost: 500}},
		},
	}
	if diff := cmp.Diff(want, h.Models, cmpopts.IgnoreFields(fleet.Figures{}, "LastErrorAt"), withinABucket); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if at := time.Since(h.Models[0].LastErrorAt); at < 4*time.Minute || at > 6*time.Minute {
		t.Errorf("the last error was %s ago", at)
	}
	if rate, ok := h.Models[0].SuccessRate(); !ok || rate != 10.0/12 {
		t.Errorf("success rate %v: what was refused for the rate or the request is not the provider's failure", rate)
	}
	if from := time.Since(h.From); from < time.Hour || from > time.Hour+2*time.Minute || h.Workers != 1 || h.Kind != "mock" {
		t.Errorf("%+v", h)
	}

	// Figures that a person lets begin anew are gone; the ledger is not.
	must(t, w.ResetMetrics(ctx, "mock"))
	if h := read(); len(h.Models) != 0 || time.Since(h.From) > time.Minute {
		t.Errorf("after the reset: %+v", h)
	}
	// Of the minute that a call of two minutes ago is counted in, the beginning may be three minutes ago by now.
	w.exec(t, `UPDATE providers SET metrics_since = now() - interval '4 minutes'`)
	if h := read(); len(h.Models) != 2 || h.Models[0].Requests != 10 {
		t.Errorf("four minutes after the reset: %+v", h.Models)
	}
	must(t, w.ResetMetrics(ctx, ""))
	if h := read(); len(h.Models) != 0 {
		t.Errorf("after the reset of all: %+v", h.Models)
	}
}

func TestTaskFiguresAreOfOneTaskAndAllModels(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	some := new(int64(500))
	w.called(t, "", time.Minute, "succeeded", "", 100, some)
	w.called(t, "model = 'n'", time.Minute, "succeeded", "", 300, some)
	w.called(t, "model = 'picture'", time.Minute, "succeeded", "", 9000, some)
	w.exec(t, `UPDATE jobs j SET task = 'image' FROM call_jobs cj JOIN calls c ON c.id = cj.call_id WHERE cj.job_id = j.id AND c.model = 'picture'`)
	got, err := w.TaskFigures(t.Context(), providers.Text, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f := got["mock"]
	if cost, ok := f.Each(f.Succeeded); len(got) != 1 || f.Requests != 2 || f.Mean != 200 || f.P99 != 300 || !ok || cost != billing.NanoUSD(500) {
		t.Errorf("%+v", got)
	}
}

func TestTheStateOfAProviderFollowsItsTraffic(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	status := func() fleet.Standing {
		t.Helper()
		list, err := w.Standings(ctx)
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		fleet, err := w.Fleet(ctx)
		if err != nil || len(fleet.Providers) != 1 {
			t.Fatalf("%+v, %v", fleet, err)
		}
		if diff := cmp.Diff(list[0].Standing, fleet.Providers[0].Standing); diff != "" {
			t.Errorf("the overview says otherwise:\n%s", diff)
		}
		return list[0].Standing
	}
	if s := status(); s.Status != fleet.Available || s.By != "" || !s.Since.IsZero() {
		t.Errorf("at first: %+v", s)
	}
	for range 10 {
		w.called(t, "", time.Second, "failed_unbilled", "overloaded", 1, new(int64(0)))
	}
	if s := status(); s.Status != fleet.Degraded || s.Reason != "10 of 10 calls failed in the last 5 minutes" {
		t.Errorf("when all calls fail: %+v", s)
	}
	must(t, w.ResetMetrics(ctx, "mock"))
	if s := status(); s.Status != fleet.Available || s.MetricsSince.IsZero() {
		t.Errorf("after the reset: %+v", s)
	}
	must(t, w.SetStatus(ctx, "mock", fleet.Unavailable, "maintenance", "ada@alpha"))
	if s := status(); s.Status != fleet.Unavailable || s.Reason != "maintenance" || s.By != "ada@alpha" || s.Since.IsZero() {
		t.Errorf("disabled: %+v", s)
	}
	must(t, w.SetStatus(ctx, "mock", fleet.Available, "", "bob@beta"))
	must(t, w.Learn(ctx, "mock", fleet.Learned{Breaker: fleet.BreakerOpen, Reason: "overloaded"}))
	if s := status(); s.Status != fleet.Degraded || s.Reason != "its breaker is open: overloaded" || s.Breaker.Since.IsZero() || s.By != "" {
		t.Errorf("its breaker opened: %+v", s)
	}
	must(t, w.ForceBreaker(ctx, "mock", fleet.BreakerClosed, "bob@beta"))
	if s := status(); s.Status != fleet.Available || s.By != "bob@beta" {
		t.Errorf("its breaker is held closed: %+v", s)
	}
}

func TestLimitsAreShownWithTheirSources(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.configure(t, providers.Limits{RPM: 60}, providers.DimensionRPM)
	must(t, w.AddProvider(ctx, fleet.Configured{Name: "another", Kind: "mock", Concurrency: 1}))
	must(t, w.Learn(ctx, "mock", fleet.Learned{Limits: providers.Limits{RPM: 500}, BlockedUntil: time.Now().Add(time.Hour), Reason: "rate_limited"}))
	must(t, w.SetLimits(ctx, "mock", "", map[providers.Dimension]int64{providers.DimensionTPM: 7}, "ada@alpha"))
	list, err := w.ProviderLimits(ctx)
	if err != nil || len(list) != 2 || list[0].Provider != "another" {
		t.Fatalf("%+v, %v", list, err)
	}
	l := list[1]
	if l.Configured.RPM != 60 || l.Learned.RPM != 500 || l.Pinned[providers.DimensionTPM] != 7 || l.PinnedBy != "ada@alpha" ||
		l.PinnedAt.IsZero() || l.LearnedAt.IsZero() || l.BlockedUntil.IsZero() || l.BlockedReason != "rate_limited" {
		t.Errorf("%+v", l)
	}
	if n, from := l.Of(providers.DimensionRPM); n != 60 || from != fleet.FromConfiguration {
		t.Errorf("%d %s", n, from)
	}
	if n, from := l.Of(providers.DimensionTPM); n != 7 || from != fleet.FromPin {
		t.Errorf("%d %s", n, from)
	}
}
