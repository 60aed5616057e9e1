package worker_test

import (
	"math"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/worker"
)

func TestAPlanUsesTheLimitUpAndSaysWhatBinds(t *testing.T) {
	t.Parallel()
	// seen is a fleet that has seen calls enough.
	seen := func(workers int, p90, mean time.Duration) worker.Capacity {
		return worker.Capacity{Workers: workers, Calls: 100, Latency: p90, MeanLatency: mean, InputTokens: 100, OutputTokens: 300}
	}
	for name, c := range map[string]struct {
		served   worker.Served
		limits   providers.Limits
		capacity worker.Capacity
		share    int
		rate     float64 // jobs/min of the fleet
		binds    string
	}{
		// ceil(10/s × (300 + 80 ms)) = 4 busy and 4 that wait.
		"requests":                               {worker.Served{}, providers.Limits{RPM: 600}, seen(1, 300*time.Millisecond, 200*time.Millisecond), 8, 600, providers.DimensionRPM.Unit()},
		"shared":                                 {worker.Served{}, providers.Limits{RPM: 600}, seen(4, 300*time.Millisecond, 200*time.Millisecond), 2, 600, providers.DimensionRPM.Unit()},
		"shared by more workers than are needed": {worker.Served{}, providers.Limits{RPM: 6}, seen(20, time.Second, time.Second), 2, 6, providers.DimensionRPM.Unit()},
		// 100/s × 2.08 s = 208, and a quarter (52) on top.
		"a quarter waits":                 {worker.Served{Max: 1000}, providers.Limits{RPM: 6000}, seen(1, 2*time.Second, time.Second), 260, 6000, providers.DimensionRPM.Unit()},
		"a mean beyond the 9th tenth":     {worker.Served{Max: 1000}, providers.Limits{RPM: 6000}, seen(1, time.Second, 2*time.Second), 260, 6000, providers.DimensionRPM.Unit()},
		"requests a second":               {worker.Served{}, providers.Limits{RPS: 5, RPM: 600}, seen(1, 120*time.Millisecond, 100*time.Millisecond), 5, 300, providers.DimensionRPS.Unit()},
		"a day's limit does not pace":     {worker.Served{}, providers.Limits{RPD: 10, RPM: 600}, seen(1, 120*time.Millisecond, 100*time.Millisecond), 6, 600, providers.DimensionRPM.Unit()},
		"tokens":                          {worker.Served{}, providers.Limits{RPM: 6000, TPM: 60_000}, seen(1, 720*time.Millisecond, 500*time.Millisecond), 6, 150, providers.DimensionTPM.Unit()},
		"input tokens":                    {worker.Served{}, providers.Limits{ITPM: 6000, OTPM: 60_000}, seen(1, 920*time.Millisecond, 500*time.Millisecond), 5, 60, providers.DimensionITPM.Unit()},
		"output tokens":                   {worker.Served{}, providers.Limits{ITPM: 60_000, OTPM: 18_000}, seen(1, 920*time.Millisecond, 500*time.Millisecond), 5, 60, providers.DimensionOTPM.Unit()},
		"tokens of no call seen":          {worker.Served{Latency: time.Second}, providers.Limits{TPM: 10}, worker.Capacity{Workers: 2}, 64, 2 * 64 / 1.08 * 60, worker.BindsUnlimited},
		"calls at once":                   {worker.Served{}, providers.Limits{Concurrent: 5}, seen(1, 2*time.Second, time.Second), 9, 300, providers.DimensionConcurrent.Unit()},
		"more at once than needed":        {worker.Served{}, providers.Limits{RPM: 60, Concurrent: 500}, seen(1, 2*time.Second, time.Second), 7, 60, providers.DimensionRPM.Unit()},
		"nothing seen":                    {worker.Served{Latency: 5 * time.Second}, providers.Limits{RPM: 60}, worker.Capacity{Workers: 1}, 10, 60, providers.DimensionRPM.Unit()},
		"nothing known at all":            {worker.Served{}, providers.Limits{RPM: 60}, worker.Capacity{}, 6, 60, providers.DimensionRPM.Unit()},
		"too few calls seen":              {worker.Served{Latency: 5 * time.Second}, providers.Limits{RPM: 60}, worker.Capacity{Workers: 1, Calls: 9, Latency: time.Hour}, 10, 60, providers.DimensionRPM.Unit()},
		"at most 256":                     {worker.Served{}, providers.Limits{RPM: 60_000}, seen(1, 1200*time.Millisecond, 920*time.Millisecond), 256, 15_360, worker.BindsMax},
		"at most what is said":            {worker.Served{Max: 10}, providers.Limits{RPM: 60_000}, seen(1, 1200*time.Millisecond, 920*time.Millisecond), 10, 600, worker.BindsMax},
		"at least what is said":           {worker.Served{Min: 50}, providers.Limits{RPM: 60}, seen(3, 120*time.Millisecond, 100*time.Millisecond), 50, 60, providers.DimensionRPM.Unit()},
		"max that is enough":              {worker.Served{Max: 5}, providers.Limits{RPM: 60}, seen(1, 2*time.Second, time.Second), 5, 60, providers.DimensionRPM.Unit()},
		"configured, too few":             {worker.Served{Concurrency: 2, Max: 1}, providers.Limits{RPM: 6000}, seen(3, time.Second, 920*time.Millisecond), 2, 360, worker.BindsConfigured},
		"configured, more than is of use": {worker.Served{Concurrency: 400}, providers.Limits{RPM: 60}, seen(1, time.Second, time.Second), 400, 60, providers.DimensionRPM.Unit()},
		"configured, no limit":            {worker.Served{Concurrency: 100}, providers.Limits{}, seen(1, time.Second, 920*time.Millisecond), 100, 6000, worker.BindsConfigured},
		"no limit":                        {worker.Served{}, providers.Limits{}, seen(2, time.Second, 920*time.Millisecond), 64, 7680, worker.BindsUnlimited},
		"no limit, at most 10":            {worker.Served{Max: 10}, providers.Limits{}, seen(2, time.Second, 920*time.Millisecond), 10, 1200, worker.BindsMax},
		"beyond all numbers":              {worker.Served{Max: 300}, providers.Limits{RPM: math.MaxInt64}, seen(1, 100*time.Hour, 3*time.Hour), 300, 300 / (3*time.Hour + 80*time.Millisecond).Minutes(), worker.BindsMax},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := worker.NewPlan(c.served, c.limits, c.capacity)
			if p.Share != c.share || math.Abs(p.JobsPerMinute-c.rate) > c.rate/1e6 || p.Binds != c.binds {
				t.Errorf("%d at once for %g jobs/min, bound by %s; want %d, %g, %s", p.Share, p.JobsPerMinute, p.Binds, c.share, c.rate, c.binds)
			}
			if p.High != max(2, p.Share/4) || p.Fleet() != p.Share*max(1, c.capacity.Workers) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func FuzzAPlanIsAlwaysOneThatCanBeRun(f *testing.F) {
	f.Add(int64(600), int64(0), int64(0), int64(1), int64(time.Second), 1.5)
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt32), int64(math.MaxInt64), math.MaxFloat64)
	f.Add(int64(-1), int64(-1), int64(-1), int64(-1), int64(-1), -1.)
	f.Fuzz(func(t *testing.T, rpm, tpm, concurrent, workers, latency int64, tokens float64) {
		p := worker.NewPlan(worker.Served{}, providers.Limits{RPM: rpm, TPM: tpm, Concurrent: concurrent}, worker.Capacity{
			Workers: int(workers), Calls: 10, Latency: time.Duration(latency), MeanLatency: time.Duration(latency), InputTokens: tokens,
		})
		if p.Share < 1 || p.Share > 256 || p.High < 2 || p.Binds == "" {
			t.Errorf("%+v", p)
		}
	})
}

func TestAConfiguredConcurrencyIsSharedOutToTheLast(t *testing.T) {
	t.Parallel()
	s := worker.Served{Name: "p", Concurrency: 200, Latency: 4 * time.Second}
	whole, each := worker.NewPlans(s, providers.Limits{}, map[string]providers.Limits{"m": {}}, worker.Capacity{Workers: 1})
	if whole.Share != 200 || each["m"].Share != 200 {
		t.Errorf("the only class runs %d of %d at once, want all 200", each["m"].Share, whole.Share)
	}
	_, each = worker.NewPlans(s, providers.Limits{}, map[string]providers.Limits{"slow": {RPM: 60}, "fast": {RPM: 6000}}, worker.Capacity{Workers: 1})
	if slow, fast := each["slow"].Share, each["fast"].Share; slow+fast > 200 || slow+fast < 198 || slow < 1 || fast < 10*slow {
		t.Errorf("the slow class runs %d and the fast one %d at once, want 200 by their rates", slow, fast)
	}
}
