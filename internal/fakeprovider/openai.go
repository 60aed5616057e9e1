package fakeprovider

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// OpenAI is the vendor of that name.
const OpenAI Vendor = "openai"

// openai is OpenAI's half: chat completions, responses, embeddings, moderations,
// pictures, speech, transcriptions and film.
type openai struct {
	config Config

	mu     sync.Mutex
	videos map[string]*video
}

func newOpenAI(config Config) vendor { return &openai{config: config, videos: map[string]*video{}} }

func (*openai) name() Vendor { return OpenAI }

func (o *openai) routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{method: post, path: "/v1/chat/completions", handle: o.chat, generates: true, faults: []Fault{Refused, OffSchema, AudioInChat, ImageInChat}},
		{method: post, path: "/v1/responses", handle: o.response, generates: true, faults: []Fault{Refused, OffSchema}},
		{method: post, path: "/v1/embeddings", handle: o.embeddings, generates: true},
		{method: post, path: "/v1/moderations", handle: o.moderate, generates: true},
		{method: post, path: "/v1/images/edits", handle: o.edit, generates: true},
		{method: post, path: "/v1/audio/transcriptions", handle: o.transcribe, generates: true},
		{method: post, path: "/v1/images/generations", handle: o.images, generates: true, faults: []Fault{DataURL, OddBase64, PrivateURL}},
		{method: get, path: "/v1/images/files/*/*", handle: o.imageFile, open: true}, // as from a signed address
		{method: post, path: "/v1/audio/speech", handle: o.speech, generates: true},
		{method: post, path: "/v1/videos", handle: o.video, generates: true, faults: []Fault{VideoFailed}},
		{method: get, path: "/v1/videos/*", handle: o.videoState},
		{method: get, path: "/v1/videos/*/content", handle: o.videoContent},
		{method: get, path: "/v1/models", handle: o.models},
	}
}

func (*openai) key(r *http.Request) string { return bearer(r) }

func (*openai) requestID(n int64) string { return fmt.Sprintf("req_%032x", n) }

func (*openai) headers(c *call, h http.Header, levels map[dimension]level) {
	h.Set("X-Request-Id", c.id)
	h.Set("Openai-Version", "2020-10-01")
	h.Set("Openai-Processing-Ms", "1")
	for d, l := range levels {
		if d == requests || d == tokens {
			h.Set("X-Ratelimit-Limit-"+string(d), strconv.Itoa(l.limit))
			h.Set("X-Ratelimit-Remaining-"+string(d), strconv.Itoa(l.remaining))
			h.Set("X-Ratelimit-Reset-"+string(d), l.reset.Round(time.Millisecond).String())
		}
	}
}

func (*openai) refuse(c *call, why refusal) answer {
	switch why.reason {
	case unauthorised:
		if c.key == "" {
			return openaiError(http.StatusUnauthorized, "invalid_request_error", "", "", "You didn't provide an API key. "+
				"You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")
		}
		return openaiError(http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "", fmt.Sprintf(
			"Incorrect API key provided: ****%s. You can find your API key at https://platform.openai.com/account/api-keys.", lastFour(c.key),
		))
	case outOfMoney:
		return openaiError(http.StatusTooManyRequests, "insufficient_quota", "insufficient_quota", "",
			"You exceeded your current quota, please check your plan and billing details. "+
				"For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.")
	case moderated:
		if c.path == "/v1/chat/completions" {
			return openaiInvalid("invalid_prompt", "", "Invalid prompt: your prompt was flagged as potentially violating our usage policy. "+
				"Please try again with a different prompt: https://platform.openai.com/docs/guides/reasoning#advice-on-prompting")
		}
		return openaiError(http.StatusBadRequest, "image_generation_user_error", "moderation_blocked", "",
			"Your request was rejected by the safety system. If you believe this is an error, contact us at help.openai.com and include the request ID "+c.id+".")
	case flagged: // in the words of a router of many models
		return jsonAnswer(http.StatusForbidden, map[string]any{"error": map[string]any{
			"code": http.StatusForbidden, "message": "Your input was flagged by the moderation of the model's provider.",
			"metadata": map[string]any{"reasons": []string{"violence"}, "flagged_input": "…", "provider_name": "Fake", "model_slug": c.model},
		}})
	case region:
		return openaiError(http.StatusForbidden, "request_forbidden", "unsupported_country_region_territory", "", "Country, region, or territory not supported")
	case limited:
		return openaiLimited(c, why.limit)
	case overloaded:
		return openaiError(http.StatusServiceUnavailable, "server_error", "", "", "The engine is currently overloaded, please try again later")
	case serverError:
		return openaiError(http.StatusInternalServerError, "server_error", "", "", "The server had an error while processing your request. Sorry about that!")
	case tooLarge:
		return openaiError(http.StatusRequestEntityTooLarge, "invalid_request_error", "", "", "Maximum content size limit exceeded")
	case noSuchPath:
		return openaiError(why.status, "invalid_request_error", "", "", fmt.Sprintf("Invalid URL (%s %s)", c.r.Method, c.path))
	}
	return answer{}
}

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

func openaiLimited(c *call, r *brokenLimit) answer {
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

// known refuses a model that does not exist.
func (o *openai) known(model string) answer {
	if len(o.config.Models) == 0 || slices.Contains(o.config.Models, model) {
		return answer{}
	}
	return openaiError(http.StatusNotFound, "invalid_request_error", "model_not_found", "",
		fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", model))
}

func (o *openai) models(*call) answer {
	names := o.config.Models
	if len(names) == 0 {
		names = []string{"gpt-6-luna", "gpt-image-2", "tts-1"}
	}
	data := make([]map[string]any, len(names))
	for i, name := range names {
		data[i] = map[string]any{"id": name, "object": "model", "created": 1700000000, "owned_by": "fake", "shutdown_date": nil}
		if name == "tts-1" {
			data[i]["shutdown_date"] = "2027-01-06"
		}
	}
	return jsonAnswer(http.StatusOK, map[string]any{"object": "list", "data": data})
}
