package billing_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// TestTermsChangeThePrice compares prices of calls at other terms than the standard
// ones with sums that were made by hand, in nano-dollars.
func TestTermsChangeThePrice(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	u := func(change func(*providers.Usage)) providers.Usage {
		usage := providers.Usage{InputTokens: 1000, OutputTokens: 100}
		change(&usage)
		return usage
	}
	tier := func(words string) providers.Usage { return u(func(u *providers.Usage) { u.Tier = words }) }
	for _, c := range []struct {
		name, provider, model string
		usage                 providers.Usage
		want                  int64 // -1: unpriced
	}{
		{"Luna", "openai", "gpt-6-luna", tier(""), 1000*100 + 100*500},
		{"Luna, flex", "openai", "gpt-6-luna", tier("flex"), 1000*50 + 100*250},
		{"Luna, priority", "openai", "gpt-6-luna", tier("priority"), 1000*200 + 100*1000},
		{"Luna, fast", "openai", "gpt-6-luna", tier("fast"), 1000*200 + 100*1000},
		{"Luna, at terms that nobody knows", "openai", "gpt-6-luna", tier("gold"), -1},
		{"5.5, priority", "openai", "gpt-5.5", tier("priority"), 1000*12_500 + 100*75_000},
		{"a model that has no such terms", "openai", "gpt-image-2", tier("flex"), -1},
		{"Luna, a long context, flex", "openai", "gpt-6-luna", providers.Usage{InputTokens: 272_001, OutputTokens: 2, Tier: "flex"}, 272_001*100 + 2*375},
		{"Luna, just not long", "openai", "gpt-6-luna", providers.Usage{InputTokens: 272_000, OutputTokens: 2}, 272_000*100 + 2*500},
		{"Haiku 5.5", "anthropic", "claude-haiku-5-5", tier(""), 1000*100 + 100*500},
		{"Haiku 5.5, long by what is cached", "anthropic", "claude-haiku-5-5-20261007", providers.Usage{InputTokens: 1, CachedInputTokens: 100_000, OutputTokens: 1}, 500 + 100_000*50 + 2500},
		{"Haiku 5.5, all kinds of input", "anthropic", "claude-haiku-5-5", providers.Usage{InputTokens: 10, CachedInputTokens: 20, CacheWriteTokens: 30, CacheWrite1hTokens: 40, OutputTokens: 50}, 10*100 + 20*10 + 30*125 + 40*200 + 50*500},
		{"in the US", "anthropic", "claude-haiku-5-5", tier("us"), (1000*100 + 100*500) * 11 / 10},
		{"in the US, fast", "anthropic", "claude-opus-5-5", tier("fast+us"), (1000*4000 + 100*20_000) * 22 / 10},
		{"searches cost the same at all terms", "anthropic", "claude-opus-5-5", u(func(u *providers.Usage) { u.Tier, u.WebSearches = "batch", 3 }), (1000*4000+100*20_000)/2 + 3*10_000_000},
		{"Sonnet 5.5, cached after the cut", "anthropic", "claude-sonnet-5-5", providers.Usage{CachedInputTokens: 1000}, 1000 * 100},
		{"Gemini", "gemini", "gemini-3.5-flash-lite", tier(""), 1000*300 + 100*2500},
		{"Gemini, flex", "gemini", "gemini-3.5-flash-lite", tier("flex"), (1000*300 + 100*2500) / 2},
		{"Gemini, priority", "gemini", "gemini-3.8-flash", tier("priority"), (1000*750 + 100*3750) * 18 / 10},
		{"Gemini, priority at the most it may cost", "gemini", "gemini-3.5-flash-lite", tier("priority"), (1000*300 + 100*2500) * 2},
		{"Gemini, searched", "gemini", "gemini-3.5-flash-lite", providers.Usage{InputTokens: 10, WebSearches: 2}, 10*300 + 2*14_000_000},
		{"Veo", "gemini", "veo-3.1-generate-preview", providers.Usage{MilliSeconds: 8000, Variant: "720x1280"}, 8000 * 400_000},
		{"Veo, in 4k", "gemini", "veo-3.1-fast-generate-preview", providers.Usage{MilliSeconds: 8000, Variant: "3840x2160"}, 8000 * 300_000},
		{"Gemini, heard and seen", "gemini", "gemini-3.5-flash-lite", providers.Usage{AudioInputTokens: 10, ImageInputTokens: 258}, 268 * 300},
		{"Gemini, a dearer sound", "gemini", "gemini-3.1-flash-lite", providers.Usage{InputTokens: 1, AudioInputTokens: 10}, 250 + 10*500},
		{"Gemini, a picture", "gemini", "gemini-3.1-flash-image", providers.Usage{InputTokens: 8, ImageOutputTokens: 1120, OutputTokens: 12, Images: 1}, 8*500 + 1120*60_000 + 12*3000},
		{"DeepSeek at night", "deepseek", "deepseek-v4-flash", tier(""), 1000*220 + 100*660},
		{"ElevenLabs by its credits", "elevenlabs", "eleven_flash_v2_5", providers.Usage{MilliCredits: 1500}, 1500 * 100},
		{"ElevenLabs by the character", "elevenlabs", "eleven_flash_v2_5", providers.Usage{Characters: 3}, 3 * 50_000},
		{"a call that is charged as such", "perplexity", "sonar", tier(""), 1000*1000 + 100*1000 + 12_000_000},
		{"an hour of sound", "openai", "whisper-1", providers.Usage{MilliSeconds: 3_600_000}, 360_000_000},
		{"a third of a nano-dollar a millisecond", "groq", "whisper-large-v3", providers.Usage{MilliSeconds: 7}, 216}, // 215.83
		{"what the provider says", "openrouter", "any/model", u(func(u *providers.Usage) { u.Cost = "0.0000125" }), 12_500},
		{"what the provider says, finer than we keep", "openrouter", "any/model", u(func(u *providers.Usage) { u.Cost = "0.0000000015" }), 2},
		{"nothing", "openrouter", "any/model", u(func(u *providers.Usage) { u.Cost = "0" }), 0},
		{"nonsense", "openrouter", "any/model", u(func(u *providers.Usage) { u.Cost = "-1" }), -1},
	} {
		got := cost(t, l, c.provider, c.model, c.usage, at)
		if got.Priced != (c.want >= 0) || got.Priced && int64(got.Amount) != c.want {
			t.Errorf("%s: %d, priced %v %v, want %d", c.name, int64(got.Amount), got.Priced, got.Missing, c.want)
		}
	}
	night := time.Date(2026, 11, 28, 2, 0, 0, 0, time.UTC)
	if got := cost(t, l, "deepseek", "deepseek-v4-flash", tier(""), night); int64(got.Amount) != 1000*440+100*1320 {
		t.Errorf("DeepSeek in its busy hours: %d", int64(got.Amount))
	}
	if got := cost(t, l, "openrouter", "m", providers.Usage{Cost: "1"}, at); got.Rows[0] != billing.ReportedRow || got.Amount != billing.USD {
		t.Errorf("%+v", got)
	}
}

