package main

import (
	"strings"
	"testing"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/providers/kinds"
	"oneflow/store"
)

// route holds what a job says of who is to be asked.
const route = `SELECT concat_ws(' ', provider, coalesce(chain::text, '-'), fallback) FROM jobs WHERE coalesce(custom_id, id::text) = $1`

func TestAJobMayHaveItsOwnChain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for args, want := range map[string]string{
		"--provider openai":                           "openai - auto",
		"--provider openai --no-fallback":             "openai - never",
		"--provider openai --fallback always":         "openai - always",
		"--chain anthropic,openai":                    "anthropic {anthropic,openai} auto",
		"--chain openai,mock --provider openai":       "openai {openai,mock} auto",
		"--chain openai,mock --fallback always":       "openai {openai,mock} always",
		"--chain anthropic --no-fallback --lane high": "anthropic {anthropic} never",
	} {
		r := s.enqueue(append([]string{"text", "hello"}, strings.Fields(args)...)...)
		if got := one[string](s, route, strings.TrimSpace(r.out)); r.code != cli.OK || got != want {
			t.Errorf("%s: got %q, want %q: %+v", args, got, want, r)
		}
	}
	for args, says := range map[string]string{
		"--chain openai,openai":               "openai is there twice",
		"--chain openai,telex":                `"telex" is not configured; there are ` + strings.Join(kinds.Configurable(), ", "),
		"--chain openai,mock --provider mock": "must begin with --provider, which is mock",
		"--chain openai,mock --no-fallback":   "without fallback only openai would be asked",
		"--chain openai,stability":            "provider stability cannot do",
		"--fallback sometimes":                ": must be ",
		"--fallback always --no-fallback":     "--fallback always says otherwise",
		"--provider best --model gpt-4o":      "leave one of them out",
		"--provider best --chain openai":      "leave one of them out",
		"--provider telex":                    "mock, openai, stability, and best",
		"--set chain=openai":                  "use --chain",
		"--set fallback=never":                "use --fallback",
	} {
		if r := s.enqueue(append([]string{"text", "hello"}, strings.Fields(args)...)...); r.code != cli.Usage || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v, want %q", args, r, says)
		}
	}
}

func TestARowMayHaveItsOwnChain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.run(t.Context(), strings.NewReader(strings.Join([]string{
		`{"custom_id": "plain", "prompt": "p"}`,
		`{"custom_id": "chain", "prompt": "p", "chain": ["anthropic", "mock"], "fallback": "always"}`,
		`{"custom_id": "provider", "prompt": "p", "provider": "anthropic"}`,
		`{"prompt": "p", "chain": ["anthropic"], "provider": "mock"}`,
		`{"prompt": "p", "chain": []}`,
		`{"prompt": "p", "chain": {"openai": 1}}`,
		`{"prompt": "p", "chain": ["openai", "mock"], "fallback": "never"}`,
		`{"prompt": "p", "fallback": "now"}`,
	}, "\n")), "batch", "-", "--chain", "openai,mock")
	for id, want := range map[string]string{
		"plain": "openai {openai,mock} auto", "chain": "anthropic {anthropic,mock} always", "provider": "anthropic - auto",
	} {
		if got := one[string](s, route, id); got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
	for _, want := range []string{
		`stdin:4: chain: must begin with the provider, which is "mock"`,
		"stdin:5: chain: must name at least one provider",
		"stdin:6: chain: must be a list, got a JSON object",
		"stdin:7: fallback: never means that only openai is asked",
		`stdin:8: fallback "now": must be auto, never or always`,
	} {
		if !strings.Contains(r.err, want) {
			t.Errorf("%q is not said: %+v", want, r)
		}
	}
}

