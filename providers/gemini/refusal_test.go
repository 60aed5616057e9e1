package gemini_test

import (
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/providertest"
)

func refusals() []providertest.Refusal {
	return []providertest.Refusal{
		{
			Name: "a wrong key, said as 400", Status: 400,
			Body: `{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}`,
			Kind: providers.Unauthorised, Code: "API_KEY_INVALID", Reason: "API key not valid",
		},
		{
			Name: "a wrong key, in words only", Status: 400,
			Body: `{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}`,
			Kind: providers.Unauthorised, Code: "INVALID_ARGUMENT",
		},
		{
			Name: "an expired key", Status: 400,
			Body: `{"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT"}}`,
			Kind: providers.Unauthorised, Code: "INVALID_ARGUMENT",
		},
		{
			Name: "a leaked key", Status: 403,
			Body: `{"error":{"code":403,"message":"Your API key was reported as leaked. Please use another API key.","status":"PERMISSION_DENIED"}}`,
			Kind: providers.Unauthorised, Code: "PERMISSION_DENIED",
		},
		{
			Name: "an API that is switched off", Status: 403,
			Body: `{"error":{"code":403,"message":"Generative Language API has not been used in project 1 before or it is disabled.","status":"PERMISSION_DENIED","details":[{"reason":"SERVICE_DISABLED"}]}}`,
			Kind: providers.AccessDenied, Code: "SERVICE_DISABLED",
		},
		{
			Name: "a place", Status: 400,
			Body: `{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}`,
			Kind: providers.AccessDenied, Code: "FAILED_PRECONDITION",
		},
		{
			Name: "rate limit", Status: 429,
			Body: `{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. * Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_paid_tier_requests, limit: 10, model: m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17.5s"}]}}`,
			Kind: providers.RateLimited, Code: "RESOURCE_EXHAUSTED", Wait: 17500 * time.Millisecond,
		},
		{
			Name: "rate limit, in a sentence", Status: 429,
			Body: `{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota). Please retry in 3s.","status":"RESOURCE_EXHAUSTED"}}`,
			Kind: providers.RateLimited, Code: "RESOURCE_EXHAUSTED", Wait: 3 * time.Second,
		},
		{
			Name: "a model that the plan does not hold", Status: 429,
			Body: `{"error":{"code":429,"message":"Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, model: gemini-3-pro-image","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"40s"}]}}`,
			Kind: providers.NotFound, Code: "RESOURCE_EXHAUSTED",
		},
		{
			Name: "no credit", Status: 429,
			Body: `{"error":{"code":429,"message":"Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing.","status":"RESOURCE_EXHAUSTED"}}`,
			Kind: providers.OutOfMoney, Code: "RESOURCE_EXHAUSTED",
		},
		{
			Name: "a cap on spending", Status: 429,
			Body: `{"error":{"code":429,"message":"Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to manage your project spend cap.","status":"RESOURCE_EXHAUSTED"}}`,
			Kind: providers.OutOfMoney, Code: "RESOURCE_EXHAUSTED",
		},
		{
			Name: "no such model", Status: 404,
			Body: `{"error":{"code":404,"message":"models/gemini-9 is not found for API version v1beta, or is not supported for generateContent.","status":"NOT_FOUND"}}`,
			Kind: providers.NotFound, Code: "NOT_FOUND",
		},
		{
			Name: "too long", Status: 400,
			Body: `{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}`,
			Kind: providers.TooLarge, Code: "INVALID_ARGUMENT",
		},
		{
			Name: "invalid", Status: 400,
			Body: `{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"foo\": Cannot find field. For $PROMPT","status":"INVALID_ARGUMENT"}}`,
			Kind: providers.InvalidRequest, Code: "INVALID_ARGUMENT", Reason: `Unknown name "foo"`,
		},
		{
			Name: "overloaded", Status: 503,
			Body: `{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}`,
			Kind: providers.Overloaded, Code: "UNAVAILABLE",
		},
		{
			Name: "internal", Status: 500,
			Body: `{"error":{"code":500,"message":"An internal error has occurred.","status":"INTERNAL"}}`,
			Kind: providers.Overloaded, Code: "INTERNAL",
		},
		{
			Name: "too slow", Status: 504,
			Body: `{"error":{"code":504,"message":"Deadline expired before operation could complete.","status":"DEADLINE_EXCEEDED"}}`,
			Kind: providers.Timeout, Billing: providers.BillingUnknown, Code: "DEADLINE_EXCEEDED",
		},
	}
}

func TestRefusalsMeanWhatGoogleSays(t *testing.T) {
	t.Parallel()
	providertest.CheckRefusals(t, connect, providers.Request{Task: providers.Text}, refusals())
}

func TestAnAnswerIsReadHoweverItIsCompressed(t *testing.T) {
	t.Parallel()
	providertest.CheckCodings(t, connect, map[providers.Task]string{providers.Text: answered, providers.Image: drawn}, providertest.Refusal{
		Status: 429, Body: `{"error":{"code":429,"message":"Your prepayment credits are depleted.","status":"RESOURCE_EXHAUSTED"}}`, Kind: providers.OutOfMoney,
	})
}
