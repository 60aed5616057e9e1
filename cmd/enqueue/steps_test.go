package main

import (
	"strings"
	"testing"

	"oneflow/batches"
	"oneflow/internal/cli"
	"oneflow/internal/storetest"
)

// Steps that follow belong to the batch: one budget caps them, one order stops them.
func TestABatchWithStepsIsOnePipeline(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	rows := file(t, `{"prompt":"a","topic":"x"}`, `{"prompt":"b","topic":"y"}`)
	next := write(t, "next.yaml", "template: 'Go on: {{answer}} about {{topic}}'\nprovider: mock\n")
	r := s.enqueue("batch", rows, "--batch-id", "p", "--provider", "mock", "--budget", "5", "--then", next, "-o", "json")
	if r.code != cli.OK || s.report(r).Accepted != 2 {
		t.Fatalf("%+v", r)
	}
	if tags := one[string](s, `SELECT string_agg(DISTINCT tag || batch_id, ',') FROM budgets`); tags != "pipeline=p" {
		t.Errorf("the budget is of %q", tags)
	}
	status := s.enqueue("status", "p")
	if !strings.Contains(status.out, "p.2.next") || !strings.Contains(status.out, "LEFT OUT") {
		t.Errorf("%+v", status)
	}
	if r := s.enqueue("cancel", "p"); r.code != cli.OK {
		t.Errorf("%+v", r)
	}
	if n := one[int64](s, `SELECT count(*) FROM batches WHERE cancelled_at IS NOT NULL`); n != 2 {
		t.Errorf("%d of 2 steps are cancelled", n)
	}
}

