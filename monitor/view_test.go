package monitor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/providers"
)

func TestNumbersReadWell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{count(0), "0"},
		{count(999), "999"},
		{count(1000), "1,000"},
		{count(-1234567), "-1,234,567"},
		{tokens(9_999), "9,999"},
		{tokens(12_345), "12.3 k"},
		{tokens(2_500_000), "2.5 M"},
		{tokens(3_200_000_000), "3.2 G"},
		{span(-time.Second), "0ms"},
		{span(850 * time.Millisecond), "850ms"},
		{span(4200 * time.Millisecond), "4.2s"},
		{span(3*time.Minute + 5*time.Second), "3m 5s"},
		{span(26 * time.Hour), "26h 0m"},
		{span(99 * time.Hour), "4d 3h"},
		{coarse(-time.Second), "0s"},
		{coarse(59 * time.Second), "59s"},
		{coarse(90 * time.Minute), "1h"},
		{coarse(100 * time.Hour), "4d"},
		{success(fleet.Traffic{}), "–"},
		{success(fleet.Traffic{Requests: 7, RateLimited: 7}), "–"},
		{success(fleet.Traffic{Requests: 12, RateLimited: 2, Succeeded: 10}), "100 %"},
		{success(fleet.Traffic{Requests: 1_000_000, Succeeded: 999_999}), "99.9 %"},
		{latency(0, fleet.Traffic{}), "–"},
		{latency(1500, fleet.Traffic{Requests: 1}), "1.5s"},
		{limit(fleet.Provider{}), "no limit"},
		{limit(provider(60, 30, 12)), "50 % of 60/min last minute"},
		{limit(provider(0, 30, 12)), "no limit"},

		{served(fleet.Provider{Workers: 3, Concurrency: 8}), "3 workers × 8"},
		{rate(batches.Summary{}), ""},
		{rate(batches.Summary{PerSecond: 2.5, Tally: tally(map[jobs.State]int64{jobs.Queued: 10})}), "2.5/s, 5s left"},
		{rate(batches.Summary{PerSecond: 1200, Tally: tally(map[jobs.State]int64{jobs.Succeeded: 10})}), "1,200/s"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func provider(rpm int64, curve ...int64) fleet.Provider {
	return fleet.Provider{Standing: fleet.Standing{Limits: providers.Limits{RPM: rpm}}, Curve: curve}
}

func tally(counts map[jobs.State]int64) batches.Tally { return batches.Tally{Counts: counts} }

func TestBarShowsOneFailureInAMillionAndNeverOverflows(t *testing.T) {
	t.Parallel()
	for name, counts := range map[string]map[jobs.State]int64{
		"nothing":            {},
		"all done":           {jobs.Succeeded: 3},
		"one failed":         {jobs.Succeeded: 999_999, jobs.Failed: 1},
		"one of everything":  {jobs.Succeeded: 1_000_000, jobs.Expired: 1, jobs.Cancelled: 1, jobs.Running: 1, jobs.Retrying: 1},
		"everything waits":   {jobs.Queued: 10, jobs.Scheduled: 5},
		"a third each":       {jobs.Succeeded: 1, jobs.Failed: 1, jobs.Cancelled: 1},
		"a few of very many": {jobs.Succeeded: 5, jobs.Queued: 9_000_000_000},
	} {
		var at int64
		for _, s := range segments(tally(counts)) {
			if s.From != at || s.Width < 0 {
				t.Errorf("%s: piece %+v does not begin at %d", name, s, at)
			}
			at += s.Width
			if s.Class == "failed" && counts[jobs.Failed]+counts[jobs.Expired] > 0 && s.Width < least {
				t.Errorf("%s: failures are %d wide", name, s.Width)
			}
		}
		if tl := tally(counts); at > barWidth || (tl.Done() > 0 && tl.Done() == tl.Total() && at != barWidth) {
			t.Errorf("%s: the bar is %d wide", name, at)
		}
	}
}

func TestAProviderSaysWhyItIsNotUsed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for want, s := range map[string]fleet.Standing{
		"":                    {Status: fleet.Available},
		"no reason was given": {Status: fleet.Unavailable},
		"too dear, says ada@alpha, 3h": {
			Status: fleet.Unavailable, Reason: "too dear", By: "ada@alpha", Since: now.Add(-3 * time.Hour),
		},
		"its breaker is open": {Status: fleet.Degraded, Reason: "its breaker is open"},
	} {
		if got := standing(fleet.Provider{Standing: s}, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAllCurvesOfAPageHaveOneScale(t *testing.T) {
	t.Parallel()
	busy, idle := provider(0, 600, 300, 0), provider(0, 0, 1, 0)
	s := summary{Overview: Overview{Snapshot: fleet.Snapshot{Providers: []fleet.Provider{busy, idle}}}}
	heights := func(p fleet.Provider) (all []int64) {
		for _, c := range curve(p, s.Peak()) {
			all = append(all, c.Height)
		}
		return all
	}
	if got := heights(busy); !slices.Equal(got, []int64{curveHeight, curveHeight / 2, 1}) {
		t.Errorf("600 and 300 calls are drawn %v high", got)
	}
	if got := heights(idle); !slices.Equal(got, []int64{1, 2, 1}) {
		t.Errorf("one call beside 600 is drawn %v high", got)
	}
	if label := curveLabel(idle, s.Peak()); !strings.Contains(label, "at most 1; the scale ends at 600") {
		t.Error(label)
	}
	if got := heights(fleet.Provider{Curve: nil}); got != nil {
		t.Errorf("an empty curve: %v", got)
	}
}