func TestFactorsAreExact(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for n := int64(1); n < 2000; n += 7 {
		got := cost(t, l, "anthropic", "claude-haiku-5-5", providers.Usage{InputTokens: n, CachedInputTokens: n / 3, OutputTokens: n / 2, Tier: "us"}, at)
		want := new(big.Rat).SetFrac64((n*100+n/3*10+n/2*500)*11, 10)
		diff := new(big.Rat).Sub(new(big.Rat).SetInt64(int64(got.Amount)), want)
		if diff.Abs(diff).Cmp(big.NewRat(1, 2)) > 0 || !got.Priced {
			t.Fatalf("%d: %d, want %s", n, int64(got.Amount), want.FloatString(3))
		}
	}
}

func TestNoCallCostsMoreThanWasReserved(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	extra := func(name, value string) map[string]json.RawMessage {
		return map[string]json.RawMessage{name: json.RawMessage(value)}
	}
	prompt := strings.Repeat("word ", 100)
	for name, c := range map[string]struct {
		kind string
		req  providers.Request
		used providers.Usage
	}{
		"priority":                   {"openai", providers.Request{Task: "text", Model: "gpt-6-luna", MaxTokens: 50, Extra: extra("service_tier", `"priority"`)}, providers.Usage{InputTokens: 500, OutputTokens: 50, Tier: "priority"}},
		"fast":                       {"anthropic", providers.Request{Task: "text", Model: "claude-opus-5-5", MaxTokens: 50, Extra: map[string]json.RawMessage{"speed": []byte(`"fast"`), "inference_geo": []byte(`"us"`)}}, providers.Usage{InputTokens: 500, OutputTokens: 50, Tier: "fast+us"}},
		"an hour's cache":            {"anthropic", providers.Request{Task: "text", Model: "claude-haiku-5-5", MaxTokens: 50, Extra: extra("cache_control", `{"type":"ephemeral","ttl":"1h"}`)}, providers.Usage{CacheWrite1hTokens: 500, OutputTokens: 50}},
		"searches":                   {"anthropic", providers.Request{Task: "text", Model: "claude-haiku-5-5", MaxTokens: 50, Tools: []providers.Tool{{Own: []byte(`{"type":"web_search_20250305","name":"web_search","max_uses":3}`)}}}, providers.Usage{InputTokens: 50_000, OutputTokens: 50, WebSearches: 3}},
		"a voice that counts double": {"elevenlabs", providers.Request{Task: "audio", Model: "eleven_multilingual_v2"}, providers.Usage{MilliCredits: 2 * 500 * 1000}},
		"thinking":                   {"gemini", providers.Request{Task: "text", Model: "gemini-3.8-flash", MaxTokens: 50}, providers.Usage{InputTokens: 500, OutputTokens: 50}},
	} {
		c.req.Prompt = prompt
		bound, err := l.Reserve(c.kind, c.req.Model, l.UpperBound(c.kind, c.req, at), at)
		if err != nil || !bound.Priced {
			t.Errorf("%s: %+v, %v", name, bound, err)
		}
		if got := cost(t, l, c.kind, c.req.Model, c.used, at); !got.Priced || got.Amount > bound.Amount || got.Amount == 0 {
			t.Errorf("%s: cost %d of %d reserved", name, int64(got.Amount), int64(bound.Amount))
		}
	}
	// A request without such terms reserves no more for them.
	plain := l.UpperBound("anthropic", providers.Request{Task: "text", Model: "claude-haiku-5-5", Prompt: prompt}, at)
	if plain.Tier != "" || plain.WebSearches != 0 || plain.CacheWrite1hTokens != 0 {
		t.Errorf("%+v", plain)
	}
}