func TestWhatAServerDoesNotTakeIsRefusedWhereItIsEnqueued(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for args, says := range map[string]string{
		"--provider perplexity --model perplexity/sonar --set stop=x":          "stop: Perplexity does not take it: leave it out",
		"--provider search --model perplexity/sonar --set seed=7":              "seed: Perplexity does not take it: leave it out",
		"--provider groq --model llama-3.3-70b-versatile --set n=2":            "n: Groq makes one answer a call, got 2: enqueue one job for each",
		"--provider xai --model grok-4.6 --set stop=x":                         "stop: grok-4.6 does not take it: leave it out, or name another model",
		"--chain ollama,mock --model qwen3:8b --set n=2":                       "n: Ollama makes one answer a call",
		"--provider fireworks --model m --set service_tier=flex":               `service_tier: Fireworks knows priority beside its default, got "flex": name that, or leave it out`,
		"--provider vllm --model m --set service_tier=flex":                    `service_tier: vLLM passes over it, got "flex": leave it out`,
		"--chain openai,perplexity --model gpt-4o --set stop=x":                "", // Perplexity is passed over if it comes to that
		"--provider vllm --model m --set stop=x --set n=2 --set logprobs=true": "",
		"--provider perplexity --model perplexity/sonar --set max_tokens=50":   "",
		"--provider deepseek --model deepseek-v4-flash --set logprobs=true":    "",
	} {
		r := s.enqueue(append([]string{"--config", "testdata/servers.yaml", "text", "hello"}, strings.Fields(args)...)...)
		if (r.code == cli.OK) != (says == "") || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v, want %q", args, r, says)
		}
	}
}

// calls writes n calls of a provider into the ledger, of which some failed.
func (s *site) calls(provider, model string, succeeded, failed, milliseconds int) {
	s.t.Helper()
	for i := range succeeded + failed {
		state, kind, cost := "succeeded", "", "1000000"
		if i >= succeeded {
			state, kind, cost = "failed_unbilled", "overloaded", "0"
		}
		_, err := s.pool.Exec(s.t.Context(), `
			WITH job AS (
				INSERT INTO jobs (id, key, content_sha256, task, provider, request)
				VALUES (gen_random_uuid(), 'k', decode(repeat('ab', 32), 'hex'), 'text', $1, '{}')
				RETURNING id
			), state AS (
				INSERT INTO job_states (job_id, state, deadline, finished_at) SELECT id, 'succeeded', now(), now() FROM job
			), served AS (
				INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token, share_nano) SELECT id, id, 1, 1, id, $5::bigint FROM job
			)
			INSERT INTO calls (id, worker_id, provider, model, state, error_kind, cost_nano, latency_ms, deadline, finished_at)
			SELECT id, id, $1, $2, $3, $4, $5::bigint, $6, now(), now() FROM job`,
			provider, model, state, kind, cost, milliseconds)
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestTheBestProviderIsChosenByItsFigures(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	best := func() result {
		return s.enqueue("--config", "testdata/default.yaml", "text", "hello", "--provider", "best")
	}
	r := best()
	if got := one[string](s, route, strings.TrimSpace(r.out)); r.code != cli.OK || got != "openai - auto" ||
		!strings.Contains(r.err, "the best provider for text is openai (gpt-6-luna): none has had the 10 calls in the last 1h 0m") {
		t.Errorf("without traffic: %q, %+v", got, r)
	}
	db, err := store.Open(t.Context(), s.database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, name := range []string{"openai", "anthropic"} {
		if err := db.AddProvider(t.Context(), fleet.Configured{Name: name, Kind: name, Concurrency: 1}); err != nil {
			t.Fatal(err)
		}
	}
	s.calls("openai", "gpt", 12, 3, 100)
	s.calls("anthropic", "claude", 20, 0, 900)
	r = best()
	if got := one[string](s, route, strings.TrimSpace(r.out)); r.code != cli.OK || got != "anthropic - auto" || !strings.Contains(r.err,
		"the best provider for text is anthropic (claude-haiku-5-5): 100.0% of 20 calls succeeded, p50 900ms, $0.001 a call; "+
			"next is openai, 80.0% of 15 calls succeeded, p50 100ms, $0.001 a call") {
		t.Errorf("%q, %+v", got, r)
	}
	// One that a person has disabled is not chosen, whatever its figures.
	if err := db.SetStatus(t.Context(), "anthropic", fleet.Unavailable, "too dear", "ada"); err != nil {
		t.Fatal(err)
	}
	r = best()
	if got := one[string](s, route, strings.TrimSpace(r.out)); got != "openai - auto" {
		t.Errorf("%q, %+v", got, r)
	}
}
