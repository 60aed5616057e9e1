package openai_test

import (
	"context"
	"net/http"
	"strings"
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
	providertest.CheckRefusals(t, connect, text(), refusals())
}

func connect(url string, client *http.Client) (providers.Provider, error) {
	return openai.New(openai.Config{
		Name: "mine", BaseURL: url + "/v1", Client: client,
		Key:    func(context.Context) (string, error) { return providertest.Key, nil },
		Models: map[providers.Task]string{providers.Audio: "tts-1"},
	})
}

// forbidden are answers that say 403 and the like: each body says whose matter it is.
func forbidden() []providertest.Refusal {
	const page = `<!DOCTYPE html><html><head><title>%s</title></head><body>$PROMPT</body></html>`
	return []providertest.Refusal{
		// The prompt's: that job has failed, and nobody else.
		{
			Name: "OpenRouter, flagged", Status: 403,
			Body: `{"error":{"code":403,"message":"openai/gpt-5 requires moderation on OpenInference. Your input was flagged for \"violence\". No credits were charged.","metadata":{"reasons":["violence"],"flagged_input":"$PROMPT"}}}`,
			Kind: providers.Moderated, Reason: "Your input was flagged",
		},
		{
			Name: "Azure, filtered", Status: 400,
			Body: `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}`,
			Kind: providers.Moderated, Code: "content_filter", Param: "prompt", Reason: "content management policy",
		},
		{
			Name: "a gateway's guard, flagged by its sentence alone", Status: 403, Body: `{"error":{"message":"Request rejected: the prompt was flagged by our policy: $PROMPT"}}`,
			Kind: providers.Moderated, Reason: "was flagged by our policy: …",
		},
		{Name: "xAI, usage guidelines", Status: 403, Body: `{"code":"The caller does not have permission","error":"Content violates usage guidelines."}`, Kind: providers.Moderated, Reason: "usage guidelines"},
		{Name: "unprocessable for its content", Status: 422, Body: `{"detail":"Prohibited content in the input"}`, Kind: providers.Moderated},
		{Name: "a prompt about suspended accounts", Status: 403, Body: `{"error":{"message":"Input was flagged: $PROMPT your account has been suspended"}}`, Kind: providers.Moderated},
		{
			Name: "an unknown word for one request", Status: 403, Body: `{"error":{"message":"Sorry, not this one: $PROMPT","code":"nope"}}`,
			Kind: providers.InvalidRequest, Code: "nope", Reason: "Sorry, not this one: …",
		},
		// The model's.
		{
			Name: "an organization that is not verified for a model", Status: 403,
			Body: `{"error":{"message":"Your organization must be verified to use the model ` + "`gpt-image-1`" + `. Please go to settings.","type":"invalid_request_error","param":null,"code":null}}`,
			Kind: providers.NotFound, Code: "invalid_request_error", Reason: "must be verified",
		},
		{Name: "a model that may not be sampled", Status: 403, Body: `{"error":{"message":"You are not allowed to sample from this model","type":"invalid_request_error"}}`, Kind: providers.NotFound, Code: "invalid_request_error"},
		// The key's.
		{
			Name: "scopes", Status: 403, Body: `{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: model.request.","type":"invalid_request_error"}}`,
			Kind: providers.Unauthorised, Code: "invalid_request_error", Reason: "Missing scopes",
		},
		{
			Name: "Google, a bad key under 400", Status: 400,
			Body: `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}]`,
			Kind: providers.Unauthorised, Code: "API_KEY_INVALID", Reason: "API key not valid",
		},
		{Name: "Google, denied", Status: 403, Body: `{"error":{"code":403,"message":"Caller lacks access.","status":"PERMISSION_DENIED"}}`, Kind: providers.Unauthorised, Code: "PERMISSION_DENIED"},
		{Name: "a key that is echoed", Status: 401, Body: `{"error":{"message":"Incorrect API key provided: $KEY. Find yours in settings.","code":"invalid_api_key"}}`, Kind: providers.Unauthorised, Code: "invalid_api_key", Reason: "Incorrect API key provided: …. Find yours"},
		// The account's, or the place's: the provider stops.
		{Name: "Azure, a network", Status: 403, Body: `{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}`, Kind: providers.AccessDenied, Reason: "Virtual Network"},
		{Name: "Google, a place", Status: 400, Body: `{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}`, Kind: providers.AccessDenied, Code: "FAILED_PRECONDITION"},
		{Name: "an address that is not on the list", Status: 403, Body: `{"error":{"message":"IP address 10.1.2.3 is not allowed","code":"ip_not_authorized"}}`, Kind: providers.AccessDenied, Code: "ip_not_authorized"},
		{Name: "a closed account", Status: 401, Body: `{"error":{"message":"The OpenAI account associated with this API key has been deactivated.","code":"account_deactivated"}}`, Kind: providers.AccessDenied, Code: "account_deactivated"},
		{Name: "a suspended account", Status: 403, Body: `{"error":{"message":"Your account has been suspended."}}`, Kind: providers.AccessDenied, Reason: "suspended"},
		{Name: "for reasons of law", Status: 451, Body: `{}`, Kind: providers.AccessDenied},
		{Name: "Cloudflare", Status: 403, Body: strings.Replace(page, "%s", "Attention Required! | Cloudflare", 1), Kind: providers.AccessDenied, Reason: "an HTML page answered at http://127.0.0.1"},
		{Name: "Cloudflare, in a line", Status: 403, Body: "error code: 1020", Kind: providers.AccessDenied, Reason: "error code: 1020"},
		{Name: "nginx", Status: 403, Body: "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>", Kind: providers.AccessDenied, Reason: "403 Forbidden"},
		{Name: "nothing at all", Status: 403, Kind: providers.AccessDenied},
		{Name: "a proxy on the way", Status: 407, Body: "<html><title>Proxy Authentication Required</title>", Kind: providers.AccessDenied},
		// The purse's.
		{Name: "xAI, no credits", Status: 403, Body: `{"code":"permission-denied","error":"Your newly created teams doesn't have any credits yet. You can purchase credits."}`, Kind: providers.OutOfMoney, Code: "permission-denied"},
		{Name: "DeepSeek", Status: 402, Body: `{"error":{"message":"Insufficient Balance","type":"unknown_error","code":"invalid_request_error"}}`, Kind: providers.OutOfMoney, Code: "invalid_request_error"},
		{Name: "Groq, spend alert", Status: 400, Body: `{"error":{"message":"Organization has been blocked.","type":"invalid_request_error","code":"blocked_api_access"}}`, Kind: providers.OutOfMoney, Code: "blocked_api_access"},
		{Name: "Fireworks, unpaid", Status: 412, Body: `{"error":{"message":"Account is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices"}}`, Kind: providers.OutOfMoney},
		// The address's.
		{Name: "a page where nothing is", Status: 404, Body: "<html><title>Not Found</title>", Kind: providers.NotFound, Reason: "/v1/chat/completions (Not Found): is base_url right?"},
		{Name: "a page of some other site", Status: 200, Body: "<!-- hello --><!DOCTYPE html><html><title>Sign in</title>", Kind: providers.NotFound, Reason: "an HTML page answered at http://127.0.0.1"},
		{Name: "Ollama", Status: 404, Body: `{"error":{"message":"model \"llama9\" not found, try pulling it first","type":"api_error","param":null,"code":null}}`, Kind: providers.NotFound, Code: "api_error", Reason: `model "llama9" not found, try pulling it first`},
		// A parameter's.
		{Name: "a parameter", Status: 400, Body: `{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}`, Kind: providers.InvalidRequest, Code: "unsupported_parameter", Param: "max_tokens", Reason: "Unsupported parameter: 'max_tokens'"},
		{
			Name: "a key for a code", Status: 400, Body: `{"error":{"message":"$KEY","code":"$KEY","param":"$KEY"}}`, Kind: providers.InvalidRequest, Reason: "…",
		},
		{Name: "a parameter that is a path", Status: 400, Body: `{"error":{"message":"Invalid schema","param":"messages[1].content[0].image_url","code":"invalid_value"}}`, Kind: providers.InvalidRequest, Code: "invalid_value", Param: "messages[1].content[0].image_url"},
		{Name: "a parameter about moderation", Status: 400, Body: `{"error":{"message":"Invalid value for 'moderation'.","param":"moderation","code":"invalid_value"}}`, Kind: providers.InvalidRequest, Code: "invalid_value", Param: "moderation"},
		{Name: "a place in a parameter", Status: 400, Body: `{"error":{"message":"Invalid country in 'user_location'.","param":"$PROMPT","code":"invalid_value"}}`, Kind: providers.InvalidRequest, Code: "invalid_value"},
		{Name: "a long sentence in lines", Status: 400, Body: `{"error":{"message":"one\ntwo\u0000\t` + strings.Repeat("x ", 400) + `"}}`, Kind: providers.InvalidRequest, Reason: "one two x x"},
		{Name: "in a byte order mark", Status: 400, Body: "\xef\xbb\xbf" + `{"error":{"message":"no","code":"insufficient_quota"}}`, Kind: providers.OutOfMoney, Code: "insufficient_quota", Reason: "no"},
	}
}

