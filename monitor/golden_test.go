package monitor

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/internal/golden"
	"oneflow/jobs"
	"oneflow/providers"
)

// hostile is text that must never get into a page unescaped.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>`

func sample() Overview {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	curve := make([]int64, fleet.Minutes)
	curve[27], curve[28], curve[29] = 60, 58, 12
	return Overview{
		At: now,
		Snapshot: fleet.Snapshot{
			Totals: fleet.Totals{Unfinished: fleet.MaxUnfinished, More: true, Running: 7, Day: fleet.Traffic{
				Requests: 12_345, Succeeded: 12_000, RateLimited: 45, InputTokens: 1_234_567, OutputTokens: 8_900,
				Money: jobs.Money{Cost: 3*billing.USD + 210_000_000, Simulated: 77 * billing.USD, Unpriced: 1_234},
			}},
			Providers: []fleet.Provider{
				{
					Name: "openai", Kind: "openai", Standing: fleet.Standing{Status: fleet.Available, Limits: providers.Limits{RPM: 60}}, Concurrency: 8, Workers: 2, Curve: curve, P50: 640, P95: 2100,
					Traffic: fleet.Traffic{Requests: 130, Succeeded: 120, RateLimited: 4, Money: jobs.Money{Cost: 4_200_000}},
				},
				{Name: "local", Kind: "mock", Standing: fleet.Standing{Status: fleet.Unavailable, Reason: hostile, By: hostile, Since: now.Add(-2 * time.Hour)}, Concurrency: 4, Curve: make([]int64, fleet.Minutes)},
			},
			Activity: []fleet.Minute{
				{At: now.Add(-2 * time.Minute).Truncate(time.Minute)},
				{At: now.Add(-time.Minute).Truncate(time.Minute), Succeeded: 1200, Failed: 3, Money: jobs.Money{Cost: 1_500_000, Simulated: 2_000_000}},
				{At: now.Truncate(time.Minute), Succeeded: 40},
			},
			Workers: []fleet.Worker{
				{ID: "w1", Host: "alpha", PID: 41, Providers: []string{"openai", "local"}, Alive: true, Running: 7, StartedAt: now.Add(-3 * time.Hour)},
				{ID: "w2", Host: hostile, PID: 42, Providers: []string{"openai"}, SilentFor: 75 * time.Second, StartedAt: now.Add(-4 * time.Hour)},
			},
		},
		Waits: sampleWaits(),
		Batches: []batches.Summary{
			{
				ID: "running-one", Source: hostile, Account: hostile, State: jobs.BatchRunning, CreatedAt: now.Add(-90 * time.Second), PerSecond: 12.4,
				Tally: batches.Tally{
					Counts:   map[jobs.State]int64{jobs.Succeeded: 9_000, jobs.Failed: 2, jobs.Unknown: 1, jobs.Running: 7, jobs.Retrying: 3, jobs.Queued: 987},
					Money:    jobs.Money{Cost: 1_500_000_000, Simulated: 2 * billing.USD, Unpriced: 3},
					Estimate: jobs.Estimate{Jobs: 9_999, Low: 3 * billing.USD, Expected: 4 * billing.USD, High: 12 * billing.USD},
				},
			},
			{
				ID: "empty", Account: jobs.DefaultAccount, State: jobs.BatchOpen, CreatedAt: now.Add(-time.Second),
				Tally: batches.Tally{Counts: map[jobs.State]int64{}},
			},
		},
	}
}

func sampleDetail() Batch {
	o := sample()
	return Batch{Waits: sampleWaits(), Breakdown: batches.Breakdown{
		At: o.At, Summary: o.Batches[0],
		Models: []batches.ModelUse{
			{Provider: "openai", Model: "gpt", Calls: 9_100, Succeeded: 9_000, InputTokens: 90_000, OutputTokens: 12, Money: jobs.Money{Cost: 1_500_000_000}},
			{Provider: "local", Model: hostile, Calls: 3, Money: jobs.Money{Unpriced: 3}},
		},
		Problems: []batches.Problem{
			{State: jobs.Failed, Class: "invalid_request", Jobs: 2, JobID: "j1", Message: hostile, At: o.At.Add(-5 * time.Second)},
			{State: jobs.Retrying, Class: hostile, Jobs: 3, JobID: "j2"},
		},
	}}
}

func sampleWaits() []fleet.Wait {
	return []fleet.Wait{
		{Reason: fleet.WaitForLimit, Provider: "openai", Jobs: 987, Text: "waiting for the limit of openai (60 requests/min), until 12:00:05 UTC"},
		{Reason: fleet.WaitForOperator, Provider: "local", Jobs: 1, Text: "local is unavailable: " + hostile},
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	p, err := newPages("")
	if err != nil {
		t.Fatal(err)
	}
	o, d := sample(), sampleDetail()
	for name, c := range map[string]struct {
		body string
		data any
	}{
		"overview": {"overview", summary{Overview: o, Notices: []notice{{"Redis does not answer.", hostile, "worker run"}}}},
		"empty":    {"overview", summary{Overview: Overview{At: o.At}}},
		"batch":    {"batch", detail{Batch: d}},
		"problem":  {"problem", trouble{"There is no such batch", hostile}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			charts, scripts := c.body == "overview", 1
			if charts {
				scripts = 3
			}
			w := httptest.NewRecorder()
			if err := p.write(w, 200, frame{Title: hostile, Here: name, JSON: "/api/overview", At: o.At, Charts: charts, Menu: []menuItem{{"overview", "/", "Overview"}, {"money", "/money", hostile}}}, c.body, c.data); err != nil {
				t.Fatal(err)
			}
			got := w.Body.Bytes()
			for _, evil := range []string{"<script>alert", "<img src=x", `"><script`} {
				if bytes.Contains(got, []byte(evil)) {
					t.Errorf("the page has %q as it came", evil)
				}
			}
			if n := strings.Count(w.Body.String(), "<script"); n != scripts {
				t.Errorf("%d scripts, want our own only", n)
			}
			if strings.Contains(w.Body.String(), "style=") || strings.Contains(w.Body.String(), "://") {
				t.Error("the page has an inline style or an address elsewhere: neither is let through by its policy")
			}
			golden.Compare(t, name+".html", string(got))
		})
	}
}
