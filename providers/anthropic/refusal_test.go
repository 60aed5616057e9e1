package anthropic_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
)

func refusals() []providertest.Refusal {
	return []providertest.Refusal{
		{
			Name: "rate limit", Status: 429, Header: map[string]string{"retry-after": "12", "request-id": "req_011"},
			Body: `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed the rate limit for your organization of 30,000 input tokens per minute."},"request_id":"req_other"}`,
			Kind: providers.RateLimited, Code: "rate_limit_error", Wait: 12 * time.Second, ID: "req_011",
		},
		{
			Name: "too many at once", Status: 429,
			Body: `{"type":"error","error":{"type":"rate_limit_error","message":"Number of concurrent connections has exceeded your rate limit."}}`,
			Kind: providers.ConcurrencyLimit, Code: "rate_limit_error",
		},
		{
			Name: "an answer that was held back", Status: 400, Header: map[string]string{"request-id": "req_013"},
			Body: `{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"},"request_id":"req_013"}`,
			Kind: providers.Moderated, Code: "invalid_request_error", ID: "req_013",
		},
		{
			Name: "overloaded", Status: 529,
			Body: `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_body"}`,
			Kind: providers.Overloaded, Code: "overloaded_error", ID: "req_body",
		},
		{Name: "overloaded, without a body", Status: 529, Kind: providers.Overloaded},
		{
			Name: "billing", Status: 402,
			Body: `{"type":"error","error":{"type":"billing_error","message":"Billing error"}}`,
			Kind: providers.OutOfMoney, Code: "billing_error",
		},
		{
			Name: "no credit, said in words only", Status: 400,
			Body: `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}`,
			Kind: providers.OutOfMoney, Code: "invalid_request_error",
		},
		{
			Name: "invalid", Status: 400,
			Body: `{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: 999999 > 8192"}}`,
			Kind: providers.InvalidRequest, Code: "invalid_request_error",
		},
		{
			Name: "wrong key", Status: 401,
			Body: `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`,
			Kind: providers.Unauthorised, Code: "authentication_error",
		},
		{
			Name: "may not", Status: 403,
			Body: `{"type":"error","error":{"type":"permission_error","message":"Permission denied"}}`,
			Kind: providers.Unauthorised, Code: "permission_error",
		},
		{
			Name: "no such model", Status: 404,
			Body: `{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}`,
			Kind: providers.NotFound, Code: "not_found_error",
		},
		{
			Name: "too large", Status: 413,
			Body: `{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}`,
			Kind: providers.TooLarge, Code: "request_too_large",
		},
		{
			Name: "internal", Status: 500,
			Body: `{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`,
			Kind: providers.Overloaded, Code: "api_error",
		},
		{
			Name: "timeout", Status: 504,
			Body: `{"type":"error","error":{"type":"timeout_error","message":"Request timeout"}}`,
			Kind: providers.Timeout, Billing: providers.BillingUnknown, Code: "timeout_error",
		},
		// Whose matter a refusal is, by its body.
		{
			Name: "a place", Status: 403, Body: `{"error":{"type":"forbidden","message":"Request not allowed"}}`,
			Kind: providers.AccessDenied, Code: "forbidden", Reason: "Request not allowed",
		},
		{
			Name: "a disabled organization", Status: 400, Body: `{"type":"error","error":{"type":"invalid_request_error","message":"This organization has been disabled."}}`,
			Kind: providers.AccessDenied, Code: "invalid_request_error", Reason: "disabled",
		},
		{
			Name: "one prompt", Status: 403, Body: `{"type":"error","error":{"type":"permission_error","message":"Your request was flagged by our safety filters: $PROMPT"}}`,
			Kind: providers.Moderated, Code: "permission_error", Reason: "flagged by our safety filters: …",
		},
		{
			Name: "one model", Status: 403, Body: `{"type":"error","error":{"type":"permission_error","message":"Your workspace has no access to the model claude-9"}}`,
			Kind: providers.NotFound, Code: "permission_error",
		},
		{Name: "a firewall", Status: 403, Body: "<html><head><title>Just a moment...</title></head>", Kind: providers.AccessDenied, Reason: "(Just a moment...)"},
		{Name: "a JSON that says nothing", Status: 403, Body: `{}`, Kind: providers.InvalidRequest},
		{
			Name: "a field in the sentence", Status: 400, Body: `{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: 999999 > 8192, for $PROMPT"}}`,
			Kind: providers.InvalidRequest, Code: "invalid_request_error", Reason: "max_tokens: 999999 > 8192, for …",
		},
	}
}

func TestRefusalsMeanWhatAnthropicSays(t *testing.T) {
	t.Parallel()
	providertest.CheckRefusals(t, connect, providers.Request{Task: providers.Text}, refusals())
}

func TestTheLimitThatIsUsedUpSaysHowLongToWait(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	s := providertest.Serve(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("anthropic-ratelimit-requests-remaining", "40")
		h.Set("anthropic-ratelimit-requests-reset", in(time.Hour))
		h.Set("anthropic-ratelimit-input-tokens-remaining", "0")
		h.Set("anthropic-ratelimit-input-tokens-reset", in(20*time.Second))
		h.Set("anthropic-ratelimit-output-tokens-remaining", "8000")
		h.Set("anthropic-ratelimit-output-tokens-reset", in(-time.Minute))
		says(http.StatusTooManyRequests, `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`)(w, nil)
	})
	if e := failure(t, provider(t, s), text()); e.RetryAfter < 10*time.Second || e.RetryAfter > 20*time.Second {
		t.Errorf("wait %s, want nearly 20 s", e.RetryAfter)
	}
}

func connect(url string, client *http.Client) (providers.Provider, error) {
	return anthropic.New(anthropic.Config{
		Name: "mine", BaseURL: url, Client: client,
		Key: func(context.Context) (string, error) { return providertest.Key, nil },
	})
}

func TestAnAnswerIsReadHoweverItIsCompressed(t *testing.T) {
	t.Parallel()
	providertest.CheckCodings(t, connect, map[providers.Task]string{providers.Text: message}, providertest.Refusal{Status: 400, Body: `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}`, Kind: providers.OutOfMoney})
}
