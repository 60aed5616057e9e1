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
		if warns && !strings.Contains(r.err, "known: claude-") && !strings.Contains(r.err, "known: gpt-") {
			t.Errorf("%s: names no other: %s", args, r.err)
		}
	}
	rows := strings.Repeat(`{"prompt":"p","provider":"openai","model":"gtp"}`+"\n"+`{"prompt":"q","provider":"openai","model":"gtp"}`+"\n", 1)
	r := s.run(t.Context(), strings.NewReader(rows), "batch", "-")
	if n := strings.Count(r.err, "does not list model"); r.code != cli.OK || n != 1 {
		t.Errorf("warned %d times of one model: %+v", n, r)
	}
}
