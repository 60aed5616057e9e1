package providers

import (
	"encoding/json"
	"slices"
	"strings"
)

// Unit is something that providers charge for.
type Unit string

// The units that prices are given in.
const (
	InputTokens        Unit = "input_tokens"          // plain input: neither cached nor written to a cache
	CachedInputTokens  Unit = "cached_input_tokens"   // input read from the provider's cache
	CacheWriteTokens   Unit = "cache_write_tokens"    // input written to the provider's cache, for its usual time
	CacheWrite1hTokens Unit = "cache_write_1h_tokens" // for an hour
	OutputTokens       Unit = "output_tokens"         // output, reasoning included
	ImageInputTokens   Unit = "image_input_tokens"
	ImageOutputTokens  Unit = "image_output_tokens"
	AudioInputTokens   Unit = "audio_input_tokens"
	AudioOutputTokens  Unit = "audio_output_tokens"
	Characters         Unit = "characters" // of spoken text
	Images             Unit = "images"
	MilliSeconds       Unit = "milliseconds" // of sound or film
	MilliCredits       Unit = "millicredits" // thousandths of the provider's credits
	WebSearches        Unit = "web_searches"
	Calls              Unit = "calls"
)

// Usage counts what one call used, in units that do not overlap: the bill is the sum
// of each unit times its rate, whatever the provider. A client subtracts what its
// vendor counts twice (OpenAI's cached tokens are inside its prompt tokens).
type Usage struct {
	InputTokens        int64 `json:"input_tokens,omitempty"`
	CachedInputTokens  int64 `json:"cached_input_tokens,omitempty"`
	CacheWriteTokens   int64 `json:"cache_write_tokens,omitempty"`
	CacheWrite1hTokens int64 `json:"cache_write_1h_tokens,omitempty"`
	OutputTokens       int64 `json:"output_tokens,omitempty"`
	ImageInputTokens   int64 `json:"image_input_tokens,omitempty"`
	ImageOutputTokens  int64 `json:"image_output_tokens,omitempty"`
	AudioInputTokens   int64 `json:"audio_input_tokens,omitempty"`
	AudioOutputTokens  int64 `json:"audio_output_tokens,omitempty"`
	Characters         int64 `json:"characters,omitempty"`
	Images             int64 `json:"images,omitempty"`
	MilliSeconds       int64 `json:"milliseconds,omitempty"`
	MilliCredits       int64 `json:"millicredits,omitempty"`
	WebSearches        int64 `json:"web_searches,omitempty"`

	// ReasoningTokens is the part of the output tokens that was reasoning. For
	// information: they are inside OutputTokens and never charged again.
	ReasoningTokens int64 `json:"reasoning_tokens,omitempty"`
	// Answers is the number of answers that the request asked for and the output tokens are
	// of, where there are several; for information, too.
	Answers int64 `json:"answers,omitempty"`
	// Variant names what else the price depends on, such as "1024x1024/hd" for a
	// picture. Empty where the model alone decides.
	Variant string `json:"variant,omitempty"`
	// Tier is at what terms the call was served, where they are not the standard
	// ones: words that prices are multiplied for, such as "flex", "priority",
	// "fast" or "us", joined by "+".
	Tier string `json:"tier,omitempty"`
	// Cost is the price of the call as the provider itself tells it, in US dollars, as a
	// decimal such as "0.000125". Empty where it does not say so: then the price
	// list decides.
	Cost string `json:"cost,omitempty"`
	// Implausible says that the provider reported numbers that cannot be. The
	// counts above are what they were brought down to, Reported is the report.
	Implausible bool `json:"implausible,omitempty"`
	// Reported is the provider's report as printable ASCII, at most 2 KiB; only
	// where Implausible.
	Reported string `json:"reported,omitempty"`
}

// Tier joins the words in which a vendor says at what terms it serves, for Usage.Tier.
// Those that mean the standard terms are left out, and so is what is no word.
func Tier(words ...string) string {
	var kept []string
	for _, word := range words {
		word = strings.ToLower(word)
		standard := slices.Contains([]string{"", "auto", "default", "standard", "standard_only", "unspecified", "on_demand", "scale", "global", "not_available"}, word)
		odd := strings.ContainsFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' })
		if !standard && !odd && len(word) <= 32 {
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, "+")
}

// Quantities returns the units that were used with their amounts, leaving out
// zeros. Calls is always there, once.
func (u Usage) Quantities() map[Unit]int64 {
	all := map[Unit]int64{}
	for _, used := range []struct {
		unit Unit
		n    int64
	}{
		{InputTokens, u.InputTokens},
		{CachedInputTokens, u.CachedInputTokens},
		{CacheWriteTokens, u.CacheWriteTokens},
		{CacheWrite1hTokens, u.CacheWrite1hTokens},
		{OutputTokens, u.OutputTokens},
		{ImageInputTokens, u.ImageInputTokens},
		{ImageOutputTokens, u.ImageOutputTokens},
		{AudioInputTokens, u.AudioInputTokens},
		{AudioOutputTokens, u.AudioOutputTokens},
		{Characters, u.Characters},
		{Images, u.Images},
		{MilliSeconds, u.MilliSeconds},
		{MilliCredits, u.MilliCredits},
		{WebSearches, u.WebSearches},
	} {
		if used.n != 0 {
			all[used.unit] = used.n
		}
	}
	all[Calls] = 1
	return all
}

// TotalInput is all input tokens, however they are charged.
func (u Usage) TotalInput() int64 {
	return u.InputTokens + u.CachedInputTokens + u.CacheWriteTokens + u.CacheWrite1hTokens + u.ImageInputTokens + u.AudioInputTokens
}

// TotalOutput is all output tokens.
func (u Usage) TotalOutput() int64 {
	return u.OutputTokens + u.ImageOutputTokens + u.AudioOutputTokens
}

// Within returns usage as a model with a context window of so many tokens can have it:
// no side is more than that. What was reported beyond it is kept beside it, and it is
// marked. 0 means that the window is not known.
func (u Usage) Within(window int64) Usage {
	if window <= 0 || u.TotalInput() <= window && u.TotalOutput() <= window {
		return u
	}
	report := u
	limit := func(counts ...*int64) {
		left := window
		for _, n := range counts {
			*n = min(max(*n, 0), left)
			left -= *n
		}
	}
	limit(&u.InputTokens, &u.CachedInputTokens, &u.CacheWriteTokens, &u.CacheWrite1hTokens, &u.ImageInputTokens, &u.AudioInputTokens)
	limit(&u.OutputTokens, &u.ImageOutputTokens, &u.AudioOutputTokens)
	u.ReasoningTokens = min(u.ReasoningTokens, window)
	if !u.Implausible {
		u.Implausible = true
		if data, err := json.Marshal(report); err == nil {
			u.Reported = string(data[:min(len(data), 2<<10)])
		}
	}
	return u
}
