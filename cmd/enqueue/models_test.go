package main

import (
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestAModelThatItsVendorDoesNotListIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for args, warns := range map[string]bool{
		"--provider openai --model gtp-5.4":                true,
		"--provider openai --model gpt-5.4":                false,
		"--provider openai --model gpt-4o-mini-2024-07-18": false,
		"--provider anthropic --model claude-haiku-45":     true,
		"--provider anthropic":                             false,
		"--provider mock":                                  false,
	} {
		r := s.enqueue(append([]string{"text", "hello"}, strings.Fields(args)...)...)
		if r.code != cli.OK || strings.Contains(r.err, "does not list model") != warns {
			t.Errorf("%s: %+v", args, r)
		}
	}
	for model, says := range map[string]string{
		"openai gtp-5.4":              "did you mean gpt-5.4",
		"openai GPT-5.4-mini":         "did you mean gpt-5.4-mini",
		"anthropic claude-haiku-45":   "did you mean claude-haiku-4-5",
		"anthropic something-of-mine": "known: claude-",
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
