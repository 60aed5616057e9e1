package wire

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"oneflow/providers"
)

// maxWait is the longest wait that is read from a header. A longer one is the
// same as never, and this can still be added to a time without overflow.
const maxWait = 100 * 365 * 24 * time.Hour

// retryAfter reads how long the provider asks to wait: retry-after-ms, else
// retry-after in seconds (fractions too), as a duration with units, or as a date,
// which is compared to now. It is 0 where there is neither, or nothing that can be
// read, or a time past. It also reports whether the provider asked at all.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if d, ok := parseNumber(h.Get(name), time.Millisecond); ok {
			return d, true
		}
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if d, ok := parseNumber(value, time.Second); ok {
		return d, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return until(at, now), true
	}
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		return until(at, now), true
	}
	if d, err := time.ParseDuration(value); err == nil {
		return min(max(0, d), maxWait), true
	}
	return 0, false
}

// resetAfter is the time until the limit that a refusal is about is full again, by
// the headers that tell when limits are reset: of the dimensions that are used up
// the last one, or of all where none is said to be. It is 0 where nothing is told.
func resetAfter(h http.Header, now time.Time) time.Duration {
	all := RateLimits(h, now)
	dimensions := []*providers.RateLimit{all.Requests, all.Tokens, all.InputTokens, all.OutputTokens}
	for _, prefix := range []string{"X-Ratelimit-", "Ratelimit-", "X-Rate-Limit-"} { // without a dimension
		if reset := h.Get(prefix + "Reset"); reset != "" {
			dimensions = append(dimensions, &providers.RateLimit{Remaining: count(h.Get(prefix + "Remaining")), Reset: resetIn(reset, now)})
		}
	}
	var usedUp, longest time.Duration
	for _, d := range append(dimensions, draftLimits(h)...) {
		switch {
		case d == nil:
		case d.Remaining == 0:
			usedUp = max(usedUp, d.Reset)
		default:
			longest = max(longest, d.Reset)
		}
	}
	if usedUp > 0 {
		return usedUp
	}
	return longest
}

// draftLimits reads RateLimit as later drafts of the IETF have it:
// "default";r=0;t=30, or limit=100, remaining=0, reset=30.
func draftLimits(h http.Header) []*providers.RateLimit {
	var limits []*providers.RateLimit
	for _, line := range h.Values("Ratelimit") {
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ';' || r == ',' || r == ' ' })
		l := &providers.RateLimit{Remaining: -1}
		for _, field := range fields {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "r", "remaining":
				l.Remaining = count(value)
			case "t", "reset":
				l.Reset, _ = parseNumber(value, time.Second)
				limits = append(limits, l)
				l = &providers.RateLimit{Remaining: -1}
			}
		}
	}
	return limits
}

// RateLimits reads what an answer's headers say about rate limits, in the forms
// of OpenAI and those compatible with it, Mistral, Anthropic and ElevenLabs.
func RateLimits(h http.Header, now time.Time) providers.RateLimits {
	limit := func(before, after string, reset func(string, time.Time) time.Duration) *providers.RateLimit {
		l := providers.RateLimit{
			Limit:     count(h.Get(before + "limit" + after)),
			Remaining: count(h.Get(before + "remaining" + after)),
			Reset:     reset(h.Get(before+"reset"+after), now),
		}
		if l.Limit < 0 && l.Remaining < 0 && l.Reset == 0 {
			return nil
		}
		return &l
	}
	first := func(all ...*providers.RateLimit) *providers.RateLimit {
		for _, one := range all {
			if one != nil {
				return one
			}
		}
		return nil
	}
	return providers.RateLimits{
		Requests: first(
			limit("X-Ratelimit-", "-Requests", resetIn),
			limit("X-Ratelimit-", "-Req-Minute", resetIn), // Mistral: https://github.com/mistralai/client-ts/issues/169
			limit("Anthropic-Ratelimit-Requests-", "", resetAt),
		),
		Tokens: first(
			limit("X-Ratelimit-", "-Tokens", resetIn),
			limit("X-Ratelimit-", "-Tokens-Minute", resetIn),
			limit("Anthropic-Ratelimit-Tokens-", "", resetAt),
		),
		InputTokens:  limit("Anthropic-Ratelimit-Input-Tokens-", "", resetAt),
		OutputTokens: limit("Anthropic-Ratelimit-Output-Tokens-", "", resetAt),
		Concurrent:   concurrent(h),
	}
}

// RequestID returns the provider's id of a call from its answer's headers, empty
// where there is none or it is no plain word.
func RequestID(h http.Header) string {
	for _, name := range []string{"X-Request-Id", "Request-Id", "X-Trace-Id"} {
		if id := plainWord(h.Get(name), 128); id != "" {
			return id
		}
	}
	return ""
}

// SanitiseCode returns code where it is a short word of letters, digits and "_.-",
// at most 64 of them, else nothing: a sentence may repeat the prompt.
func SanitiseCode(code string) string { return plainWord(code, 64) }

func plainWord(s string, most int) string {
	if len(s) > most {
		return ""
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return ""
		}
	}
	return s
}

func concurrent(h http.Header) *providers.RateLimit {
	most, now := count(h.Get("Maximum-Concurrent-Requests")), count(h.Get("Current-Concurrent-Requests"))
	if most < 0 {
		return nil
	}
	l := providers.RateLimit{Limit: most, Remaining: -1}
	if now >= 0 {
		l.Remaining = max(0, most-now)
	}
	return &l
}

// count reads a number that is not negative, else -1: "not said".
func count(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// resetIn reads OpenAI's form: "1s", "6m0s", "7h12m0s"; compatible servers send
// seconds without a unit, some a moment in Unix time.
func resetIn(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if d, err := time.ParseDuration(s); err == nil {
		return min(max(0, d), maxWait)
	}
	d, ok := parseNumber(s, time.Second)
	unix, _ := strconv.ParseFloat(s, 64) // 0 where it is no number
	switch {
	case !ok:
		return resetAt(s, now)
	case unix >= 1e11: // Unix time in milliseconds, as OpenRouter has it
		return until(time.UnixMilli(int64(min(unix, 1e15))), now)
	case unix >= 1e9: // Unix time, perhaps with a fraction
		return until(time.UnixMilli(int64(unix*1000)), now)
	default:
		return d
	}
}

// resetAt reads Anthropic's form, a moment in RFC 3339.
func resetAt(s string, now time.Time) time.Duration {
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
	if err != nil {
		return 0
	}
	return until(at, now)
}

func until(at, now time.Time) time.Duration { return min(max(0, at.Sub(now)), maxWait) }

// parseNumber reads a number of units; negative ones are 0, absurd ones maxWait.
func parseNumber(s string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(n) || math.IsInf(n, 0) && err == nil {
		return 0, false
	}
	if n*float64(unit) >= float64(maxWait) {
		return maxWait, true
	}
	return time.Duration(max(0, n) * float64(unit)), true
}
