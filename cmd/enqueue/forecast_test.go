package main

import (
	"strings"
	"testing"
	"time"

	"oneflow/batches"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/worker"
)

func TestADryRunTellsEverythingAndAcceptsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.worker("mock")
	if _, err := s.pool.Exec(t.Context(), `UPDATE providers SET limits_pinned = '{"rpm": 2}'`); err != nil {
		t.Fatal(err)
	}
	path := file(t, strings.Split(strings.TrimSpace(lines(1, 4)), "\n")...)
	if r := s.enqueue("batch", path, "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	more := file(t, append(strings.Split(strings.TrimSpace(lines(3, 4)), "\n"), "bad", `{"prompt":"x","model":"mock-image","task":"image"}`)...)
	r := s.enqueue("batch", more, "--batch-id", "b1", "--dry-run", "-o", "json")
	f := decoded[forecast](t, r.out)
	if r.code != cli.Failure || !strings.HasSuffix(r.err, "enqueue: 1 bad line would be left out\n") || !strings.Contains(r.err, "prompts.jsonl:5:1: not valid JSON") || s.jobs() != 4 {
		t.Errorf("%+v", r)
	}
	if f.Rows != 5 || f.BadLines != 1 || f.Duplicates != 2 || !f.Simulated || len(f.Models) != 2 || f.Low <= 0 || f.Expected < f.Low || f.High < f.Expected {
		t.Errorf("%+v", f)
	}
	// 4 jobs wait, 5 are added, at 2 a minute.
	if p := f.Providers[0]; len(f.Providers) != 1 || p.Provider != "mock" || p.Jobs != 5 || p.Before != 4 || p.PerMinute != 2 || p.Binds != providers.DimensionRPM.Unit() {
		t.Errorf("%+v", f.Providers)
	}
	if left := time.Until(f.DoneAt); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("done in %s", left)
	}
	r = s.enqueue("batch", path, "--dry-run", "--in", "1h")
	for _, want := range []string{"rows        4\n", "cost        about $0.", "mock        done at ", "in 1h ", ": 2 jobs a minute (bound by its requests/min), after 4 other jobs\n", "length guessed"} {
		if !strings.Contains(r.out, want) || r.code != cli.OK || s.jobs() != 4 {
			t.Errorf("%q is not said: %+v", want, r)
		}
	}
}

func TestABatchThatIsExpectedToCostTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t, strings.Split(strings.TrimSpace(lines(1, 4)), "\n")...)
	if r := s.enqueue("batch", path, "--max-cost", "0.000001"); r.code != cli.OverBudget || !strings.Contains(r.err, "--max-cost 0.000001: the batch is expected to cost $0.") || !strings.HasSuffix(r.err, ": nothing was accepted\n") || s.jobs() != 0 {
		t.Errorf("%+v", r)
	}
	for flag, amount := range map[string]string{"--max-cost": "-1", "--confirm-over": "ten"} {
		if r := s.enqueue("batch", path, flag+"="+amount); r.code != cli.Usage || !strings.Contains(r.err, flag+` "`+amount+`": must be an amount of US dollars`) || s.jobs() != 0 {
			t.Errorf("%s: %+v", flag, r)
		}
	}
	// From standard input, which is read twice then.
	if r := s.run(t.Context(), strings.NewReader(lines(1, 4)), "batch", "-", "--batch-id", "b1", "--max-cost", "3"); r.code != cli.OK || s.jobs() != 4 {
		t.Errorf("%+v", r)
	}
	if got := one[string](s, `SELECT string_agg(concat_ws(' ', batch_id, period, limit_nano, blocks, simulated), ', ' ORDER BY simulated) FROM budgets`); got != "b1 total 3000000000 t f, b1 total 3000000000 t t" {
		t.Errorf("no call may exceed it while the batch runs: %s", got)
	}
	if r := s.run(t.Context(), strings.NewReader(lines(1, 4)), "batch", "-", "--batch-id", "b1", "--max-cost", "5"); r.code != cli.OK || one[int64](s, `SELECT sum(limit_nano)::bigint FROM budgets`) != 10_000_000_000 {
		t.Errorf("another amount: %+v", r)
	}
}

