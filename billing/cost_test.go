package billing_test

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/billing"
	"oneflow/providers"
)

// now is a day on which all vendors' current prices are in force.
func now() time.Time { return time.Date(2026, 9, 15, 12, 0, 0, 0, time.UTC) }

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

func embedded(t *testing.T) *billing.List {
	t.Helper()
	l, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// list loads a list of these price rows.
func list(t *testing.T, rows ...string) *billing.List {
	t.Helper()
	l, err := billing.Load(strings.NewReader(`{"models": [], "prices": [`+strings.Join(rows, ",")+`]}`), "test")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// row is a price row in JSON. more is further fields, each with a comma before it.
func row(id, match, unit, rate, from, more string) string {
	return `{"id": "` + id + `", "provider": "p", "match": ["` + match + `"], "unit": "` + unit +
		`", "rate": "` + rate + `", "from": "` + from + `", "source": "test"` + more + `}`
}

func cost(t *testing.T, l *billing.List, provider, model string, u providers.Usage, at time.Time) billing.Charge {
	t.Helper()
	c, err := l.Cost(provider, model, u, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBillsWorkedByHand has a bill for each vendor and each unit that it charges
// by. Rates are dollars per million units, so that a unit costs rate × 1,000
// nano-dollars.
func TestBillsWorkedByHand(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, provider, model string
		usage                 providers.Usage
		at                    time.Time
		want                  billing.NanoUSD
	}{
		// 1,000 × $0.15/M = 150,000 n; 500 × $0.60/M = 300,000 n.
		{"OpenAI input and output", "openai", "gpt-4o-mini", providers.Usage{InputTokens: 1000, OutputTokens: 500}, now(), 450_000},
		// OpenAI reports prompt_tokens 1,000 with cached_tokens 800 inside, which
		// its client makes 200 + 800: 200 × $2.50 = 500,000; 800 × $1.25 =
		// 1,000,000; 100 × $10 = 1,000,000.
		{"OpenAI cached tokens", "openai", "gpt-4o", providers.Usage{InputTokens: 200, CachedInputTokens: 800, OutputTokens: 100}, now(), 2_500_000},
		// 300 output tokens of which 250 were reasoning, charged once:
		// 100 × $1.10 = 110,000; 300 × $4.40 = 1,320,000.
		{"OpenAI reasoning inside the output", "openai", "o4-mini", providers.Usage{InputTokens: 100, OutputTokens: 300, ReasoningTokens: 250}, now(), 1_430_000},
		// Up to 272,000 tokens of input: 272,000 × $2.50 = 680,000,000; 10 × $15 = 150,000.
		{"OpenAI at the edge of a long context", "openai", "gpt-5.4", providers.Usage{InputTokens: 272_000, OutputTokens: 10}, now(), 680_150_000},
		// One more, and all of the call is dearer, whatever it was read from:
		// 1 × $5 = 5,000; 272,000 cached × $0.50 = 136,000,000; 10 × $22.50 = 225,000.
		{"OpenAI beyond a long context", "openai", "gpt-5.4", providers.Usage{InputTokens: 1, CachedInputTokens: 272_000, OutputTokens: 10}, now(), 136_230_000},
		// 20 text × $5 = 100,000; 300 image in × $10 = 3,000,000; 4,160 × $40 = 166,400,000.
		{"OpenAI picture in tokens", "openai", "gpt-image-1", providers.Usage{InputTokens: 20, ImageInputTokens: 300, ImageOutputTokens: 4160}, now(), 169_500_000},
		// 10 × $2.50 = 25,000; 200 sound in × $32 = 6,400,000; 5 × $10 = 50,000; 100 sound out × $64 = 6,400,000.
		{"OpenAI sound in tokens", "openai", "gpt-audio", providers.Usage{InputTokens: 10, AudioInputTokens: 200, OutputTokens: 5, AudioOutputTokens: 100}, now(), 12_875_000},
		// The same counted as a picture too: 4,160 × $30 = 124,800,000 and nothing for the picture.
		{"OpenAI picture in tokens and counted", "openai", "gpt-image-2", providers.Usage{ImageOutputTokens: 4160, Images: 1}, now(), 124_800_000},
		{"DALL-E 3 standard: $0.04", "openai", "dall-e-3", providers.Usage{Images: 1, Variant: "1024x1024/standard"}, now(), 40_000_000},
		{"DALL-E 3 HD: $0.08", "openai", "dall-e-3", providers.Usage{Images: 1, Variant: "1024x1024/hd"}, now(), 80_000_000},
		{"DALL-E 3 wide: $0.08", "openai", "dall-e-3", providers.Usage{Images: 1, Variant: "1792x1024/standard"}, now(), 80_000_000},
		{"DALL-E 3 HD and wide, two: 2 × $0.12", "openai", "dall-e-3", providers.Usage{Images: 2, Variant: "1024x1792/hd"}, now(), 240_000_000},
		{"DALL-E 2, three small: 3 × $0.016", "openai", "dall-e-2", providers.Usage{Images: 3, Variant: "256x256"}, now(), 48_000_000},
		{"DALL-E 2 where the quality is named too: $0.02", "openai", "dall-e-2", providers.Usage{Images: 1, Variant: "1024x1024/standard"}, now(), 20_000_000},
		// 44 characters × $15/M.
		{"OpenAI speech", "openai", "tts-1", providers.Usage{Characters: 44}, now(), 660_000},
		// 44 characters × $30/M.
		{"OpenAI HD speech", "openai", "tts-1-hd", providers.Usage{Characters: 44}, now(), 1_320_000},
		// 8 s × $0.10.
		{"OpenAI's cache for half an hour", "openai", "gpt-6.1-terra", providers.Usage{CacheWriteTokens: 1000, OutputTokens: 10}, day("2026-11-01"), 1_300_000},
		{"OpenAI's cache for 12 hours", "openai", "gpt-6.1-terra", providers.Usage{CacheWriteTokens: 1000, OutputTokens: 10, Variant: "12h"}, day("2026-11-01"), 2_550_000},
		{"OpenAI's cache for 12 hours, long", "openai", "gpt-6.2-sol", providers.Usage{CacheWriteTokens: 300_000, OutputTokens: 10, Variant: "12h"}, day("2026-11-20"), 3_000_150_000},
		{"OpenAI film after OpenAI", "openai", "sora-2", providers.Usage{MilliSeconds: 4000, Variant: "720x1280"}, day("2026-11-29"), 400_000_000},
		{"OpenAI film", "openai", "sora-2", providers.Usage{MilliSeconds: 8000, Variant: "720x1280"}, day("2026-01-01"), 800_000_000},
		// 4 s × $0.50.
		{"OpenAI film, large", "openai", "sora-2-pro", providers.Usage{MilliSeconds: 4000, Variant: "1792x1024"}, day("2026-01-01"), 2_000_000_000},

		// Anthropic reports input_tokens 50 with 1,000 written to and 2,000 read
		// from the cache beside them: 50 × $1 = 50,000; 1,000 × $1.25 = 1,250,000;
		// 2,000 × $0.10 = 200,000; 100 × $5 = 500,000.
		{"Anthropic with its cache", "anthropic", "claude-haiku-4-5", providers.Usage{InputTokens: 50, CacheWriteTokens: 1000, CachedInputTokens: 2000, OutputTokens: 100}, now(), 2_000_000},
		// 7 × $0.25 = 1,750; 3 × $1.25 = 3,750.
		{"Anthropic Claude 3 Haiku", "anthropic", "claude-3-haiku-20240307", providers.Usage{InputTokens: 7, OutputTokens: 3}, now(), 5_500},
		// 10 × $15 = 150,000; 10 × $75 = 750,000.
		{"Anthropic Claude 3 Opus", "anthropic", "claude-3-opus-20240229", providers.Usage{InputTokens: 10, OutputTokens: 10}, now(), 900_000},
		// 10 × $3 = 30,000; 10 × $15 = 150,000.
		{"Anthropic Claude 3 Sonnet", "anthropic", "claude-3-sonnet-20240229", providers.Usage{InputTokens: 10, OutputTokens: 10}, now(), 180_000},
		// 10 × $3 = 30,000; 10 × $15 = 150,000.
		{"Anthropic Claude 3.5 Sonnet", "anthropic", "claude-3-5-sonnet-20241022", providers.Usage{InputTokens: 10, OutputTokens: 10}, now(), 180_000},
		// 10 × $0.80 = 8,000; 10 × $4 = 40,000.
		{"Anthropic Claude 3.5 Haiku", "anthropic", "claude-3-5-haiku-20241022", providers.Usage{InputTokens: 10, OutputTokens: 10}, now(), 48_000},

		// 10 × $30 = 300,000; 10 × $60 = 600,000.
		{"GPT-4", "openai", "gpt-4", providers.Usage{InputTokens: 10, OutputTokens: 10}, now(), 900_000},
		// 10 × $10 = 100,000; 10 × $30 = 300,000.
		{"GPT-4 Turbo", "openai", "gpt-4-turbo", providers.Usage{InputTokens: 10, OutputTokens: 10}, now(), 400_000},
		// 10 × $0.50 = 5,000; 10 × $1.50 = 15,000.
		{"GPT-3.5 Turbo", "openai", "gpt-3.5-turbo", providers.Usage{InputTokens: 10, OutputTokens: 10}, now(), 20_000},

		{"Stability core: 3 credits", "stability", "core", providers.Usage{Images: 1}, now(), 30_000_000},
		{"Stability ultra: 8 credits", "stability", "ultra", providers.Usage{Images: 1}, now(), 80_000_000},
		{"Stability SD 3.5 large: 6.5 credits", "stability", "sd3.5-large", providers.Usage{Images: 1}, now(), 65_000_000},
		{"Stability SD 3.5 large turbo: 4 credits", "stability", "sd3.5-large-turbo", providers.Usage{Images: 1}, now(), 40_000_000},
		{"Stability SD 3.5 medium, two: 7 credits", "stability", "sd3.5-medium", providers.Usage{Images: 2}, now(), 70_000_000},
		// 6.5 credits are 6,500 millicredits of $0.00001.
		{"Stability in credits", "stability", "sd3.5-large", providers.Usage{MilliCredits: 6500}, now(), 65_000_000},

		// 1,500 × $0.10/1,000.
		{"ElevenLabs multilingual", "elevenlabs", "eleven_multilingual_v2", providers.Usage{Characters: 1500}, now(), 150_000_000},
		// 1,500 × $0.10/1,000.
		{"ElevenLabs v3", "elevenlabs", "eleven_v3", providers.Usage{Characters: 1500}, now(), 150_000_000},
		// 1,500 × $0.05/1,000.
		{"ElevenLabs flash", "elevenlabs", "eleven_flash_v2_5", providers.Usage{Characters: 1500}, now(), 75_000_000},
		// 10 × $0.05/1,000.
		{"ElevenLabs turbo", "elevenlabs", "eleven_turbo_v2_5", providers.Usage{Characters: 10}, now(), 500_000},

		// 5 × $0.10 = 500; 2 × $0.40 = 800.
		{"mock text", "mock", "mock-text", providers.Usage{InputTokens: 5, OutputTokens: 2}, now(), 1_300},
		{"mock pictures: 2 × $0.02", "mock", "mock-image", providers.Usage{Images: 2}, now(), 40_000_000},
		// 3 × $15/M.
		{"mock speech", "mock", "mock-audio", providers.Usage{Characters: 3}, now(), 45_000},
		// 1.5 s × $0.10.
		{"mock film", "mock", "mock-video", providers.Usage{MilliSeconds: 1500}, now(), 150_000_000},
	}
	l := embedded(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := cost(t, l, tt.provider, tt.model, tt.usage, tt.at)
			if !c.Priced || c.Amount != tt.want {
				t.Errorf("got %d nano-dollars, priced %v, missing %v; want %d", int64(c.Amount), c.Priced, c.Missing, int64(tt.want))
			}
			if len(c.Rows) != len(tt.usage.Quantities())-1 {
				t.Errorf("rows %v for %v", c.Rows, tt.usage.Quantities())
			}
		})
	}
}

func TestTheSumIsRoundedOnceHalfToEven(t *testing.T) {
	t.Parallel()
	// A unit costs half a nano-dollar.
	l := list(t,
		row("in", "m", "input_tokens", "0.0005", "2020-01-01", ""),
		row("out", "m", "output_tokens", "0.0005", "2020-01-01", ""),
		row("cached", "m", "cached_input_tokens", "0.0001", "2020-01-01", ""))
	for _, tt := range []struct {
		usage providers.Usage
		want  billing.NanoUSD
	}{
		{providers.Usage{InputTokens: 1}, 0},                       // 0.5 → 0, which is even
		{providers.Usage{InputTokens: 2}, 1},                       // 1
		{providers.Usage{InputTokens: 3}, 2},                       // 1.5 → 2, which is even
		{providers.Usage{InputTokens: 5}, 2},                       // 2.5 → 2, which is even
		{providers.Usage{InputTokens: 7}, 4},                       // 3.5 → 4
		{providers.Usage{InputTokens: 1, OutputTokens: 1}, 1},      // 0.5 + 0.5 = 1, not 0 + 0
		{providers.Usage{InputTokens: 3, OutputTokens: 3}, 3},      // 1.5 + 1.5 = 3, not 2 + 2
		{providers.Usage{InputTokens: 1, CachedInputTokens: 1}, 1}, // 0.6 → 1
		{providers.Usage{CachedInputTokens: 4}, 0},                 // 0.4 → 0
	} {
		if c := cost(t, l, "p", "m", tt.usage, now()); !c.Priced || c.Amount != tt.want {
			t.Errorf("%+v: got %d, want %d", tt.usage, int64(c.Amount), int64(tt.want))
		}
	}
}

func TestUnknownModelsAreUnpricedNotFree(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	for _, model := range []string{"", "llama-3.3-70b", "gpt-9", "gpt-4o-mini-unheard-of", "claude-opus-6"} {
		for _, provider := range []string{"openai", "anthropic", "nobody"} {
			c := cost(t, l, provider, model, providers.Usage{InputTokens: 1, OutputTokens: 1}, now())
			want := billing.Charge{Missing: []providers.Unit{providers.InputTokens, providers.OutputTokens}}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Errorf("%s %s: %s", provider, model, diff)
			}
		}
	}
}

