package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/store"
)

// withKeys runs the command with API keys in its.Environment.
func (s *site) withEnvironment(env map[string]string, args ...string) result {
	s.t.Helper()
	var out, errs strings.Builder
	args = append([]string{"--config", "testdata/default.yaml", "--database-url", s.database, "--redis-url", s.redis}, args...)
	code := cli.Code("enqueue", &errs, run(s.t.Context(), args, cli.Env{
		In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(name string) string { return env[name] },
	}))
	return result{code, out.String(), errs.String()}
}

// worker is a live worker that serves a provider.
func (s *site) worker(provider string) {
	s.t.Helper()
	db, err := store.Open(s.t.Context(), s.database)
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if err := db.AddProvider(s.t.Context(), fleet.Configured{Name: provider, Kind: provider, Concurrency: 1}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.pool.Exec(s.t.Context(), `
		INSERT INTO workers (id, host, pid, providers, heartbeat_at) -- it lives for as long as the test does
		VALUES (gen_random_uuid(), 'here', 1, ARRAY[$1], now() + interval '1 hour')`, provider); err != nil {
		s.t.Fatal(err)
	}
}

func TestTheFirstProviderOfTheChainThatHasAKeyOrALiveWorkerIsAsked(t *testing.T) {
	t.Parallel()
	asked := func(s *site, r result) string {
		return one[string](s, `SELECT provider FROM jobs WHERE id::text = $1`, strings.TrimSpace(r.out))
	}
	s := newSite(t)
	const nobody = "enqueue: the mock answers, which makes everything up and costs nothing: " +
		"no provider of the chain for text (openai, anthropic, gemini) has an API key here or a live worker."
	if r := s.withEnvironment(nil, "text", "a"); asked(s, r) != "mock" || !strings.HasPrefix(r.err, nobody) {
		t.Errorf("nobody: %+v", r)
	}
	if r := s.withEnvironment(nil, "text", "a", "--provider", "mock"); asked(s, r) != "mock" || r.err != "" {
		t.Errorf("the mock is named: %+v", r)
	}
	if r := s.withEnvironment(nil, "video", "a"); asked(s, r) != "mock" || !strings.Contains(r.err, "no provider of the chain for video (gemini) has an API key here") {
		t.Errorf("nobody for film: %+v", r)
	}
	key := map[string]string{"ANTHROPIC_API_KEY": "sk-ant-canary"}
	if r := s.withEnvironment(key, "text", "a", "--set", "max_tokens=100"); asked(s, r) != "anthropic" ||
		!strings.HasPrefix(r.err, "enqueue: asking anthropic for claude-haiku-5-5: at most <$0.0001") || strings.Contains(r.err, "canary") {
		t.Errorf("a key: %+v", r)
	}
	s.worker("openai")
	if r := s.withEnvironment(key, "text", "a"); asked(s, r) != "openai" || !strings.HasPrefix(r.err, "enqueue: asking openai for gpt-6-luna: at most $0.") {
		t.Errorf("a live worker of the first: %+v", r)
	}
	if r := s.withEnvironment(key, "text", "a", "--chain", "mock,openai"); asked(s, r) != "mock" || r.err != "" {
		t.Errorf("a chain: %+v", r)
	}
	if r := s.withEnvironment(key, "text", "a", "--provider", "openai", "--model", "gpt-99-typo"); asked(s, r) != "openai" ||
		!strings.Contains(r.err, "enqueue: asking openai for gpt-99-typo: no price is known for this model") {
		t.Errorf("an unknown model: %+v", r)
	}
	if r := s.withEnvironment(map[string]string{"OPENAI_BASE_URL": "nonsense"}, "text", "a"); r.code != cli.Usage || !strings.Contains(r.err, "OPENAI_BASE_URL: base_url: must be an address") {
		t.Errorf("a base URL in the environment: %+v", r)
	}
	simulated := map[string]string{"ONEFLOW_SIMULATED": "openai"}
	if r := s.withEnvironment(simulated, "text", "a"); asked(s, r) != "openai" || r.err != "" {
		t.Errorf("simulated money is not spoken of: %+v", r)
	}
}

func TestABatchSaysWhatItCostsBeforeItsRowsAreAcceptedAndInTheEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t, `{"prompt":"a","max_tokens":10}`, `{"prompt":"b","max_tokens":10}`, `{"prompt":"c","provider":"mock"}`, `{"prompt":"d","model":"my-own"}`)
	r := s.withEnvironment(map[string]string{"OPENAI_API_KEY": "sk-canary"}, "batch", path, "--batch-id", "b1")
	for _, want := range []string{
		"enqueue: asking openai for gpt-6-luna: at most ", " for each job like the first\n",
		"enqueue: asking openai for my-own: no price is known for this model",
		"enqueue: 3 jobs cost at most <$0.0001", " in all, and those without a known price\n",
	} {
		if !strings.Contains(r.err, want) {
			t.Errorf("%q is not said: %+v", want, r)
		}
	}
	// Whoever has a key by then, the same command makes the same jobs.
	r = s.withEnvironment(map[string]string{"ANTHROPIC_API_KEY": "sk-canary"}, "batch", path, "--batch-id", "b1", "-o", "json")
	if rep := s.report(r); rep != (report{"b1", 0, 4, 0}) {
		t.Errorf("%+v", r)
	}
}

func TestABatchTakesNoRowsOfAnotherFileUnlessToldTo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	take := func(path string, more ...string) (report, result) {
		r := s.enqueue(append([]string{"batch", path, "--batch-id", "b1", "-o", "json"}, more...)...)
		return s.report(r), r
	}
	a, b := write("a.jsonl", "bad\n{\"prompt\":\"one\"}\n{\"prompt\":\"two\"}\n"), write("b.jsonl", "{\"prompt\":\"three\"}\n")
	if rep, r := take(a); rep != (report{"b1", 2, 0, 1}) {
		t.Fatalf("%+v", r)
	}
	if rep, r := take(b); rep != (report{"b1", 0, 0, 0}) || r.code != cli.Usage || !strings.Contains(r.err, "enqueue: batch b1 has rows of another file, or other steps: nothing was accepted; say --append") {
		t.Errorf("another file: %+v", r)
	}
	write("a.jsonl", "{\"prompt\":\"mended\"}\n{\"prompt\":\"one\"}\n{\"prompt\":\"two\"}\n")
	if rep, r := take(a, "--lane", "high"); rep != (report{"b1", 1, 2, 0}) || r.code != cli.OK {
		t.Errorf("the same file, mended in its first line: %+v", r)
	}
	moved := write("moved.jsonl", "{\"prompt\":\"one\"}\n{\"prompt\":\"four\"}\n")
	if rep, r := take(moved); rep != (report{"b1", 1, 1, 0}) || r.code != cli.OK {
		t.Errorf("a file that begins with a row of the batch: %+v", r)
	}
	if rep, r := take(b, "--append"); rep != (report{"b1", 1, 0, 0}) || r.code != cli.OK {
		t.Errorf("--append: %+v", r)
	}
}
