package openai_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
)

func refusals() []providertest.Refusal {
	return []providertest.Refusal{
		{
			Name: "rate limit", Status: 429, Header: map[string]string{"retry-after-ms": "1500", "retry-after": "2", "x-request-id": "req_1"},
			Body: `{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
			Kind: providers.RateLimited, Code: "rate_limit_exceeded", Wait: 1500 * time.Millisecond, ID: "req_1",
		},
		{
			Name: "a request larger than the limit per minute never succeeds", Status: 429,
			Body: `{"error":{"message":"Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 35000.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
			Kind: providers.TooLarge, Code: "rate_limit_exceeded",
		},
		{
			Name: "no quota", Status: 429,
			Body: `{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`,
			Kind: providers.OutOfMoney, Code: "insufficient_quota",
		},
		{
			Name: "hard limit", Status: 400,
			Body: `{"error":{"code":"billing_hard_limit_reached","message":"Billing hard limit has been reached","param":null,"type":"invalid_request_error"}}`,
			Kind: providers.OutOfMoney, Code: "billing_hard_limit_reached",
		},
		{
			Name: "billing not active", Status: 429,
			Body: `{"error":{"message":"Your account is not active, please check your billing details on our website.","type":"billing_not_active","param":null,"code":"billing_not_active"}}`,
			Kind: providers.OutOfMoney, Code: "billing_not_active",
		},
		{
			Name: "wrong key", Status: 401,
			Body: `{"error":{"message":"Incorrect API key provided: sk-canary.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
			Kind: providers.Unauthorised, Code: "invalid_api_key",
		},
		{
			Name: "country", Status: 403,
			Body: `{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported","param":null,"type":"request_forbidden"}}`,
			Kind: providers.AccessDenied, Code: "unsupported_country_region_territory",
		},
		{
			Name: "a model that the project may not use does not condemn the key", Status: 403,
			Body: `{"error":{"message":"Project x does not have access to model gpt-9","type":"invalid_request_error","param":null,"code":"model_not_found"}}`,
			Kind: providers.NotFound, Code: "model_not_found",
		},
		{
			Name: "no such model", Status: 404,
			Body: `{"error":{"message":"The model gpt-9 does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}`,
			Kind: providers.NotFound, Code: "model_not_found",
		},
		{
			Name: "policy", Status: 400,
			Body: `{"error":{"code":"content_policy_violation","message":"Your request was rejected as a result of our safety system. canary prompt","param":null,"type":"invalid_request_error"}}`,
			Kind: providers.Moderated, Code: "content_policy_violation",
		},
		{
			Name: "moderation of a picture", Status: 400,
			Body: `{"error":{"message":"Your request was rejected by the safety system.","type":"image_generation_user_error","param":null,"code":"moderation_blocked"}}`,
			Kind: providers.Moderated, Code: "moderation_blocked",
		},
		{
			Name: "context length", Status: 400,
			Body:  `{"error":{"message":"This model's maximum context length is 128000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`,
			Param: "messages", Kind: providers.TooLarge, Code: "context_length_exceeded",
		},
		{
			Name: "bad option", Status: 400,
			Body:  `{"error":{"message":"Unsupported value: 'temperature' does not support 0.2","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}`,
			Param: "temperature", Kind: providers.InvalidRequest, Code: "unsupported_value",
		},
		{
			Name: "server error", Status: 500,
			Body: `{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}`,
			Kind: providers.Overloaded, Code: "server_error",
		},
		{
			Name: "overloaded", Status: 503, Header: map[string]string{"retry-after": "20"},
			Body: `{"error":{"message":"The engine is currently overloaded, please try again later","type":"server_error","param":null,"code":null}}`,
			Kind: providers.Overloaded, Code: "server_error", Wait: 20 * time.Second,
		},
		{Name: "conflict", Status: 409, Body: `{"error":{"message":"conflict","type":"conflict_error"}}`, Kind: providers.Overloaded, Code: "conflict_error"},
		{Name: "too early", Status: 425, Kind: providers.Overloaded},
		{Name: "request timeout", Status: 408, Kind: providers.Timeout, Billing: providers.BillingUnknown},
		{Name: "gateway lost us", Status: 499, Kind: providers.Connection, Billing: providers.BillingUnknown},
		{Name: "bad gateway in HTML", Status: 502, Body: "<html><body><h1>502 Bad Gateway</h1></body></html>", Kind: providers.Overloaded, Billing: providers.BillingUnknown},
		{Name: "gateway timeout", Status: 504, Body: "upstream request timeout", Kind: providers.Timeout, Billing: providers.BillingUnknown},
		{Name: "Cloudflare timeout", Status: 524, Body: "error Code: 524", Kind: providers.Timeout, Billing: providers.BillingUnknown},
		{Name: "Cloudflare", Status: 520, Kind: providers.Overloaded, Billing: providers.BillingUnknown},
		{Name: "empty", Status: 400, Kind: providers.InvalidRequest},
		{Name: "payment required", Status: 402, Body: `{"error":{"message":"Insufficient credits","code":402}}`, Kind: providers.OutOfMoney},
		{Name: "wrong method", Status: 405, Kind: providers.NotFound},
		{Name: "gone", Status: 410, Kind: providers.NotFound},
		{Name: "too large", Status: 413, Body: "<html>413 Request Entity Too Large</html>", Kind: providers.TooLarge},
		{Name: "unprocessable", Status: 422, Kind: providers.InvalidRequest},
		{Name: "teapot", Status: 418, Kind: providers.InvalidRequest},
		{Name: "not implemented", Status: 501, Kind: providers.NotFound},
		{Name: "error is text", Status: 404, Body: `{"error":"model 'llama9' not found, try pulling it first"}`, Kind: providers.NotFound},
		{Name: "vLLM", Status: 400, Body: `{"object":"error","message":"max_tokens is too large","type":"BadRequestError","param":null,"code":400}`, Kind: providers.InvalidRequest, Code: "BadRequestError"},
		{Name: "FastAPI", Status: 401, Body: `{"detail":"Unauthorized"}`, Kind: providers.Unauthorised},
		{Name: "a list", Status: 429, Body: `[{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}]`, Kind: providers.RateLimited, Code: "RESOURCE_EXHAUSTED"},
		{Name: "an error under 200", Status: 200, Body: `{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}`, Kind: providers.OutOfMoney, Code: "insufficient_quota"},
		{Name: "rubbish under 200", Status: 200, Body: `hello`, Kind: providers.MalformedResponse, Billing: providers.Billed},
		{Name: "a code that is a sentence is not shown", Status: 400, Body: `{"error":{"code":"canary prompt","type":"x y","message":""}}`, Kind: providers.InvalidRequest},
	}
}

func TestRefusalsMeanWhatOpenAISays(t *testing.T) {
	t.Parallel()
	providertest.CheckRefusals(t, func(url string, client *http.Client) (providers.Provider, error) {
		return openai.New(openai.Config{
			Name: "mine", BaseURL: url + "/v1", Client: client,
			Key: func(context.Context) (string, error) { return providertest.Key, nil },
		})
	}, text(), refusals())
}
