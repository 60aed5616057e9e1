package fakeprovider

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Anthropic is the vendor of that name.
const Anthropic Vendor = "anthropic"

// anthropic is Anthropic's half: messages.
type anthropic struct {
	config Config

	mu     sync.Mutex
	cached map[string]bool // prompts seen with cache_control
}

func newAnthropic(config Config) vendor { return &anthropic{config: config, cached: map[string]bool{}} }

func (*anthropic) name() Vendor { return Anthropic }

func (a *anthropic) routes() []route {
	return []route{
		{method: http.MethodPost, path: "/v1/messages", handle: a.messages, generates: true, faults: []Fault{Refused}},
		{method: http.MethodGet, path: "/v1/models", handle: a.models},
	}
}

func (*anthropic) key(r *http.Request) string { return r.Header.Get("X-Api-Key") }

func (*anthropic) requestID(n int64) string { return fmt.Sprintf("req_%024d", n) }

func (*anthropic) headers(c *call, h http.Header, levels map[dimension]level) {
	h.Set("Request-Id", c.id)
	h.Set("Anthropic-Organization-Id", "00000000-0000-4000-8000-000000000000")
	for d, l := range levels {
		if d != concurrent {
			h.Set("Anthropic-Ratelimit-"+string(d)+"-Limit", strconv.Itoa(l.limit))
			h.Set("Anthropic-Ratelimit-"+string(d)+"-Remaining", strconv.Itoa(l.remaining))
			h.Set("Anthropic-Ratelimit-"+string(d)+"-Reset", c.arrived.Add(l.reset).UTC().Format(time.RFC3339))
		}
	}
}

func (*anthropic) refuse(c *call, why refusal) answer {
	switch why.reason {
	case unauthorised:
		if c.key == "" {
			return anthropicError(c, http.StatusUnauthorized, "authentication_error", "x-api-key header is required")
		}
		return anthropicError(c, http.StatusUnauthorized, "authentication_error", "invalid x-api-key")
	case outOfMoney:
		return anthropicError(c, http.StatusPaymentRequired, "billing_error",
			"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.")
	case moderated:
		return anthropicError(c, http.StatusBadRequest, "invalid_request_error", "Output blocked by content filtering policy")
	case flagged:
		return anthropicError(c, http.StatusForbidden, "permission_error", "Your prompt was flagged as violating our usage policy.")
	case region:
		return anthropicError(c, http.StatusForbidden, "forbidden", "Request not allowed")
	case limited:
		return anthropicLimited(c, why.limit)
	case overloaded:
		return anthropicError(c, 529, "overloaded_error", "Overloaded")
	case serverError:
		return anthropicError(c, http.StatusInternalServerError, "api_error", "Internal server error")
	case tooLarge:
		return anthropicError(c, http.StatusRequestEntityTooLarge, "request_too_large", "Request exceeds the maximum size")
	case noSuchPath:
		return anthropicError(c, why.status, "not_found_error", "Not found")
	}
	return answer{}
}

// anthropicError is Anthropic's error body.
func anthropicError(c *call, status int, kind, message string) answer {
	return jsonAnswer(status, map[string]any{
		"type": "error", "error": map[string]string{"type": kind, "message": message}, "request_id": c.id,
	})
}

