package elevenlabs_test

import (
	"context"
	"net/http"
	"testing"

	"oneflow/providers"
	"oneflow/providers/elevenlabs"
	"oneflow/providers/providertest"
)

func refusals() []providertest.Refusal {
	return []providertest.Refusal{
		{
			Name: "quota under 401", Status: 401, Header: map[string]string{"x-trace-id": "b736e114506d20210112110b377c6f9b"},
			Body: `{"detail":{"status":"quota_exceeded","message":"This request exceeds your quota of 10000. You have 0 credits remaining, while 91 credits are required for this request."}}`,
			Kind: providers.OutOfMoney, Code: "quota_exceeded", ID: "b736e114506d20210112110b377c6f9b",
		},
		{
			Name: "quota under 400", Status: 400,
			Body: `{"detail":{"status":"quota_exceeded","message":"This request exceeds your quota.","character_used":10059,"character_limit":10000}}`,
			Kind: providers.OutOfMoney, Code: "quota_exceeded",
		},
		{
			Name: "a voice that the plan does not hold is no empty account", Status: 402,
			Body: `{"detail":{"type":"payment_required","code":"paid_plan_required","message":"Free users cannot use library voices via the API.","request_id":"abc123"}}`,
			Kind: providers.InvalidRequest, Code: "paid_plan_required", ID: "abc123",
		},
		{
			Name: "a format that the plan does not hold is no wrong key", Status: 403,
			Body: `{"detail":{"status":"output_format_not_allowed","message":"Upgrade."}}`,
			Kind: providers.InvalidRequest, Code: "output_format_not_allowed",
		},
		{
			Name: "too many at once", Status: 429, Header: map[string]string{"current-concurrent-requests": "6", "maximum-concurrent-requests": "5"},
			Body: `{"detail":{"status":"too_many_concurrent_requests","message":"Too many concurrent requests."}}`,
			Kind: providers.ConcurrencyLimit, Code: "too_many_concurrent_requests",
		},
		{
			Name: "too many at once, in the newer form", Status: 429,
			Body: `{"detail":{"type":"rate_limit_error","code":"concurrent_limit_exceeded","message":"…","request_id":"abc"}}`,
			Kind: providers.ConcurrencyLimit, Code: "concurrent_limit_exceeded", ID: "abc",
		},
		{
			Name: "busy", Status: 429, Body: `{"detail":{"status":"system_busy","message":"We are experiencing heavy traffic"}}`,
			Kind: providers.RateLimited, Code: "system_busy",
		},
		{
			Name: "wrong key", Status: 401, Body: `{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}`,
			Kind: providers.Unauthorised, Code: "invalid_api_key",
		},
		{
			Name: "text too long", Status: 400,
			Body: `{"detail":{"status":"max_character_limit_exceeded","message":"This request's text has 627 characters and exceeds the character limit of 333 characters for non signed in accounts."}}`,
			Kind: providers.TooLarge, Code: "max_character_limit_exceeded",
		},
		{
			Name: "no such voice", Status: 400, Body: `{"detail":{"status":"voice_not_found","message":"A voice with the voice_id x was not found."}}`,
			Kind: providers.NotFound, Code: "voice_not_found",
		},
		{
			Name: "policy", Status: 400, Body: `{"detail":{"status":"content_against_policy","message":"The text violates our policy"}}`,
			Kind: providers.Moderated, Code: "content_against_policy",
		},
		{
			Name: "validation", Status: 422, Body: `{"detail":[{"loc":["body","text"],"msg":"field required","type":"value_error.missing"}]}`,
			Param: "body.text", Kind: providers.InvalidRequest, Code: "value_error.missing",
		},
		{Name: "internal", Status: 500, Body: "Internal Server Error", Kind: providers.Overloaded},
		// Whose matter a refusal is, by its body.
		{
			Name: "a text that is not allowed, under 403", Status: 403, Body: `{"detail":{"status":"content_moderated","message":"$PROMPT"}}`,
			Kind: providers.Moderated, Code: "content_moderated", Reason: "…",
		},
		{Name: "an account", Status: 401, Body: `{"detail":{"status":"detected_unusual_activity","message":"Unusual activity detected. Free Tier usage disabled."}}`, Kind: providers.AccessDenied, Code: "detected_unusual_activity", Reason: "Free Tier usage disabled"},
		{Name: "a permission of the key", Status: 401, Body: `{"detail":{"status":"missing_permissions","message":"The API key you used is missing the permission text_to_speech"}}`, Kind: providers.Unauthorised, Code: "missing_permissions"},
		{Name: "a firewall", Status: 403, Body: "Forbidden", Kind: providers.AccessDenied, Reason: "Forbidden"},
		{Name: "who knows", Status: 403, Body: `{"detail":{"status":"only_for_creators","message":"no"}}`, Kind: providers.InvalidRequest, Code: "only_for_creators"},
	}
}

func TestRefusalsMeanWhatElevenLabsSays(t *testing.T) {
	t.Parallel()
	providertest.CheckRefusals(t, connect, providers.Request{Task: providers.Audio}, refusals())
}

func connect(url string, client *http.Client) (providers.Provider, error) {
	return elevenlabs.New(elevenlabs.Config{
		Name: "mine", BaseURL: url, Client: client,
		Key: func(context.Context) (string, error) { return providertest.Key, nil },
	})
}

func TestAnAnswerIsReadHoweverItIsCompressed(t *testing.T) {
	t.Parallel()
	providertest.CheckCodings(t, connect, map[providers.Task]string{providers.Audio: mp3}, providertest.Refusal{Status: 401, Body: `{"detail":{"status":"quota_exceeded","message":"no"}}`, Kind: providers.OutOfMoney})
}