// waits are all the forms in which a 429 says how long to wait.
func waits() []providertest.Refusal {
	said := func(name string, wait time.Duration, header map[string]string) providertest.Refusal {
		return providertest.Refusal{Name: name, Status: 429, Header: header, Body: `{"error":{"message":"slow down","code":"rate_limit_exceeded"}}`, Kind: providers.RateLimited, Code: "rate_limit_exceeded", Wait: wait}
	}
	words := func(sentence string, wait time.Duration) providertest.Refusal {
		return providertest.Refusal{Name: sentence, Status: 429, Body: `{"error":{"message":"` + sentence + `","code":"rate_limit_exceeded"}}`, Kind: providers.RateLimited, Code: "rate_limit_exceeded", Wait: wait}
	}
	return []providertest.Refusal{
		said("requests are used up", 20*time.Second, map[string]string{
			"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s", "x-ratelimit-remaining-tokens": "9000", "x-ratelimit-reset-tokens": "6m0s",
		}),
		said("tokens are used up", 350*time.Millisecond, map[string]string{
			"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "20s", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "350ms",
		}),
		said("both are used up", 6*time.Minute, map[string]string{
			"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s",
		}),
		said("seconds without a unit", 6*time.Second, map[string]string{"x-ratelimit-reset-requests": "6"}),
		said("a fraction", 1500*time.Millisecond, map[string]string{"x-ratelimit-reset-tokens": "1.5"}),
		said("one reset for all", 30*time.Second, map[string]string{"x-ratelimit-reset": "30", "x-ratelimit-remaining": "0"}),
		said("the IETF's first form", 12*time.Second, map[string]string{"ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "12"}),
		said("the IETF's later form", 7*time.Second, map[string]string{"ratelimit": `"burst";r=5;t=100, "day";r=0;t=7`}),
		said("the IETF's middle form", 9*time.Second, map[string]string{"ratelimit": "limit=100, remaining=0, reset=9"}),
		said("retry-after goes before resets", 6*time.Second, map[string]string{"retry-after": "6", "x-ratelimit-reset-requests": "20s", "x-ratelimit-remaining-requests": "0"}),
		said("retry-after of nothing", 0, map[string]string{"retry-after": "0", "x-ratelimit-reset-requests": "20s"}),
		said("retry-after with a fraction", 1250*time.Millisecond, map[string]string{"retry-after": "1.25"}),
		said("retry-after with a unit", 350*time.Millisecond, map[string]string{"retry-after": "350ms"}),
		said("retry-after-ms", 350*time.Millisecond, map[string]string{"retry-after-ms": "350", "retry-after": "1"}),
		said("Azure's", 2500*time.Millisecond, map[string]string{"x-ms-retry-after-ms": "2500"}),
		said("nothing that can be read", 0, map[string]string{"retry-after": "soon", "x-ratelimit-reset-requests": "later"}),
		words("Rate limit reached. Please try again in 6m0s.", 6*time.Minute),
		words("Rate limit reached. Please try again in 350ms. Visit us.", 350*time.Millisecond),
		words("Please try again in 7.66s.", 7660*time.Millisecond),
		words("Please retry after 17 seconds.", 17*time.Second),
		words("Please wait for 2 minutes", 2*time.Minute),
		words("Try again in a moment", 0),
		{
			Name: "Google's details", Status: 429, Kind: providers.RateLimited, Code: "RESOURCE_EXHAUSTED", Wait: 17500 * time.Millisecond,
			Body: `{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17.5s"}]}}`,
		},
	}
}

func TestWhatIsForbiddenIsToldApartByItsBody(t *testing.T) {
	t.Parallel()
	providertest.CheckRefusals(t, connect, text(), forbidden())
}

func TestEveryFormOfAWaitIsRead(t *testing.T) {
	t.Parallel()
	providertest.CheckRefusals(t, connect, text(), waits())
}

func TestAnAnswerIsReadHoweverItIsCompressed(t *testing.T) {
	t.Parallel()
	providertest.CheckCodings(t, connect, map[providers.Task]string{providers.Text: completion, providers.Image: `{"data":[{"b64_json":"` + png64 + `"}]}`, providers.Audio: mp3}, providertest.Refusal{Status: 429, Body: `{"error":{"message":"no","code":"insufficient_quota"}}`, Kind: providers.OutOfMoney})
}
