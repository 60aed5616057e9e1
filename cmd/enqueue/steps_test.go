package main

import (
	"strings"
	"testing"

	"oneflow/internal/cli"
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
