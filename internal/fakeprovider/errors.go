package fakeprovider

import (
	"fmt"
	"net/http"
)

// The bodies of errors, as the vendors have them.

// openaiError is OpenAI's error body; param and code may be empty, which is null.
func openaiError(status int, kind, code, param, message string) answer {
	type detail struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	d := detail{Message: message, Type: kind}
	if param != "" {
		d.Param = &param
	}
	if code != "" {
		d.Code = &code
	}
	return jsonAnswer(status, map[string]detail{"error": d})
}

// openaiInvalid is OpenAI's 400.
func openaiInvalid(code, param, message string) answer {
	return openaiError(http.StatusBadRequest, "invalid_request_error", code, param, message)
}

func openaiLimited(c *call, r *refusal) answer {
	kind, short := "requests", "RPM"
	if r.dimension == tokens {
		kind, short = "tokens", "TPM"
	}
	model := c.model
	if model == "" {
		model = "default"
	}
	if r.tooLarge() {
		return openaiError(http.StatusTooManyRequests, kind, "rate_limit_exceeded", "", fmt.Sprintf(
			"Request too large for %s in organization org-fake on %s per min (%s): Limit %d, Requested %d. "+
				"The input or output tokens must be reduced in order to run successfully. "+
				"Visit https://platform.openai.com/account/rate-limits to learn more.", model, kind, short, r.limit, r.asked,
		))
	}
	a := openaiError(http.StatusTooManyRequests, kind, "rate_limit_exceeded", "", fmt.Sprintf(
		"Rate limit reached for %s in organization org-fake on %s per min (%s): Limit %d, Used %d, Requested %d. "+
			"Please try again in %s. Visit https://platform.openai.com/account/rate-limits to learn more.",
		model, kind, short, r.limit, r.used, r.asked, r.retryAfter,
	))
	a.header().Set("Retry-After-Ms", fmt.Sprint((r.retryAfter.Microseconds()+999)/1000))
	retryAfter(a.header(), r.retryAfter)
	return a
}

// anthropicError is Anthropic's error body.
func anthropicError(c *call, status int, kind, message string) answer {
	return jsonAnswer(status, map[string]any{
		"type": "error", "error": map[string]string{"type": kind, "message": message}, "request_id": c.id,
	})
}

func anthropicLimited(c *call, r *refusal) answer {
	unit := map[dimension]string{requests: "requests", inputTokens: "input tokens", outputTokens: "output tokens"}[r.dimension]
	if unit == "" {
		unit = string(r.dimension)
	}
	a := anthropicError(c, http.StatusTooManyRequests, "rate_limit_error", fmt.Sprintf(
		"This request would exceed your organization's rate limit of %d %s per minute (org: 00000000-0000-4000-8000-000000000000, model: %s). "+
			"For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers for current usage. "+
			"Please reduce the prompt length or the maximum tokens requested, or try again later.", r.limit, unit, c.model,
	))
	retryAfter(a.header(), r.retryAfter)
	return a
}

// stabilityError is Stability's error body.
func stabilityError(c *call, status int, name string, messages ...string) answer {
	return jsonAnswer(status, map[string]any{"id": c.id, "name": name, "errors": messages})
}

// elevenLabsError is ElevenLabs' error body.
func elevenLabsError(status int, code, message string) answer {
	return jsonAnswer(status, map[string]any{"detail": map[string]string{"status": code, "message": message}})
}

func (v Vendor) unauthorised(c *call) answer {
	switch v {
	case OpenAI:
		if c.key == "" {
			return openaiError(http.StatusUnauthorized, "invalid_request_error", "", "", "You didn't provide an API key. "+
				"You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")
		}
		return openaiError(http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "", fmt.Sprintf(
			"Incorrect API key provided: ****%s. You can find your API key at https://platform.openai.com/account/api-keys.", lastFour(c.key),
		))
	case Anthropic:
		if c.key == "" {
			return anthropicError(c, http.StatusUnauthorized, "authentication_error", "x-api-key header is required")
		}
		return anthropicError(c, http.StatusUnauthorized, "authentication_error", "invalid x-api-key")
	case Stability:
		if c.key == "" {
			return stabilityError(c, http.StatusUnauthorized, "unauthorized", "authorization: is required")
		}
		return stabilityError(c, http.StatusUnauthorized, "unauthorized", "authorization: invalid or missing header value")
	case ElevenLabs:
	}
	if c.key == "" {
		return elevenLabsError(http.StatusUnauthorized, "needs_authorization", "Neither authorization header nor xi-api-key received, please provide one.")
	}
	return elevenLabsError(http.StatusUnauthorized, "invalid_api_key", "Invalid API key")
}