func TestAModelWithoutAPriceForAUsedUnitIsUnpriced(t *testing.T) {
	t.Parallel()
	l := list(t,
		row("in", "m", "input_tokens", "1", "2020-01-01", ""),
		row("free", "m", "cached_input_tokens", "0", "2020-01-01", ""))
	if c := cost(t, l, "p", "m", providers.Usage{InputTokens: 1, OutputTokens: 1}, now()); c.Priced || c.Amount != 0 ||
		!cmp.Equal(c.Missing, []providers.Unit{providers.OutputTokens}) {
		t.Errorf("a unit without a rate: %+v", c)
	}
	if c := cost(t, l, "p", "m", providers.Usage{InputTokens: 1, CachedInputTokens: 5}, now()); !c.Priced || c.Amount != 1000 {
		t.Errorf("a unit that is free by its row: %+v", c)
	}
	if c := cost(t, l, "p", "m", providers.Usage{}, now()); c.Priced || !cmp.Equal(c.Missing, []providers.Unit{providers.Calls}) {
		t.Errorf("an answer without any usage: %+v", c)
	}
	perCall := list(t, row("call", "m", "calls", "2500", "2020-01-01", ""))
	if c := cost(t, perCall, "p", "m", providers.Usage{}, now()); !c.Priced || c.Amount != 2_500_000 {
		t.Errorf("a model that is charged by the call: %+v", c)
	}
	if c := cost(t, embedded(t), "openai", "gpt-image-2", providers.Usage{Images: 1}, now()); c.Priced {
		t.Errorf("a picture without the tokens that it is charged by: %+v", c)
	}
	if c := cost(t, embedded(t), "openai", "dall-e-3", providers.Usage{Images: 1, Variant: "640x480/hd"}, now()); c.Priced {
		t.Errorf("a size without a price: %+v", c)
	}
}

