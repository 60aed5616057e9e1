package wire_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func TestRetryAfterIsReadInAllItsForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ms, after string
		want      time.Duration
	}{
		{"", "", 0},
		{"", "20", 20 * time.Second},
		{"", " 1.5 ", 1500 * time.Millisecond},
		{"250", "20", 250 * time.Millisecond},
		{"0.5", "", 500 * time.Microsecond},
		{"soon", "3", 3 * time.Second},
		{"", "-5", 0},
		{"-5", "7", 0},
		{"", "Tue, 01 Sep 2026 12:01:00 GMT", time.Minute},
		{"", "Tuesday, 01-Sep-26 12:01:00 GMT", time.Minute},
		{"", "Tue, 01 Sep 2026 11:00:00 GMT", 0},
		{"", "Fri, 31 Dec 9999 23:59:59 GMT", wire.MaxWait},
		{"", "99999999999", wire.MaxWait},
		{"", "1e400", wire.MaxWait},
		{"", "-1e400", 0},
		{"1e30", "", wire.MaxWait},
		{"", "NaN", 0},
		{"", "Inf", 0},
		{"", "tomorrow", 0},
	} {
		h := http.Header{}
		if c.ms != "" {
			h.Set("retry-after-ms", c.ms)
		}
		if c.after != "" {
			h.Set("retry-after", c.after)
		}
		if got := wire.RetryAfter(h, now()); got != c.want {
			t.Errorf("retry-after-ms %q, retry-after %q: got %s, want %s", c.ms, c.after, got, c.want)
		}
	}
}

func TestRateLimitsAreReadInEachVendorsForm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header map[string]string
		want   providers.RateLimits
	}{
		"none": {},
		"OpenAI": {
			header: map[string]string{
				"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499", "x-ratelimit-reset-requests": "120ms",
				"x-ratelimit-limit-tokens": "30000", "x-ratelimit-remaining-tokens": "29000", "x-ratelimit-reset-tokens": "7h12m0s",
			},
			want: providers.RateLimits{
				Requests: &providers.RateLimit{Limit: 500, Remaining: 499, Reset: 120 * time.Millisecond},
				Tokens:   &providers.RateLimit{Limit: 30000, Remaining: 29000, Reset: 7*time.Hour + 12*time.Minute},
			},
		},
		"compatible, without units": {
			header: map[string]string{"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "30"},
			want:   providers.RateLimits{Requests: &providers.RateLimit{Limit: -1, Remaining: 9, Reset: 30 * time.Second}},
		},
		"compatible, a moment": {
			header: map[string]string{"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1788264060"},
			want:   providers.RateLimits{Tokens: &providers.RateLimit{Limit: -1, Remaining: 0, Reset: time.Minute}},
		},
		"compatible, unlimited": {
			header: map[string]string{"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "-1"},
		},
		"Anthropic": {
			header: map[string]string{
				"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49", "anthropic-ratelimit-requests-reset": "2026-09-01T12:00:05Z",
				"anthropic-ratelimit-input-tokens-limit": "30000", "anthropic-ratelimit-input-tokens-remaining": "0", "anthropic-ratelimit-input-tokens-reset": "2026-09-01T12:01:00Z",
				"anthropic-ratelimit-output-tokens-limit": "8000", "anthropic-ratelimit-output-tokens-remaining": "8000", "anthropic-ratelimit-output-tokens-reset": "2026-09-01T11:59:00Z",
				"anthropic-ratelimit-tokens-limit": "38000", "anthropic-ratelimit-tokens-remaining": "8000", "anthropic-ratelimit-tokens-reset": "2026-09-01T12:01:00Z",
			},
			want: providers.RateLimits{
				Requests:     &providers.RateLimit{Limit: 50, Remaining: 49, Reset: 5 * time.Second},
				InputTokens:  &providers.RateLimit{Limit: 30000, Remaining: 0, Reset: time.Minute},
				OutputTokens: &providers.RateLimit{Limit: 8000, Remaining: 8000},
				Tokens:       &providers.RateLimit{Limit: 38000, Remaining: 8000, Reset: time.Minute},
			},
		},
		"Mistral": {
			header: map[string]string{
				"x-ratelimit-limit-req-minute": "720", "x-ratelimit-remaining-req-minute": "717",
				"x-ratelimit-limit-tokens-minute": "5000000", "x-ratelimit-remaining-tokens-minute": "4999911",
			},
			want: providers.RateLimits{Requests: &providers.RateLimit{Limit: 720, Remaining: 717}, Tokens: &providers.RateLimit{Limit: 5_000_000, Remaining: 4_999_911}},
		},
		"ElevenLabs": {
			header: map[string]string{"current-concurrent-requests": "3", "maximum-concurrent-requests": "5"},
			want:   providers.RateLimits{Concurrent: &providers.RateLimit{Limit: 5, Remaining: 2}},
		},
		"ElevenLabs, over the limit": {
			header: map[string]string{"current-concurrent-requests": "6", "maximum-concurrent-requests": "5"},
			want:   providers.RateLimits{Concurrent: &providers.RateLimit{Limit: 5, Remaining: 0}},
		},
		"rubbish": {
			header: map[string]string{"x-ratelimit-limit-requests": "many", "x-ratelimit-reset-requests": "later", "anthropic-ratelimit-tokens-reset": "x", "maximum-concurrent-requests": "?"},
		},
	} {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		if diff := cmp.Diff(c.want, wire.RateLimits(h, now())); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestACodeIsShownOnlyIfItIsAShortWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"insufficient_quota": "insufficient_quota", "a.B-9": "a.B-9", "": "",
		"a sentence": "", "ünï": "", "line\nbreak": "", strings.Repeat("a", 64): strings.Repeat("a", 64), strings.Repeat("a", 65): "",
	} {
		if got := wire.SanitiseCode(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	for _, s := range []string{"", "1", "-1", "1s", "6m0s", "7h12m0s", "1e400", "Inf", "NaN", "99999999999999999999", "2026-09-01T12:00:05Z", "Tue, 01 Sep 2026 12:01:00 GMT", "9223372036854775807ns", "106751d", "-2562047h47m16.854775808s"} {
		f.Add(s)
	}
	keys := []string{
		"retry-after", "retry-after-ms", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
		"x-ratelimit-reset-tokens", "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-input-tokens-reset", "current-concurrent-requests", "maximum-concurrent-requests",
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, key := range keys {
			h := http.Header{}
			h.Set(key, value)
			if d := wire.RetryAfter(h, now()); d < 0 || d > wire.MaxWait {
				t.Errorf("%s %q: wait %s", key, value, d)
			}
			l := wire.RateLimits(h, now())
			for _, dim := range []*providers.RateLimit{l.Requests, l.Tokens, l.InputTokens, l.OutputTokens, l.Concurrent} {
				if dim != nil && (dim.Limit < -1 || dim.Remaining < -1 || dim.Reset < 0 || dim.Reset > wire.MaxWait) {
					t.Errorf("%s %q: %+v", key, value, *dim)
				}
			}
		}
	})
}
