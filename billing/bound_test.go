package billing_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/billing"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

func TestUpperBoundsOfRequests(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, kind string
		req        providers.Request
		want       providers.Usage
	}{
		{
			"text: bytes and max_tokens", "openai",
			providers.Request{Task: "text", Model: "gpt-4o", Prompt: "héllo", System: "be kind", MaxTokens: 7},
			providers.Usage{InputTokens: 64 + 6 + 7, OutputTokens: 7},
		},
		{
			"text: the model's longest answer", "anthropic",
			providers.Request{Task: "text", Model: "claude-3-5-sonnet-20241022", Prompt: "hi"},
			providers.Usage{InputTokens: 66, OutputTokens: 8192},
		},
		{
			"text: an unknown model's answer", "openai",
			providers.Request{Task: "text", Model: "local-llama", Prompt: "hi"},
			providers.Usage{InputTokens: 66, OutputTokens: billing.DefaultMaxOutputTokens},
		},
		{
			"text: the default model", "mock",
			providers.Request{Task: "text", Prompt: "hi"},
			providers.Usage{InputTokens: 66, OutputTokens: 4096},
		},
		{
			"text: messages, schema and extra fields", "openai",
			providers.Request{
				Task: "text", Model: "gpt-4o",
				Messages: []providers.Message{{Role: "user", Content: "hello"}, {Role: "assistant", Content: "hi"}},
				ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
					Name: "n", Description: "de", Schema: json.RawMessage(`{}`),
				}},
				Extra:     map[string]json.RawMessage{"prediction": json.RawMessage(`[1]`)},
				MaxTokens: 20000, N: 2,
			},
			// frame 64; messages 16+4+5 and 16+9+2; instructions 1024; schema 1+2+2; extra 10+3
			providers.Usage{InputTokens: 64 + 25 + 27 + 1024 + 5 + 13, OutputTokens: 40000},
		},
		{
			"text: an answer that may be spoken", "openai",
			providers.Request{Task: "text", Model: "gpt-audio", Prompt: "hi", MaxTokens: 7},
			providers.Usage{InputTokens: 66, AudioOutputTokens: 7},
		},
		{
			"text: an answer that may be drawn", "gemini",
			providers.Request{Task: "text", Model: "gemini-3.1-flash-image", Prompt: "hi", MaxTokens: 7},
			providers.Usage{InputTokens: 66, ImageOutputTokens: 7},
		},
		{
			"text: an earlier answer, which the vendor has", "openai",
			providers.Request{
				Task: "text", Model: "gpt-4.1", Endpoint: "/v1/responses", Body: json.RawMessage(`{"model":"gpt-4.1","input":"hi","previous_response_id":"r","max_output_tokens":7}`),
			},
			providers.Usage{InputTokens: 1048576, OutputTokens: 7},
		},
		{
			"text: the vendor's own tools", "gemini",
			providers.Request{Task: "text", Model: "gemini-3.5-flash-lite", Prompt: "hi", MaxTokens: 7, Tools: []providers.Tool{{Own: json.RawMessage(`{"urlContext":{}}`)}, {Own: json.RawMessage(`{"googleSearch":{}}`)}}},
			providers.Usage{InputTokens: 2097152 + 20*20_000, OutputTokens: 7, WebSearches: 20},
		},
		{
			"film: its usual length and size", "gemini",
			providers.Request{Task: "video", Model: "veo-3.1-generate-preview", Prompt: "waves"},
			providers.Usage{MilliSeconds: 8000, Variant: "1280x720"},
		},
		{
			"film: as large as it is asked for", "gemini",
			providers.Request{Task: "video", Model: "veo-3.1-generate-preview", Prompt: "waves", Size: "3840x2160", Seconds: 8},
			providers.Usage{MilliSeconds: 8000, Variant: "3840x2160"},
		},
		{
			"picture: in tokens, size and quality known", "openai",
			providers.Request{Task: "image", Model: "gpt-image-1", Prompt: "cat", N: 2, Size: "1024x1024", Quality: "low"},
			providers.Usage{InputTokens: 67, ImageOutputTokens: 544},
		},
		{
			"picture: in tokens, quality left to the provider", "openai",
			providers.Request{Task: "image", Model: "gpt-image-1", Prompt: "cat", Size: "1024x1024", Quality: "auto"},
			providers.Usage{InputTokens: 67, ImageOutputTokens: 6240},
		},
		{
			"picture: the provider's defaults", "openai",
			providers.Request{Task: "image", Model: "dall-e-3", Prompt: "cat"},
			providers.Usage{Images: 1, Variant: "1024x1024/standard"},
		},
		{
			"picture: the dearest of what auto allows", "openai",
			providers.Request{Task: "image", Model: "dall-e-3", Prompt: "cat", Size: "1792x1024", Quality: "auto"},
			providers.Usage{Images: 1, Variant: "1792x1024/hd"},
		},
		{
			"picture: a size without a price", "openai",
			providers.Request{Task: "image", Model: "dall-e-3", Prompt: "cat", Size: "9x9"},
			providers.Usage{Images: 1, Variant: "9x9/standard"},
		},
		{
			"picture: size without quality", "openai",
			providers.Request{Task: "image", Model: "dall-e-2", Prompt: "cat", N: 3, Size: "256x256", Quality: "standard"},
			providers.Usage{Images: 3, Variant: "256x256"},
		},
		{
			"picture: one price for all", "stability",
			providers.Request{Task: "image", Model: "core", Prompt: "cat", Size: "1x1"},
			providers.Usage{Images: 1},
		},
		{
			"picture: an unknown model", "openai",
			providers.Request{Task: "image", Model: "flux", Prompt: "cat", Size: "1x1"},
			providers.Usage{Images: 1},
		},
		{
			"speech: UTF-16 units", "elevenlabs",
			providers.Request{Task: "audio", Model: "eleven_v3", Prompt: "é😀"},
			providers.Usage{Characters: 3},
		},
		{
			"film: its length", "mock",
			providers.Request{Task: "video", Prompt: "cat", Seconds: 3},
			providers.Usage{MilliSeconds: 3000},
		},
		{
			"film: an unknown model's longest", "openai",
			providers.Request{Task: "video", Model: "wan", Prompt: "cat"},
			providers.Usage{MilliSeconds: billing.DefaultMaxMilliSeconds},
		},
		{
			"film: the model's longest", "mock",
			providers.Request{Task: "video", Prompt: "cat"},
			providers.Usage{MilliSeconds: 5000},
		},
		{"nothing that we know", "mock", providers.Request{Task: "dance"}, providers.Usage{}},
	}
	l := embedded(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := l.UpperBound(tt.kind, tt.req, day("2026-01-15"))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReserveTakesInputAtItsDearestRate(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	// A cache write costs $1.25/M where plain input costs $1: 1,000 × 1,250 n;
	// and 10 × 5,000 n of output.
	c, err := l.Reserve("anthropic", "claude-haiku-4-5", providers.Usage{InputTokens: 1000, OutputTokens: 10}, now())
	if err != nil || !c.Priced || c.Amount != 1_300_000 {
		t.Errorf("got %+v, %v", c, err)
	}
	// No rate for the cache: 1,000 × 10,000 n and 10 × 30,000 n.
	c, err = l.Reserve("openai", "gpt-4-turbo", providers.Usage{InputTokens: 1000, OutputTokens: 10}, now())
	if err != nil || !c.Priced || c.Amount != 10_300_000 {
		t.Errorf("got %+v, %v", c, err)
	}
	c, err = l.Reserve("openai", "unheard-of", providers.Usage{InputTokens: 1000}, now())
	if err != nil || c.Priced {
		t.Errorf("an unknown model: got %+v, %v", c, err)
	}
}

// TestNoSplitOfTheInputCostsMoreThanItsReservation goes through all models that
// are charged by input tokens.
func TestNoSplitOfTheInputCostsMoreThanItsReservation(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	for _, m := range l.Models(now()) {
		for _, n := range []int64{9, 300_000} {
			most, err := l.Reserve(m.Provider, m.Match, providers.Usage{InputTokens: n, OutputTokens: 10}, now())
			if err != nil {
				t.Fatal(err)
			}
			if !most.Priced {
				continue
			}
			for _, u := range []providers.Usage{
				{InputTokens: n, OutputTokens: 10},
				{CachedInputTokens: n, OutputTokens: 3},
				{CacheWriteTokens: n, OutputTokens: 10},
				{InputTokens: n / 3, CachedInputTokens: n / 3, CacheWriteTokens: n / 3, OutputTokens: 10},
			} {
				if c := cost(t, l, m.Provider, m.Match, u, now()); c.Amount > most.Amount {
					t.Errorf("%s: %+v costs %s, more than %s", m.Match, u, c.Amount, most.Amount)
				}
			}
		}
	}
}

// TestAllDefaultModelsHaveAPrice holds the list and the capabilities together: a
// request that names no model must be one that a budget can bound.
func TestAllDefaultModelsHaveAPrice(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	today := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	for _, kind := range kinds.Names() {
		c, _ := kinds.CapabilitiesOf(kind)
		for task, can := range c.Tasks {
			for _, model := range append([]string{can.DefaultModel}, can.Models...) {
				if model == "" {
					continue
				}
				req := providers.Request{Task: task, Model: model, Prompt: "a cat", Seconds: 1}
				charge, err := l.Reserve(kind, model, l.UpperBound(kind, req, today), today)
				if err != nil || !charge.Priced || charge.Amount <= 0 {
					t.Errorf("%s %s: %+v, %v", kind, model, charge, err)
				}
			}
		}
	}
}

func TestModelsListsWhatCounts(t *testing.T) {
	t.Parallel()
	l := list(t,
		row("in-old", "b", "input_tokens", "1", "2020-01-01", ""),
		row("in", "b", "input_tokens", "2", "2021-01-01", ""),
		row("in-long", "b", "input_tokens", "3", "2021-01-01", `, "above_input": 100`),
		row("out", "b", "output_tokens", "2", "2021-01-01", ""),
		row("hd", "a*", "images", "2", "2021-01-01", `, "variant": "hd"`),
		row("sd", "a*", "images", "1", "2021-01-01", `, "variant": "sd"`),
		row("gone", "c", "images", "1", "2021-01-01", `, "until": "2022-01-01"`),
		row("future", "d", "images", "1", "2099-01-01", ""))
	var got []string
	for _, m := range l.Models(now()) {
		line := m.Provider + " " + m.Match + ":"
		for _, r := range m.Rates {
			line += " " + r.ID
		}
		got = append(got, line)
	}
	if diff := cmp.Diff([]string{"p a*: hd sd", "p b: in in-long out"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestStaleNamesPricesThatNobodyChecked(t *testing.T) {
	t.Parallel()
	l := list(t,
		row("fresh", "a", "images", "1", "2020-01-01", `, "checked": "2026-09-01"`),
		row("stale", "b", "images", "1", "2020-01-01", `, "checked": "2026-01-01"`),
		row("never", "c", "images", "1", "2020-01-01", ""),
		row("new", "d", "images", "1", "2026-09-01", ""),
		row("superseded", "a", "images", "2", "2019-01-01", ""),
		strings.Replace(row("mock", "e", "images", "1", "2020-01-01", ""), `"provider": "p"`, `"provider": "mock"`, 1))
	var got []string
	for _, r := range l.Stale(now(), 90*24*time.Hour) {
		got = append(got, r.ID)
	}
	if diff := cmp.Diff([]string{"stale", "never"}, got); diff != "" {
		t.Error(diff)
	}
}