func (v Vendor) outOfMoney(c *call) answer {
	switch v {
	case OpenAI:
		return openaiError(http.StatusTooManyRequests, "insufficient_quota", "insufficient_quota", "",
			"You exceeded your current quota, please check your plan and billing details. "+
				"For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.")
	case Anthropic:
		return anthropicError(c, http.StatusPaymentRequired, "billing_error",
			"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.")
	case Stability:
		return stabilityError(c, http.StatusPaymentRequired, "payment_required", "You lack sufficient credits to make this request. "+
			"Please purchase more credits at https://platform.stability.ai/account/credits and try again.")
	case ElevenLabs:
	}
	return elevenLabsError(http.StatusUnauthorized, "quota_exceeded", fmt.Sprintf(
		"This request exceeds your quota of 10000. You have 0 credits remaining, while %d credits are required for this request.", len(c.body),
	))
}

func (v Vendor) moderated(c *call) answer {
	switch v {
	case OpenAI:
		if c.path == "/v1/chat/completions" {
			return openaiInvalid("invalid_prompt", "", "Invalid prompt: your prompt was flagged as potentially violating our usage policy. "+
				"Please try again with a different prompt: https://platform.openai.com/docs/guides/reasoning#advice-on-prompting")
		}
		return openaiError(http.StatusBadRequest, "image_generation_user_error", "moderation_blocked", "",
			"Your request was rejected by the safety system. If you believe this is an error, contact us at help.openai.com and include the request ID "+c.id+".")
	case Anthropic:
		return anthropicError(c, http.StatusBadRequest, "invalid_request_error", "Output blocked by content filtering policy")
	case Stability:
		return stabilityError(c, http.StatusForbidden, "content_moderation",
			"Your request was flagged by our content moderation system, as a result your request was denied and you were not charged.")
	case ElevenLabs:
	}
	return elevenLabsError(http.StatusBadRequest, "content_against_policy", "We are unable to process your request: its text goes against our content policy.")
}

func (v Vendor) overloaded(c *call) answer {
	switch v {
	case OpenAI:
		return openaiError(http.StatusServiceUnavailable, "server_error", "", "", "The engine is currently overloaded, please try again later")
	case Anthropic:
		return anthropicError(c, 529, "overloaded_error", "Overloaded")
	case Stability:
		return stabilityError(c, http.StatusServiceUnavailable, "service_unavailable", "The service is overloaded, please try again later.")
	case ElevenLabs:
	}
	return elevenLabsError(http.StatusTooManyRequests, "system_busy", "Our services are experiencing heavy traffic, please try again later.")
}

func (v Vendor) serverError(c *call) answer {
	switch v {
	case OpenAI:
		return openaiError(http.StatusInternalServerError, "server_error", "", "", "The server had an error while processing your request. Sorry about that!")
	case Anthropic:
		return anthropicError(c, http.StatusInternalServerError, "api_error", "Internal server error")
	case Stability:
		return stabilityError(c, http.StatusInternalServerError, "internal_error", "An unexpected server error has occurred, please try again later.")
	case ElevenLabs:
	}
	return jsonAnswer(http.StatusInternalServerError, map[string]string{"detail": "Internal Server Error"})
}

func (v Vendor) tooLarge(c *call) answer {
	const status = http.StatusRequestEntityTooLarge
	switch v {
	case OpenAI:
		return openaiError(status, "invalid_request_error", "", "", "Maximum content size limit exceeded")
	case Anthropic:
		return anthropicError(c, status, "request_too_large", "Request exceeds the maximum size")
	case Stability:
		return stabilityError(c, status, "payload_too_large", "body: payloads cannot be larger than 10MiB in size")
	case ElevenLabs:
	}
	return elevenLabsError(status, "payload_too_large", "The request is too large.")
}

func (v Vendor) noSuchPath(c *call, status int) answer {
	switch v {
	case OpenAI:
		return openaiError(status, "invalid_request_error", "", "", fmt.Sprintf("Invalid URL (%s %s)", c.r.Method, c.path))
	case Anthropic:
		return anthropicError(c, status, "not_found_error", "Not found")
	case Stability:
		return stabilityError(c, status, "not_found", "The requested resource was not found.")
	case ElevenLabs:
	}
	return jsonAnswer(status, map[string]string{"detail": http.StatusText(status)})
}
