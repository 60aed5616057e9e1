package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

// A batch's --cache as somebody types it: the same requests cost nothing again, which the dry
// run and the monitor say before and after, until the answers are cleared. What a request's
// files hold is part of it.
func TestTheSameRequestsAgainCostNothingUntilTheCacheIsCleared(t *testing.T) {
	t.Parallel()
	server, err := harness.Provider(fakeprovider.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	sut := newSystem(t, "concurrency: 4, latency: 1ms")
	sut.Env = append(sut.Env, "OPENAI_BASE_URL="+server.URL+"/openai/v1")
	sut.workerOf("openai")
	rows := []map[string]any{
		{"custom_id": "a", "prompt": canaryPrompt},
		{"custom_id": "b", "prompt": "another"},
		{"custom_id": "b again", "prompt": "another"},
		{"custom_id": "seen", "messages": []any{map[string]any{"role": "user", "content": []any{
			map[string]any{"type": "text", "text": "what is this?"}, map[string]any{"type": "image", "file": "a.png"},
		}}}},
	}
	path := sut.file("rows.jsonl", rows)
	picture := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(sut.Dir, "a.png"), append([]byte("\x89PNG\r\n\x1a\n"), content...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	picture("one")
	type told struct {
		Hits  int64  `json:"cache_hits"`
		Saved string `json:"saved_usd"`
	}
	flags := []string{path, "--provider", "openai", "--set", "seed=7", "--cache", "1h"}
	foretold := func() int64 {
		t.Helper()
		return decode[told](sut, "enqueue", append([]string{"batch", "--dry-run", "-o", "json"}, flags...)...).Hits
	}
	run := func(id string) (calls int64) {
		t.Helper()
		before := server.Count()
		sut.run(0, "enqueue", append([]string{"batch", "--batch-id", id, "--watch"}, flags...)...)
		return server.Count() - before
	}
	if n := foretold(); n != 1 {
		t.Errorf("%d hits are foretold of an empty cache, want the row that is there twice", n)
	}
	if n := run("first"); n != 3 {
		t.Errorf("%d calls for three different requests", n)
	}
	if n := foretold(); n != 4 {
		t.Errorf("%d hits are foretold, want all four", n)
	}
	if n := run("second"); n != 0 {
		t.Errorf("%d calls for requests that were answered", n)
	}
	if cost := sut.text(`SELECT string_agg(cost_nano::text, ' ') FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE j.batch_id = 'second'`); cost != "0 0 0 0" {
		t.Errorf("they cost %s", cost)
	}
	// The text of the first and of the second are the same.
	if n := sut.number(`SELECT count(DISTINCT r.text) FROM results r JOIN jobs j ON j.id = r.job_id WHERE j.custom_id = 'a'`); n != 1 {
		t.Errorf("%d different answers to one request", n)
	}
	bill := sut.run(0, "enqueue", "cost", "second")
	if !strings.Contains(bill, "cache") || !strings.Contains(bill, "answers from the cache saved $") {
		t.Error(bill)
	}
	type stats struct {
		Answers int64  `json:"answers"`
		Hits    int64  `json:"hits"`
		Saved   string `json:"saved_usd"`
	}
	if s := decode[stats](sut, "monitor", "cache", "stats", "-o", "json"); s.Answers != 3 || s.Hits != 5 || s.Saved == "0" || s.Saved == "" {
		t.Errorf("%+v, want 3 answers and the 5 hits of both batches", s)
	}
	if text := sut.run(0, "monitor", "cache", "stats"); !strings.Contains(text, "3, ") || !strings.Contains(text, "5 in 30d") {
		t.Error(text)
	}
	picture("two")
	if n := run("third"); n != 1 {
		t.Errorf("%d calls for one other picture", n)
	}
	// Answers outlive the batches that they were made of.
	sut.run(0, "enqueue", "rm", "first", "--yes")
	if n := run("fourth"); n != 0 {
		t.Errorf("%d calls after the first batch was removed", n)
	}
	if text := sut.run(0, "monitor", "cache", "clear", "--model", "another"); text != "0 answers forgotten\n" {
		t.Error(text)
	}
	if text := sut.run(0, "monitor", "cache", "clear", "--provider", "openai"); text != "4 answers forgotten\n" {
		t.Error(text)
	}
	if n := run("fifth"); n != 3 {
		t.Errorf("%d calls after the cache was cleared", n)
	}
}

// The age that the configuration allows holds for jobs that say nothing of it.
func TestTheConfiguredCacheHoldsForJobsThatSayNothing(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "concurrency: 4, latency: 1ms")
	config, err := os.ReadFile(sut.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	sut.configure(string(config) + "cache: {ttl: 1h}\n")
	sut.worker()
	ask := func(flags ...string) int {
		t.Helper()
		before, _ := sut.calls()
		sut.run(0, "enqueue", append([]string{"text", canaryPrompt, "--provider", "mock", "--set", "temperature=0", "--wait"}, flags...)...)
		after, _ := sut.calls()
		return len(after) - len(before)
	}
	for i, c := range []struct {
		flags []string
		calls int
	}{{nil, 1}, {nil, 0}, {[]string{"--cache", "0"}, 1}, {[]string{"--cache", "1h"}, 0}} {
		if n := ask(c.flags...); n != c.calls {
			t.Errorf("job %d, %q: %d calls, want %d", i, c.flags, n, c.calls)
		}
	}
}

// With --warm the first of the rows that begin alike is answered before the others are sent:
// the vendor writes their beginning to its cache once, on that row's bill, and finds it again
// for all others.
func TestTheFirstOfTheRowsThatBeginAlikeWarmsTheVendorsCache(t *testing.T) {
	t.Parallel()
	server, err := harness.Provider(fakeprovider.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	sut := newSystem(t, "concurrency: 4, latency: 1ms")
	sut.Env = append(sut.Env, "ANTHROPIC_BASE_URL="+server.URL+"/anthropic")
	sut.workerOf("anthropic")
	const n = 20
	var rows []map[string]any
	for i := range n {
		rows = append(rows, map[string]any{
			"custom_id": fmt.Sprint("r", i), "prompt": fmt.Sprint("question ", i), "max_tokens": 20,
			"system": fmt.Sprint("handbook ", i%2) + strings.Repeat(" of all the rules that hold for every one of these rows", 500),
		})
	}
	path := sut.file("rows.jsonl", rows)
	type forecast struct {
		Models []struct {
			Prefix *struct {
				Rows   int64 `json:"rows"`
				Groups int64 `json:"groups"`
				Marks  bool  `json:"needs_marks"`
			} `json:"prefix"`
		} `json:"models"`
	}
	f := decode[forecast](sut, "enqueue", "batch", path, "--provider", "anthropic", "--dry-run", "-o", "json")
	if p := f.Models[0].Prefix; p == nil || p.Rows != n || p.Groups != 2 || !p.Marks {
		t.Errorf("%+v", f)
	}
	sut.run(0, "enqueue", "batch", path, "--provider", "anthropic", "--batch-id", "warm", "--warm", "--watch")
	const of = ` FROM calls c JOIN call_jobs f ON f.call_id = c.id JOIN jobs j ON j.id = f.job_id WHERE j.batch_id = 'warm' AND c.state = 'succeeded' AND `
	if ids := sut.text(`SELECT string_agg(j.custom_id, ' ' ORDER BY j.seq)` + of + `(c.usage->>'cache_write_tokens')::int > 0`); ids != "r0 r1" {
		t.Errorf("%s wrote to the cache, want the first of each handbook", ids)
	}
	if read := sut.number(`SELECT count(*)` + of + `(c.usage->>'cached_input_tokens')::int > 1000`); read != n-2 {
		t.Errorf("%d rows found their beginning in the cache, want %d", read, n-2)
	}
	if got := sut.number(`SELECT count(*) FROM jobs WHERE batch_id = 'warm'`); got != n {
		t.Errorf("%d jobs, want %d", got, n)
	}
}
