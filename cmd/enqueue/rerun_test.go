package main

import (
	"os"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestARerunWithOtherOptionsIsRefusedByTheirNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t, `{"custom_id":"a","q":"one"}`, `{"custom_id":"b","q":"two"}`)
	made := []string{"batch", path, "--batch-id", "b1", "--template", "Say: {{q}}", "--set", "max_tokens=9", "--set", "system=" + canary, "--provider", "openai", "--model", "gpt-6-luna", "-o", "json"}
	if r := s.enqueue(made...); s.report(r) != (report{"b1", 2, 0, 0}) {
		t.Fatalf("%+v", r)
	}
	with := func(change func(args []string) []string) result {
		return s.enqueue(change(append([]string{}, made...))...)
	}
	replace := func(is, by string) func([]string) []string {
		return func(args []string) []string {
			return strings.Split(strings.Replace(strings.Join(args, "\x00"), is, by, 1), "\x00")
		}
	}
	more := func(more ...string) func([]string) []string {
		return func(args []string) []string { return append(args, more...) }
	}
	for what, c := range map[string]struct {
		change func([]string) []string
		says   string
	}{
		"another template":    {replace("Say: ", "Tell: "), "was made with another --template than this"},
		"another number":      {replace("max_tokens=9", "max_tokens=10"), "was made with --set max_tokens=9, and this has --set max_tokens=10"},
		"another text":        {replace("system="+canary, "system=other"), "was made with another --set system than this"},
		"another model":       {replace("gpt-6-luna", "gpt-4o"), "was made with --model gpt-6-luna, and this has --model gpt-4o"},
		"another provider":    {replace("openai\x00--model\x00gpt-6-luna", "mock"), "was made with --model gpt-6-luna, and this has --model mock-text"},
		"one more option":     {more("--set", "temperature=1"), "was made with no --set temperature, and this has --set temperature=1"},
		"one option less":     {replace("\x00--set\x00max_tokens=9", ""), "was made with --set max_tokens=9, and this has no --set max_tokens"},
		"no fallback":         {more("--no-fallback"), "was made with no --fallback, and this has --fallback never"},
		"a sample":            {more("--sample", "1"), "was made with no --sample, and this has --sample 1"},
		"a column":            {more("--map", "custom_id=q"), "was made with no --map custom_id, and this has --map custom_id=q"},
		"repeated when broke": {more("--on-unknown", "fail"), "was made with --on-unknown retry, and this has --on-unknown fail"},
	} {
		r := with(c.change)
		if rep := s.report(r); rep.Accepted+rep.Duplicates != 0 || r.code != cli.Usage || !strings.Contains(r.err, "batch b1 "+c.says+": nothing was accepted; say the same, use another --batch-id, or say --append") {
			t.Errorf("%s: %+v", what, r)
		}
	}
	for what, change := range map[string]func([]string) []string{
		"the same":                      more(),
		"when, and how urgently":        more("--lane", "high", "--in", "1h"),
		"fewer rows":                    more("--limit", "1"),
		"an answer of some age may do":  more("--cache", "1h"),
		"more, and the other rows stay": more("--append"),
	} {
		if r := with(change); s.report(r).Duplicates == 0 || r.code != cli.OK {
			t.Errorf("%s: %+v", what, r)
		}
	}
	// Rows without an id of their own are known by their content: they would all be new.
	plain := write(t, "plain.txt", "one\ntwo\n")
	if r := s.enqueue("batch", plain, "--batch-id", "b2"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	if r := s.run(t.Context(), strings.NewReader("one\ntwo\n"), "batch", "-", "--batch-id", "b2", "--set", "seed=1"); r.code != cli.Usage || !strings.Contains(r.err, "was made with no --set seed, and this has --set seed=1") {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("batch", plain, "--batch-id", "b2", "--provider", "best", "-o", "json"); s.report(r) != (report{"b2", 0, 2, 0}) {
		t.Errorf("the best of now is that of then: %+v", r)
	}
	if s.jobs() != 4 {
		t.Errorf("%d jobs", s.jobs())
	}
}

func TestARefusedRerunSetsNoBudget(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t, `{"custom_id":"a","prompt":"one"}`)
	if r := s.enqueue("batch", path, "--batch-id", "b1", "--max-cost", "5", "--tag", "team=a"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	limit := func() string {
		return one[string](s, `SELECT string_agg(DISTINCT limit_nano::text, ' ') FROM budgets WHERE batch_id = 'b1'`)
	}
	before := limit()
	for _, more := range [][]string{
		{"--max-cost", "3", "--set", "seed=1"}, {"--budget", "1", "--tag", "team=b"}, {"--budget", "1", "--account", "rich"},
	} {
		if r := s.enqueue(append([]string{"batch", path, "--batch-id", "b1"}, more...)...); r.code != cli.Usage || limit() != before {
			t.Errorf("%v: %s, %+v", more, limit(), r)
		}
	}
	if r := s.enqueue("batch", path, "--batch-id", "b1", "--budget", "7"); r.code != cli.OK || limit() != "7000000000" {
		t.Errorf("%s, %+v", limit(), r)
	}
	if err := os.WriteFile(path, []byte("bad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.enqueue("batch", path, "--batch-id", "none", "--budget", "7"); r.code == cli.OK || one[int](s, `SELECT count(*) FROM budgets WHERE batch_id = 'none'`) != 0 {
		t.Errorf("a batch without a row has a budget: %+v", r)
	}
}
