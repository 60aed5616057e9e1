package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestAModelThatItsVendorDoesNotListIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for args, warns := range map[string]bool{
		"--provider openai --model gtp-5.4":                 true,
		"--provider openai --model gpt-5.4":                 false,
		"--provider openai --model gpt-5.4-mini-2026-03-17": false,
		"--provider anthropic --model claude-haiku-45":      true,
		"--provider anthropic":                              false,
		"--provider mock":                                   false,
	} {
		r := s.enqueue(append([]string{"text", "hello"}, strings.Fields(args)...)...)
		if r.code != cli.OK || strings.Contains(r.err, "does not list model") != warns {
			t.Errorf("%s: %+v", args, r)
		}
	}
	for model, says := range map[string]string{
		"openai gtp-5.4":              "did you mean gpt-5.4",
		"openai GPT-5.4-mini":         "did you mean gpt-5.4-mini",
		"anthropic claude-haiku-45":   "did you mean claude-haiku-",
		"anthropic something-of-mine": "known: claude-",
		"openai claude-haiku-4-5":     "anthropic does: say --provider anthropic. It is asked for",
	} {
		provider, name, _ := strings.Cut(model, " ")
		r := s.enqueue("text", "hello", "--provider", provider, "--model", name)
		if !strings.Contains(r.err, "warning: "+provider+` does not list model "`+name+`"; `+says) || !strings.Contains(r.err, "It is asked for as it is, and has no price\n") {
			t.Errorf("%s: %+v", model, r)
		}
	}
	rows := strings.Repeat(`{"prompt":"p","provider":"openai","model":"gtp"}`+"\n"+`{"prompt":"q","provider":"openai","model":"gtp"}`+"\n", 1)
	r := s.run(t.Context(), strings.NewReader(rows), "batch", "-")
	if n := strings.Count(r.err, "does not list model"); r.code != cli.OK || n != 1 {
		t.Errorf("warned %d times of one model: %+v", n, r)
	}
}

func TestAModelThatIsShutDownIsRefusedAndOneThatWillBeIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.enqueue("text", "hello", "--provider", "openai", "--model", "gpt-3.5-turbo")
	if r.code != cli.Usage || !strings.Contains(r.err, `model "gpt-3.5-turbo": was shut down on 2026-10-23; its vendor names gpt-6-luna in its place`) {
		t.Errorf("one that is gone: %+v", r)
	}
	// A gateway may have another model behind the name.
	if r := s.withEnvironment(map[string]string{"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "text", "hello", "--provider", "openai", "--model", "gpt-3.5-turbo"); r.code != cli.OK ||
		!strings.Contains(r.err, `warning: openai shuts model "gpt-3.5-turbo" down on 2026-10-23`) {
		t.Errorf("behind a gateway: %+v", r)
	}
	// A server that simulates the vendor refuses what the vendor does.
	if r := s.withEnvironment(map[string]string{"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "ONEFLOW_SIMULATED": "openai"}, "text", "hello", "--provider", "openai", "--model", "gpt-3.5-turbo"); r.code != cli.Usage ||
		!strings.Contains(r.err, "was shut down on 2026-10-23") {
		t.Errorf("rehearsed: %+v", r)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"oneflow.yaml": "prices: " + filepath.Join(dir, "p.json") + "\n",
		"p.json":       `{"retirements": [{"provider": "openai", "match": ["gpt-6-luna"], "retires": "2199-01-01", "replacement": "gpt-99", "source": "a test"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := s.enqueue("--config", filepath.Join(dir, "oneflow.yaml"), "text", "hello", "--provider", "openai"); r.code != cli.OK ||
		!strings.Contains(r.err, `warning: openai shuts model "gpt-6-luna" down on 2199-01-01: its vendor names gpt-99 in its place`) {
		t.Errorf("one that goes: %+v", r)
	}
}

func TestAServerWhosePricesDoNotHoldForAModelIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := filepath.Join(t.TempDir(), "oneflow.yaml")
	if err := os.WriteFile(path, []byte("providers:\n  films: {kind: openai, compatible: true, base_url: http://127.0.0.1:1/v1, prices_as: openai}\n  own: {kind: openai, compatible: true, base_url: http://127.0.0.1:1/v1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, warns := range map[string]bool{
		"video hello --provider films --model sora-2":    false, // what OpenAI sold it for
		"video hello --provider films --model sora-99":   true,
		"text hello --provider films --model gpt-6-luna": false,
		"text hello --provider own --model sora-99":      false, // nothing was promised
	} {
		r := s.enqueue(append([]string{"--config", path}, strings.Fields(args)...)...)
		if warned := strings.Contains(r.err, `films is priced as openai, and that has no price for model "sora-99"`); r.code != cli.OK || warned != warns {
			t.Errorf("%s: %+v", args, r)
		}
	}
}