func anthropicLimited(c *call, r *brokenLimit) answer {
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

type messagesRequest struct {
	ServiceTier string `json:"service_tier"`
	Model       string `json:"model"`
	MaxTokens   *int64 `json:"max_tokens"`
	Messages    []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	System      json.RawMessage `json:"system"`
	Temperature *float64        `json:"temperature"`
	TopP        *float64        `json:"top_p"`
	Stops       []string        `json:"stop_sequences"`
	Stream      bool            `json:"stream"`
	Tools       []struct {
		Type string `json:"type"`
	} `json:"tools"`
	OutputConfig *struct {
		Format *struct {
			Type   string          `json:"type"`
			Schema json.RawMessage `json:"schema"`
		} `json:"format"`
	} `json:"output_config"`
}

// check returns why Anthropic would refuse r, or "".
func (r *messagesRequest) check() string {
	switch {
	case r.Model == "":
		return "model: Field required"
	case r.MaxTokens == nil:
		return "max_tokens: Field required"
	case r.Messages == nil:
		return "messages: Field required"
	case *r.MaxTokens < 1:
		return "max_tokens: Input should be greater than or equal to 1"
	case len(r.Messages) == 0:
		return "messages: at least one message is required"
	case r.ServiceTier != "" && r.ServiceTier != "auto" && r.ServiceTier != "standard_only":
		return "service_tier: Input should be 'auto' or 'standard_only'"
	case r.Stream:
		return "stream: the fake provider does not stream: leave it out"
	}
	for name, value := range map[string]*float64{"temperature": r.Temperature, "top_p": r.TopP} {
		if value != nil && *value < 0 {
			return name + ": Input should be greater than or equal to 0"
		}
		if value != nil && *value > 1 {
			return name + ": Input should be less than or equal to 1"
		}
	}
	for i, m := range r.Messages {
		if m.Role == "system" {
			return `messages: Unexpected role "system". The Messages API accepts a top-level ` + "`system`" + ` parameter, not "system" as an input message role.`
		}
		if m.Role != "user" && m.Role != "assistant" {
			return fmt.Sprintf("messages.%d.role: Input should be 'user' or 'assistant'", i)
		}
		text, ok := plainText(m.Content)
		if !ok {
			return fmt.Sprintf("messages.%d.content: Input should be a valid list", i)
		}
		if reason := checkBlocks(i, m.Content); reason != "" {
			return reason
		}
		if text == "" && !otherBlocks(m.Content) {
			return "messages: text content blocks must be non-empty"
		}
	}
	for i, stop := range r.Stops {
		if strings.TrimSpace(stop) == "" {
			return fmt.Sprintf("stop_sequences.%d: each stop sequence must contain non-whitespace", i)
		}
	}
	if f := r.OutputConfig; f != nil && f.Format != nil && (f.Format.Type != "json_schema" || f.Format.Schema == nil) {
		return "output_config.format: Input should be a json_schema with a schema"
	}
	return ""
}

// blocksOf are the types of the blocks of a content that is a list.
func blocksOf(content json.RawMessage) []string {
	var blocks []struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(content, &blocks) != nil {
		return nil
	}
	types := make([]string, len(blocks))
	for i, b := range blocks {
		types[i] = b.Type
	}
	return types
}

// otherBlocks reports whether a content holds blocks that are no texts.
func otherBlocks(content json.RawMessage) bool {
	return slices.ContainsFunc(blocksOf(content), func(kind string) bool { return kind != "text" })
}

// checkBlocks returns why Anthropic would refuse the blocks of turn i, or "".
func checkBlocks(i int, content json.RawMessage) string {
	known := strings.Fields("text image document search_result thinking redacted_thinking tool_use tool_result server_tool_use web_search_tool_result")
	for j, kind := range blocksOf(content) {
		if !slices.Contains(known, kind) {
			return fmt.Sprintf("messages.%d.content.%d: Input tag '%s' found using 'type' does not match any of the expected tags", i, j, kind)
		}
	}
	return ""
}

// messages answers with a message. Tokens are counted by countTokens over
// the system prompt and the messages. Where cache_control stands anywhere in the
// request, the system prompt's tokens count as written to the cache the first
// time and as read from it later; they are then not among the input tokens.
func (a *anthropic) messages(c *call) answer {
	if c.r.Header.Get("Anthropic-Version") != "2023-06-01" {
		return anthropicError(c, http.StatusBadRequest, "invalid_request_error", `anthropic-version: "2023-06-01" is the only valid version`)
	}
	invalid := func(message string) answer {
		return anthropicError(c, http.StatusBadRequest, "invalid_request_error", message)
	}
	unknown, ok := unknownField(c.body, strings.Fields(`model messages cache_control container inference_geo max_tokens metadata output_config
		service_tier stop_sequences stream system temperature thinking tool_choice tools top_k top_p`)...)
	if !ok {
		return invalid("The request body is not valid JSON: expected an object")
	}
	if unknown != "" {
		return invalid(unknown + ": Extra inputs are not permitted")
	}
	var r messagesRequest
	err := json.Unmarshal(c.body, &r)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return invalid(wrong.Field + ": Input should be a valid " + wrong.Type.String())
	}
	if err != nil {
		return invalid("The request body is not valid JSON")
	}
	if reason := r.check(); reason != "" {
		return invalid(reason)
	}
	if models := a.config.Models; len(models) > 0 && !slices.Contains(models, r.Model) {
		return anthropicError(c, http.StatusNotFound, "not_found_error", "model: "+r.Model)
	}
	system, ok := plainText(r.System)
	if r.System != nil && !ok {
		return invalid("system: Input should be a valid string")
	}
	return r.answer(a, c, system)
}

