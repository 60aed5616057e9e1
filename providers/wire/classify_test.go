package wire_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func refusal(status int, h http.Header, body []byte) *providers.Error {
	a := wire.Answer{Status: status, Header: h, Body: body, At: now(), URL: "http://h/v1/x"}
	return wire.Caller{Provider: "mine"}.Refusal(a)
}

func TestOnlySoMuchOfARefusalIsKept(t *testing.T) {
	t.Parallel()
	body := []byte(strings.Repeat("x", 1<<20))
	e := refusal(500, http.Header{}, body)
	if len(e.Body) != 64<<10 {
		t.Errorf("kept %d bytes, want 64 KiB", len(e.Body))
	}
	body[0] = 'y'
	if e.Body[0] != 'x' {
		t.Error("the error shares the caller's memory")
	}
}

func TestARefusalCarriesTheLimits(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	h.Set("x-ratelimit-limit-requests", "60")
	h.Set("x-ratelimit-remaining-requests", "0")
	h.Set("x-ratelimit-reset-requests", "6m0s")
	e := refusal(429, h, nil)
	if e.Limits.Requests == nil || *e.Limits.Requests != (providers.RateLimit{Limit: 60, Remaining: 0, Reset: 6 * time.Minute}) {
		t.Errorf("limits: %+v", e.Limits.Requests)
	}
}

func TestAStatusThatIsNoneSaysNothing(t *testing.T) {
	t.Parallel()
	if e := refusal(0, http.Header{}, nil); e.Kind != providers.Unknown || e.Billing != unknown {
		t.Errorf("got %s, %s", e.Kind, e.Billing)
	}
	if e := refusal(302, http.Header{}, nil); e.Kind != providers.NotFound || e.Billing != free {
		t.Errorf("got %s, %s", e.Kind, e.Billing)
	}
}

func FuzzRefusal(f *testing.F) {
	for _, body := range []string{
		``, `{"error":{"message":"Rate limit reached. Please try again in 2s.","code":"rate_limit_exceeded","param":"a.b[0]"}}`, `{"error":"text"}`,
		`{"type":"error","error":{"type":"rate_limit_error","message":"m"},"request_id":"r"}`, `{"id":"i","name":"n","errors":["e"]}`,
		`{"detail":[{"loc":["body","text"],"msg":"m","type":"t"}]}`, `[{"error":{"code":429,"details":[{"retryDelay":"17s"}]}}]`,
		`<!DOCTYPE html><html><title>Attention Required! | Cloudflare</title>`, "\xef\xbb\xbf{}", "\x1f\x8b\x08",
	} {
		for _, status := range []int{200, 400, 403, 429, 500} {
			f.Add(status, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := refusal(status, http.Header{}, body)
		if e.Kind == "" || e.Billing == "" || e.RetryAfter < 0 || e.RetryAfter > wire.MaxWait {
			t.Errorf("kind %q, billing %q, wait %s", e.Kind, e.Billing, e.RetryAfter)
		}
		if e.Code != wire.SanitiseCode(e.Code) || len(e.Code) > 64 || len(e.Param) > 200 {
			t.Errorf("code %q, parameter %q", e.Code, e.Param)
		}
		if n := len([]rune(e.Reason)); n > 300 || strings.ContainsAny(e.Reason, "\r\n\x00") {
			t.Errorf("reason of %d characters: %q", n, e.Reason)
		}
	})
}