func TestTheFinishIsThatOfTheTightestLimit(t *testing.T) {
	t.Parallel()
	start := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	part := batches.ForecastLine{Provider: "p", Jobs: 600, Calls: 600, InputTokens: 60_000, OutputTokens: 60_000}
	served := worker.Served{Name: "p", Latency: time.Second}
	for name, c := range map[string]struct {
		limits  providers.Limits
		before  int64
		minutes float64
		binds   string
	}{
		"requests":        {providers.Limits{RPM: 60}, 0, 10, providers.DimensionRPM.Unit()},
		"others wait":     {providers.Limits{RPM: 60}, 300, 15, providers.DimensionRPM.Unit()},
		"tokens":          {providers.Limits{RPM: 60, TPM: 2_000}, 0, 60, providers.DimensionTPM.Unit()},
		"output tokens":   {providers.Limits{RPM: 60, OTPM: 3_000}, 0, 20, providers.DimensionOTPM.Unit()},
		"requests a day":  {providers.Limits{RPM: 60, RPD: 250}, 0, 2 * 24 * 60, providers.DimensionRPD.Unit()},
		"whole days":      {providers.Limits{RPM: 60, RPD: 300}, 0, 24 * 60, providers.DimensionRPD.Unit()},
		"enough of a day": {providers.Limits{RPM: 60, RPD: 600}, 0, 10, providers.DimensionRPM.Unit()},
	} {
		plan := worker.NewPlan(served, c.limits, asked(worker.Capacity{Workers: 1}, served, part))
		got := finishOf(plan, part, c.before, start)
		if minutes := got.DoneAt.Sub(start).Minutes(); minutes < c.minutes || minutes > c.minutes+0.1 || got.Binds != c.binds {
			t.Errorf("%s: %g minutes, %s; want %g, %s", name, minutes, got.Binds, c.minutes, c.binds)
		}
	}
}

func TestJobsThatShareCallsAreDoneSooner(t *testing.T) {
	t.Parallel()
	start := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	part := batches.ForecastLine{Provider: "p", Jobs: 600, Calls: 60, InputTokens: 60_000, OutputTokens: 60_000}
	served := worker.Served{Name: "p", Latency: time.Second}
	got := finishOf(worker.NewPlan(served, providers.Limits{RPM: 60, RPD: 100}, asked(worker.Capacity{Workers: 1}, served, part)), part, 0, start)
	if minutes := got.DoneAt.Sub(start).Minutes(); minutes < 1 || minutes > 1.1 || got.PerMinute != 600 || got.Calls != 60 {
		t.Errorf("%g minutes: %+v", minutes, got)
	}
}

// --cache does nothing for a request that asks for variety, and says so.
func TestWhatTheCacheFlagDoesNothingForIsSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t, `{"prompt":"a"}`, `{"prompt":"b","temperature":0}`, `{"prompt":"c","seed":7}`)
	says := func(args ...string) bool {
		r := s.enqueue(append(args, "--provider", "mock")...)
		if r.code != cli.OK {
			t.Fatalf("%v: %+v", args, r)
		}
		return strings.Contains(r.err+r.out, "variety")
	}
	for _, c := range []struct {
		said bool
		args []string
	}{
		{true, []string{"batch", path, "--cache", "1h"}},
		{true, []string{"batch", path, "--cache", "1h", "--dry-run"}},
		{true, []string{"text", "a", "--cache", "1h"}},
		{false, []string{"batch", path}},
		{false, []string{"batch", path, "--cache", "1h", "--cache-varied", "--batch-id", "b2"}},
		{false, []string{"text", "a", "--cache", "1h", "--set", "temperature=0"}},
	} {
		if says(c.args...) != c.said {
			t.Errorf("%v: said %t, want %t", c.args, !c.said, c.said)
		}
	}
	f := decoded[forecast](t, s.enqueue("batch", path, "--cache", "1h", "--provider", "mock", "--dry-run", "-o", "json").out)
	if f.Varied != 1 {
		t.Errorf("%d rows ask for variety, want 1", f.Varied)
	}
}

// How old an answer may be is no part of what a row is: a rerun with another --cache adds none.
func TestAnotherAgeOfTheCacheMakesNoOtherRows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t, `{"prompt":"a","temperature":0}`)
	for _, age := range []string{"0", "1h", "2h"} {
		if r := s.enqueue("batch", path, "--batch-id", "b1", "--append", "--cache", age, "--provider", "mock"); r.code != cli.OK || s.jobs() != 1 {
			t.Errorf("--cache %s: %d jobs, %+v", age, s.jobs(), r)
		}
	}
}