func (r *messagesRequest) answer(v *anthropic, c *call, system string) answer {
	var input, cacheWrite, cacheRead int64
	for _, m := range r.Messages {
		text, _ := plainText(m.Content)
		input += countTokens(text)
	}
	cacheKey := ""
	if strings.Contains(string(c.body), `"cache_control"`) && system != "" {
		cacheKey = hex.EncodeToString([]byte(c.key + "\x00" + system))
		v.mu.Lock()
		seen := v.cached[cacheKey]
		v.mu.Unlock()
		if seen {
			cacheRead = countTokens(system)
		} else {
			cacheWrite = countTokens(system)
		}
	} else {
		input += countTokens(system)
	}

	var schema json.RawMessage
	asJSON := r.OutputConfig != nil && r.OutputConfig.Format != nil
	if asJSON {
		schema = r.OutputConfig.Format.Schema
	}
	out, err := write(c, 0, asJSON, schema, r.Stops, *r.MaxTokens)
	if err != nil {
		return anthropicError(c, http.StatusBadRequest, "invalid_request_error", "output_config.format.schema: "+err.Error())
	}
	reason, content := "end_turn", []map[string]any{{"type": "text", "text": out.text, "citations": nil}}
	var stop *string
	switch {
	case c.fault == Refused:
		reason, content, out.tokens = "refusal", []map[string]any{}, 1
	case out.length:
		reason = "max_tokens"
	case out.stop != "":
		reason, stop = "stop_sequence", &out.stop
	}
	var hour, searches int64
	if cacheWrite > 0 && strings.Contains(string(c.body), `"ttl":"1h"`) {
		hour = cacheWrite
	}
	for _, t := range r.Tools {
		if strings.HasPrefix(t.Type, "web_search") {
			searches++
		}
	}
	a := jsonAnswer(http.StatusOK, map[string]any{
		"id": "msg_" + c.id, "type": "message", "role": "assistant", "model": r.Model, "content": content,
		"stop_reason": reason, "stop_sequence": stop, "stop_details": nil, "container": nil,
		"usage": map[string]any{
			"input_tokens": input, "cache_creation_input_tokens": cacheWrite, "cache_read_input_tokens": cacheRead, "output_tokens": out.tokens,
			"cache_creation": map[string]int64{"ephemeral_5m_input_tokens": cacheWrite - hour, "ephemeral_1h_input_tokens": hour},
			"inference_geo":  nil, "server_tool_use": map[string]int64{"web_search_requests": searches}, "service_tier": "standard",
		},
	})
	a.usage = Usage{InputTokens: input + cacheWrite + cacheRead, OutputTokens: out.tokens}
	a.billed = Billed{Input: input, CachedInput: cacheRead, CacheWrite: cacheWrite - hour, CacheWrite1h: hour, Output: out.tokens, Searches: searches}
	if cacheKey != "" {
		body := a.body
		a.render = func() []byte {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.cached[cacheKey] = true
			return body
		}
	}
	return a
}

func (a *anthropic) models(*call) answer {
	names := a.config.Models
	if len(names) == 0 {
		names = []string{"claude-haiku-5-5"}
	}
	data := make([]map[string]any, len(names))
	for i, name := range names {
		data[i] = map[string]any{
			"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z",
			"max_input_tokens": 200000, "max_tokens": 64000, "capabilities": nil,
		}
	}
	return jsonAnswer(http.StatusOK, map[string]any{"data": data, "has_more": false, "first_id": names[0], "last_id": names[len(names)-1]})
}