func TestPricesChangeAtMidnightUTC(t *testing.T) {
	t.Parallel()
	l := list(t,
		row("old", "m", "images", "1000", "2025-01-01", ""),
		row("new", "m", "images", "2000", "2025-06-01", ""),
		row("last", "m", "images", "3000", "2026-01-01", `, "until": "2026-02-01"`))
	for _, tt := range []struct{ at, want string }{
		{"2024-12-31T23:59:59Z", ""},
		{"2025-01-01T00:00:00Z", "old"},
		{"2025-05-31T23:59:59.999999999Z", "old"},
		{"2025-06-01T00:00:00Z", "new"},
		{"2025-06-01T00:30:00+01:00", "old"}, // still May in UTC
		{"2026-01-31T23:59:59Z", "last"},
		{"2026-02-01T00:00:00Z", "new"}, // an offer that ended: the price before it
	} {
		when, err := time.Parse(time.RFC3339Nano, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		c := cost(t, l, "p", "m", providers.Usage{Images: 1}, when)
		if got := strings.Join(c.Rows, " "); got != tt.want || c.Priced != (tt.want != "") {
			t.Errorf("%s: used %q, want %q", tt.at, got, tt.want)
		}
	}
}

func TestRealPricesChangedWhenTheyDid(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	u := providers.Usage{InputTokens: 1_000_000}
	for _, tt := range []struct{ provider, model, at, want string }{
		{"openai", "gpt-4o", "2024-10-01", "5"},
		{"openai", "gpt-4o", "2024-10-02", "2.5"},
		{"openai", "gpt-4o-2024-05-13", "2026-09-15", "5"}, // the exact name before the prefix gpt-4o-202*
		{"openai", "gpt-4o-2024-08-06", "2026-09-15", "2.5"},
		{"openai", "gpt-3.5-turbo", "2023-05-01", "2"},
		{"openai", "gpt-3.5-turbo", "2024-02-15", "1.5"},
		{"openai", "gpt-3.5-turbo", "2025-01-01", "0.5"},
		{"openai", "o3", "2025-06-09", "10"},
		{"openai", "o3", "2025-06-10", "2"},
		{"anthropic", "claude-opus-4-6", "2026-03-12", "10"}, // a million tokens: the long context's rate
		{"anthropic", "claude-opus-4-6", "2026-03-13", "5"},  // which ended
		{"anthropic", "claude-sonnet-5", "2026-08-31", "2"},
		{"anthropic", "claude-sonnet-5", "2026-09-01", "2"}, // the rise was cancelled
		{"openai", "gpt-5.6-sol", "2026-09-15", "8"},        // a long context, reduced
	} {
		if c := cost(t, l, tt.provider, tt.model, u, day(tt.at)); !c.Priced || c.Amount.String() != tt.want {
			t.Errorf("%s on %s: got $%s (%v), want $%s", tt.model, tt.at, c.Amount, c.Rows, tt.want)
		}
	}
}

func TestTheMostSpecificMatchWins(t *testing.T) {
	t.Parallel()
	l := list(t,
		row("any", "*", "images", "1", "2020-01-01", ""),
		row("any-chars", "*", "characters", "1", "2020-01-01", ""),
		row("short", "gpt-*", "images", "2", "2020-01-01", ""),
		row("long", "gpt-5*", "images", "3", "2020-01-01", ""),
		row("exact", "gpt-5", "images", "4", "2020-01-01", ""),
		row("ended", "gpt-6", "images", "5", "2020-01-01", `, "until": "2021-01-01"`),
		row("later", "gpt-*", "images", "6", "2099-01-01", ""))
	for model, want := range map[string]string{
		"gpt-5": "exact", "gpt-5-mini": "long", "gpt-4": "short", "gpt-": "short", "other": "any", "gpt-6": "short", "": "any",
	} {
		if c := cost(t, l, "p", model, providers.Usage{Images: 1}, now()); strings.Join(c.Rows, " ") != want {
			t.Errorf("%q: used %v, want %s", model, c.Rows, want)
		}
	}
	// Rates of two matches are never mixed.
	if c := cost(t, l, "p", "gpt-5", providers.Usage{Characters: 1}, now()); c.Priced {
		t.Errorf("a unit that only a wider match has: %+v", c)
	}
}

func TestTheMostSpecificVariantWins(t *testing.T) {
	t.Parallel()
	l := list(t,
		row("plain", "m", "images", "1", "2020-01-01", ""),
		row("size", "m", "images", "2", "2020-01-01", `, "variant": "1x1"`),
		row("hd", "m", "images", "3", "2020-01-01", `, "variant": "1x1/hd"`))
	for variant, want := range map[string]string{
		"": "plain", "1x1": "size", "1x1/hd": "hd", "1x1/low": "size", "2x2/hd": "plain", "1x1/hd/more": "hd", "/": "plain",
	} {
		if c := cost(t, l, "p", "m", providers.Usage{Images: 1, Variant: variant}, now()); strings.Join(c.Rows, " ") != want {
			t.Errorf("%q: used %v, want %s", variant, c.Rows, want)
		}
	}
}

func TestAmountsThatCannotBeKeptAreErrors(t *testing.T) {
	t.Parallel()
	l := list(t,
		row("dear", "m", "images", "999999999999", "2020-01-01", ""),
		row("in", "m", "input_tokens", "0.001", "2020-01-01", ""),
		row("cached", "m", "cached_input_tokens", "0.001", "2020-01-01", ""),
		row("written", "m", "cache_write_tokens", "0.002", "2020-01-01", ""))
	if c := cost(t, l, "p", "m", providers.Usage{InputTokens: math.MaxInt64}, now()); c.Amount != math.MaxInt64 {
		t.Errorf("the most that can be kept: got %+v", c)
	}
	for name, u := range map[string]providers.Usage{
		"one unit":  {Images: math.MaxInt64},
		"a little":  {InputTokens: math.MaxInt64, CachedInputTokens: 1},
		"the sum":   {InputTokens: math.MaxInt64, CachedInputTokens: math.MaxInt64},
		"negative":  {Images: -1},
		"balancing": {InputTokens: 5, CachedInputTokens: -5},
	} {
		if c, err := l.Cost("p", "m", u, now()); err == nil {
			t.Errorf("%s: got %+v, want an error", name, c)
		}
	}
	if c, err := l.Reserve("p", "m", providers.Usage{InputTokens: math.MaxInt64}, now()); err == nil {
		t.Errorf("reserve: got %+v, want an error", c)
	}
}

func TestEstimatesAreMarked(t *testing.T) {
	t.Parallel()
	l := embedded(t)
	if c := cost(t, l, "openai", "gpt-4o-mini-tts", providers.Usage{Characters: 1000}, now()); !c.Priced || !c.Estimated {
		t.Errorf("speech whose tokens nobody reports: %+v", c)
	}
	if c := cost(t, l, "openai", "tts-1", providers.Usage{Characters: 1000}, now()); c.Estimated {
		t.Errorf("speech by the character: %+v", c)
	}
}

// What is computed in whole nano-dollars and what is not must come to the same: a rate
// of 3.45 nano-dollars beside one of 2,000, up to amounts that do not fit.
func TestWholeAndBrokenRatesComeToOneSum(t *testing.T) {
	t.Parallel()
	l := list(t, row("w", "m", "input_tokens", "2", "2020-01-01", ""), row("b", "m", "output_tokens", "0.00345", "2020-01-01", ""))
	for _, n := range []int64{1, 3, 99, 101, 1 << 24, math.MaxInt64/2000 - 100_000, math.MaxInt64 / 2000, math.MaxInt64/2000 + 1} {
		for _, m := range []int64{0, 1, 2, 3, 10, 30, 99, 100, 1 << 24} {
			c, err := l.Cost("p", "m", providers.Usage{InputTokens: n, OutputTokens: m}, now())
			hundredths := new(big.Int).Add(
				new(big.Int).Mul(big.NewInt(200_000), big.NewInt(n)), new(big.Int).Mul(big.NewInt(345), big.NewInt(m)))
			want, rest := new(big.Int).QuoRem(hundredths, big.NewInt(100), new(big.Int))
			if r := rest.Int64(); r > 50 || r == 50 && want.Bit(0) == 1 {
				want.Add(want, big.NewInt(1))
			}
			if fits := want.IsInt64(); fits != (err == nil) || fits && int64(c.Amount) != want.Int64() {
				t.Errorf("%d and %d tokens: %d, %v, want %d", n, m, c.Amount, err, want)
			}
		}
	}
}
