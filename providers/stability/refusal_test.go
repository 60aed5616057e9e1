package stability_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/providertest"
	"oneflow/providers/stability"
)

func refusals() []providertest.Refusal {
	return []providertest.Refusal{
		{
			Name: "rate limit", Status: 429,
			Body: `{"id":"rate_limit_exceeded","name":"rate_limit_exceeded","errors":["You have exceeded the rate limit of 150 requests within a 10 second period, and have been timed out for 60 seconds."]}`,
			Kind: providers.RateLimited, Code: "rate_limit_exceeded", Wait: time.Minute, ID: "rate_limit_exceeded",
		},
		{
			Name: "rate limit that asks for longer", Status: 429, Header: map[string]string{"retry-after": "90"},
			Body: `{}`, Kind: providers.RateLimited, Wait: 90 * time.Second,
		},
		{
			Name: "no credits", Status: 402,
			Body: `{"id":"4212a4b66fbe1cedca4bf2133d35dca5","name":"payment_required","errors":["You lack sufficient credits to make this request."]}`,
			Kind: providers.OutOfMoney, Code: "payment_required", ID: "4212a4b66fbe1cedca4bf2133d35dca5",
		},
		{
			Name: "moderation", Status: 403,
			Body: `{"id":"a1b2","name":"content_moderation","errors":["Your request was flagged by our content moderation system, as a result your request was denied and you were not charged."]}`,
			Kind: providers.Moderated, Code: "content_moderation", ID: "a1b2",
		},
		{
			Name: "may not", Status: 403, Body: `{"id":"a1b2","name":"permission_denied","errors":["no"]}`,
			Kind: providers.Unauthorised, Code: "permission_denied", ID: "a1b2",
		},
		{
			Name: "wrong key", Status: 401, Body: `{"id":"a1b2","name":"unauthorized","errors":["missing or invalid authorization header value"]}`,
			Kind: providers.Unauthorised, Code: "unauthorized", ID: "a1b2",
		},
		{
			Name: "bad option", Status: 400, Body: `{"id":"a1b2","name":"bad_request","errors":["some-field: is required"]}`,
			Kind: providers.InvalidRequest, Code: "bad_request", ID: "a1b2",
		},
		{
			Name: "too large", Status: 413, Body: `{"id":"a1b2","name":"payload_too_large","errors":["body: payloads cannot be larger than 10MiB in size"]}`,
			Kind: providers.TooLarge, Code: "payload_too_large", ID: "a1b2",
		},
		{
			Name: "language", Status: 422, Body: `{"id":"a1b2","name":"invalid_language","errors":["English is the only supported language for this service."]}`,
			Kind: providers.InvalidRequest, Code: "invalid_language", ID: "a1b2",
		},
		{
			Name: "internal", Status: 500, Body: `{"id":"a1b2","name":"internal_error","errors":["An unexpected server error has occurred, please try again later."]}`,
			Kind: providers.Overloaded, Code: "internal_error", ID: "a1b2",
		},
		// Whose matter a refusal is, by its body.
		{
			Name: "a flag in other words", Status: 403, Body: `{"id":"a1b2","name":"forbidden","errors":["Your request was flagged: $PROMPT"]}`,
			Kind: providers.Moderated, Code: "forbidden", ID: "a1b2", Reason: "Your request was flagged: …",
		},
		{Name: "a firewall", Status: 403, Body: "<html><title>Access denied | Cloudflare</title>", Kind: providers.AccessDenied, Reason: "Access denied"},
		{Name: "an account", Status: 403, Body: `{"id":"a1b2","name":"forbidden","errors":["Your account has been suspended"]}`, Kind: providers.AccessDenied, Code: "forbidden", ID: "a1b2"},
		{Name: "who knows", Status: 403, Body: `{"id":"a1b2","name":"forbidden","errors":["no"]}`, Kind: providers.InvalidRequest, Code: "forbidden", ID: "a1b2"},
		{Name: "no money in words", Status: 400, Body: `{"id":"a1b2","name":"bad_request","errors":["You have insufficient credits"]}`, Kind: providers.OutOfMoney, Code: "bad_request", ID: "a1b2"},
	}
}

func TestRefusalsMeanWhatStabilitySays(t *testing.T) {
	t.Parallel()
	providertest.CheckRefusals(t, connect, providers.Request{Task: providers.Image}, refusals())
}

func connect(url string, client *http.Client) (providers.Provider, error) {
	return stability.New(stability.Config{
		Name: "mine", BaseURL: url, Client: client,
		Key: func(context.Context) (string, error) { return providertest.Key, nil },
	})
}

func TestAnAnswerIsReadHoweverItIsCompressed(t *testing.T) {
	t.Parallel()
	providertest.CheckCodings(t, connect, map[providers.Task]string{providers.Image: png}, providertest.Refusal{Status: 402, Body: `{"id":"a","name":"payment_required","errors":["no"]}`, Kind: providers.OutOfMoney})
}