func TestRetirementsAreKnown(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	for _, c := range []struct{ provider, model, want string }{
		{"openai", "gpt-4o-mini", "2027-01-14"},
		{"openai", "gpt-5-mini-2025-08-07", "2026-12-11"},
		{"openai", "tts-1", "2027-01-06"},
		{"openai", "gpt-image-1", "2026-10-23"},
		{"openai", "gpt-image-1-mini", "2026-12-01"},
		{"openai", "gpt-4.1-nano-2025-04-14", "2026-10-23"},
		{"openai", "gpt-6-luna", ""},
		{"openai", "gpt-5.4-mini", ""},
		{"openai", "gpt-image-2", ""},
		{"openai", "gpt-4.1", "2027-01-14"},
		{"gemini", "gemini-2.5-flash", "2026-10-20"},
		{"gemini", "gemini-2.5-flash-image", ""},
		{"anthropic", "claude-haiku-5-5", ""},
		{"anthropic", "claude-3-haiku-20240307", "2026-04-20"},
		{"gemini", "gemini-1.5-pro", "2025-09-24"},
		{"gemini", "gemini-1.5-flash-8b-001", "2025-09-24"},
		{"gemini", "gemini-1.5-flash-001-tuning", "2025-05-27"},
		{"gemini", "gemini-2.5-flash-preview-04-17", "2025-07-15"},
	} {
		r, ok := l.Retires(c.provider, c.model)
		if ok != (c.want != "") || ok && r.Day.Format(time.DateOnly) != c.want {
			t.Errorf("%s %s: %s %v, want %s", c.provider, c.model, r.Day, ok, c.want)
		}
	}
	for text, want := range map[string]string{
		`{"retirements": [{"provider": "p", "match": ["m"], "retires": "soon", "source": "s"}]}`:                                         "retirements[0] (m): retires:",
		`{"retirements": [{"provider": "p", "match": ["m"], "retires": "2026-01-01"}]}`:                                                  "retirements[0] (m): source:",
		`{"factors": [{"id": "f", "provider": "p", "match": ["m"], "tier": "a+b", "factor": "1", "from": "2026-01-01", "source": "s"}]}`: "factors[0] (f): tier:",
		`{"factors": [{"id": "f", "provider": "p", "match": ["m"], "tier": "a", "factor": "0", "from": "2026-01-01", "source": "s"}]}`:   "factors[0] (f): factor:",
		`{"prices": [` + row("r", "m", "images", "1", "2020-01-01", `, "hours": "25:00-01:00"`) + `]}`:                                   "prices[0] (r): hours:",
		`{"prices": [` + row("r", "m", "images", "1", "2020-01-01", `, "per": -1`) + `]}`:                                                "prices[0] (r): per:",
	} {
		if _, err := billing.Load(strings.NewReader(text), "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// A model that nobody named must not be one that is about to be shut down.
func TestNoDefaultOrStandInHasADayOnWhichItIsShutDown(t *testing.T) {
	t.Parallel()
	l, tried := embedded(t), 0
	for _, d := range kinds.All() {
		var used []string
		for _, can := range d.Capabilities().Tasks {
			used = append(used, can.DefaultModel)
		}
		for _, class := range d.StandIns {
			used = append(used, class.Model)
		}
		for _, model := range used {
			if model == "" || d.Local {
				continue
			}
			tried++
			if r, ends := l.Retires(strings.TrimSuffix(d.Kind, "-compatible"), model); ends {
				t.Errorf("%s: %s, which is used where nobody names a model, is shut down on %s", d.Kind, model, r.Day.Format(time.DateOnly))
			}
		}
	}
	if tried < 15 {
		t.Errorf("%d models were looked at", tried)
	}
}