// What a pipeline asks for, who answers and why it waits are told of all of its steps.
func TestTheStatusOfAPipelineIsOfAllItsSteps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	rows := file(t, `{"prompt":"a"}`, `{"prompt":"b"}`)
	next := write(t, "next.yaml", "template: 'Go on: {{answer}}'\nprovider: openai\nmodel: gpt-6-luna\n")
	if r := s.enqueue("batch", rows, "--batch-id", "p", "--provider", "mock", "--then", next); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	for _, id := range one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs`) {
		s.finish(id, "said", "")
	}
	r := s.enqueue("status", "p")
	for _, want := range []string{"asked        mock mock-text: 2\n", "asked        openai gpt-6-luna: 2\n", "answered     mock mock-text: 2\n", "waits        2 jobs: no worker is running"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing: %+v", want, r)
		}
	}
	all := decoded[batchStatus](t, s.enqueue("status", "p", "-o", "json").out)
	if len(all.Asked) != 2 || len(all.Waits) != 1 || all.Waits[0].Jobs != 2 || len(all.Steps) != 2 {
		t.Errorf("%+v", all)
	}
	if step := decoded[batchStatus](t, s.enqueue("status", "p.2.next", "-o", "json").out); len(step.Asked) != 1 || step.Asked[0].Jobs != 2 || len(step.Answered) != 0 {
		t.Errorf("of one step alone: %+v", step)
	}
}

func TestStepsAndWebhooksThatCannotWorkAreRefusedBefore(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	rows := file(t, `{"prompt":"a","topic":"x"}`)
	step := func(text string) string { return write(t, "next.yaml", text) }
	for _, c := range []struct {
		want string
		args []string
	}{
		{"template: is missing", []string{"--then", step("provider: mock\n")}},
		{"no {{column}}", []string{"--then", step("template: always\nprovider: mock\n")}},
		{`there is no column "tpoic"`, []string{"--then", step("template: '{{tpoic}}'\nprovider: mock\n")}},
		{"unknown field", []string{"--then", step("template: '{{answer}}'\nprovidr: mock\n")}},
		{"is not configured", []string{"--then", step("template: '{{answer}}'\nprovider: nobody\n")}},
		{"must be a column", []string{"--then", step("template: '{{answer}}'\nprovider: mock\nfilter: answer\n")}},
		{"small letters", []string{"--then", step("name: Next One\ntemplate: '{{answer}}'\nprovider: mock\n")}},
		{"no such file", []string{"--then", "nofile.yaml"}},
		{"must begin with https://", []string{"--webhook", "http://example.com/x"}},
		{"no user or password", []string{"--webhook", "https://a:b@example.com/x"}},
		{"name the URL with --webhook", []string{"--webhook-per", "job"}},
	} {
		r := s.enqueue(append([]string{"batch", rows, "--provider", "mock"}, c.args...)...)
		if r.code != cli.Usage || !strings.Contains(r.err, c.want) {
			t.Errorf("%q: %d %s, want an error with %q", c.args, r.code, r.err, c.want)
		}
	}
	if n := one[int64](s, `SELECT count(*) FROM batches`); n != 0 {
		t.Errorf("%d batches were made", n)
	}
}

// A forecast is of all steps, and so is what --max-cost refuses.
func TestTheForecastOfAPipelineIsOfAllSteps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	rows := file(t, `{"prompt":"a","topic":"x"}`, `{"prompt":"b","topic":"y"}`)
	next := write(t, "next.yaml", "template: 'Go on: {{answer}} about {{topic}}'\nprovider: mock\n")
	alone := decoded[forecast](t, s.enqueue("batch", rows, "--provider", "mock", "--dry-run", "-o", "json").out)
	r := s.enqueue("batch", rows, "--provider", "mock", "--then", next, "--dry-run", "-o", "json")
	all := decoded[forecast](t, r.out)
	if r.code != cli.OK || len(all.Models) != 2 || all.Models[0].Step != "first" || all.Models[1].Step != "next" || all.Models[1].Jobs != 2 {
		t.Fatalf("%+v", r)
	}
	if all.Models[0].Expected != alone.Expected || all.Expected <= alone.Expected || all.Providers[0].Jobs != 4 {
		t.Errorf("%s in all, %s for the first: %+v", all.Expected, alone.Expected, all.Providers)
	}
	between := (alone.Expected + (all.Expected-alone.Expected)/2).String()
	if r := s.enqueue("batch", rows, "--provider", "mock", "--max-cost", between); r.code != cli.OK {
		t.Errorf("the first step alone fits in %s: %+v", between, r)
	}
	if r := s.enqueue("batch", rows, "--provider", "mock", "--then", next, "--max-cost", between); r.code != cli.OverBudget {
		t.Errorf("both do not fit in %s: %+v", between, r)
	}
	if r := s.enqueue("batch", rows, "--provider", "mock", "--then", next, "--dry-run"); !strings.Contains(r.out, "STEP") || !strings.Contains(r.out, "Each row is taken to pass the filters") {
		t.Errorf("%+v", r)
	}
}

func TestRemovingAPipelineRemovesAllOfItsSteps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	rows := file(t, `{"prompt":"a"}`)
	next := write(t, "next.yaml", "template: 'Go on: {{answer}}'\nprovider: mock\n")
	if r := s.enqueue("batch", rows, "--batch-id", "p", "--provider", "mock", "--then", next); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	if r := s.enqueue("cancel", "p"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	if r := s.enqueue("rm", "p"); !strings.Contains(r.err, "Remove the pipeline p for good: 1 job of 2 steps with their results, and 0 files?") {
		t.Errorf("it asks: %+v", r)
	}
	if r := s.enqueue("rm", "p", "--yes"); r.code != cli.OK || s.jobs() != 0 {
		t.Errorf("%+v, and %d jobs are left", r, s.jobs())
	}
	if n := one[int64](s, `SELECT count(*) FROM batches WHERE removed_at IS NOT NULL`); n != 2 {
		t.Errorf("%d of 2 steps are removed", n)
	}
	storetest.Invariants(t, s.pool)
}

// Each fire of a schedule with steps is a pipeline of its own.
func TestAScheduleMayHaveSteps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	rows := file(t, `{"prompt":"a","topic":"x"}`)
	add := func(name, template string) result {
		next := write(t, "next.yaml", "template: '"+template+"'\nprovider: mock\n")
		return s.enqueue("schedule", "add", name, "--every", "6h", "--", "batch", rows, "--provider", "mock", "--then", next)
	}
	if r := add("nightly", "{{answer}} about {{topic}}"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	kept, err := batches.ParseKept([]byte(one[string](s, `SELECT input::text FROM schedules`)))
	if err != nil {
		t.Fatal(err)
	}
	b := kept.Batch("nightly-1", map[string]string{"team": "a"})
	if len(b.Steps) != 2 || b.Steps[1].Batch != "nightly-1.2.next" || b.Tags["pipeline"] != "nightly-1" || b.Tags["team"] != "a" {
		t.Errorf("%+v", b)
	}
	if r := add("other", "{{tpoic}}"); r.code != cli.Usage || !strings.Contains(r.err, `there is no column "tpoic"`) {
		t.Errorf("a column that is not there: %+v", r)
	}
	long := write(t, "next.yaml", "name: a-step-of-many-letters\ntemplate: '{{answer}}'\nprovider: mock\n")
	r := s.enqueue("schedule", "add", strings.Repeat("n", 40), "--every", "6h", "--", "batch", rows, "--provider", "mock", "--then", long)
	if r.code != cli.Usage || !strings.Contains(r.err, "shorter") {
		t.Errorf("an id that is too long: %+v", r)
	}
}
