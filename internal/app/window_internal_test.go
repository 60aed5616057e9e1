package app

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"oneflow/billing"
	"oneflow/providers"
)

// reporter answers, or fails where it is billed for that, with one usage.
type reporter struct {
	usage providers.Usage
	fails bool
}

func (reporter) Name() string { return "openai" }

func (r reporter) Generate(context.Context, providers.Request) (providers.Response, error) {
	if r.fails {
		return providers.Response{}, &providers.Error{Provider: "openai", Kind: providers.Moderated, Billing: providers.Billed, Usage: r.usage}
	}
	return providers.Response{Usage: r.usage}, nil
}

func TestUsageIsBoundedByTheModelsWindow(t *testing.T) {
	t.Parallel()
	list, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	prices := &billing.Prices{List: list, Kinds: map[string]string{"openai": "openai"}}
	absurd := providers.Usage{InputTokens: 1 << 24, CachedInputTokens: 1 << 23, OutputTokens: 1 << 24, ReasoningTokens: 1 << 24}
	for name, c := range map[string]struct {
		usage    providers.Usage
		req      providers.Request
		want     int64 // of either side; 0: as reported
		reported bool
	}{
		"beyond the window":      {absurd, providers.Request{Task: providers.Text, Model: "gpt-4"}, 8192, true},
		"a dated name":           {absurd, providers.Request{Task: providers.Text, Model: "gpt-6-luna-2026-10-01"}, 1_050_000, true},
		"within it":              {providers.Usage{InputTokens: 8000, OutputTokens: 192}, providers.Request{Task: providers.Text, Model: "gpt-4"}, 0, false},
		"several answers":        {absurd, providers.Request{Task: providers.Text, Model: "gpt-4", N: 2}, 0, false},
		"options of the vendor":  {absurd, providers.Request{Task: providers.Text, Model: "gpt-4", Extra: map[string]json.RawMessage{"web_search_options": []byte(`{}`)}}, 0, false},
		"a model nobody lists":   {absurd, providers.Request{Task: providers.Text, Model: "my-own"}, 0, false},
		"a picture, not a token": {providers.Usage{Images: 4}, providers.Request{Task: providers.Image, Model: "dall-e-3"}, 0, false},
	} {
		for _, fails := range []bool{false, true} {
			w := &windowed{reporter{c.usage, fails}, prices}
			res, err := w.Generate(t.Context(), c.req)
			got := res.Usage
			if fails {
				got = providers.AsError("openai", err).Usage
			}
			switch {
			case c.want == 0 && got != c.usage:
				t.Errorf("%s: %+v, want it as it was reported", name, got)
			case c.want != 0 && (got.TotalInput() != c.want || got.TotalOutput() != c.want || got.ReasoningTokens > c.want):
				t.Errorf("%s: %+v, want %d tokens of either side", name, got, c.want)
			case got.Implausible != c.reported, c.reported && !strings.Contains(got.Reported, "16777216"):
				t.Errorf("%s: marked %t, reported %q", name, got.Implausible, got.Reported)
			}
		}
	}
}
