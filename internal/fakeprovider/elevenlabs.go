package fakeprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"oneflow/internal/media"
)

// ElevenLabs is the vendor of that name.
const ElevenLabs Vendor = "elevenlabs"

// elevenlabs is ElevenLabs' half: speech, for credits.
type elevenlabs struct{ config Config }

func newElevenLabs(config Config) vendor { return &elevenlabs{config: config} }

func (*elevenlabs) name() Vendor { return ElevenLabs }

func (e *elevenlabs) routes() []route {
	const get = http.MethodGet
	return []route{
		{method: http.MethodPost, path: "/v1/text-to-speech/*", handle: e.speech, generates: true},
		{method: get, path: "/v1/models", handle: e.models},
		{method: get, path: "/v1/user", handle: e.user},
		{method: get, path: "/v1/user/subscription", handle: e.subscription},
	}
}

func (*elevenlabs) key(r *http.Request) string { return r.Header.Get("Xi-Api-Key") }

func (*elevenlabs) requestID(n int64) string { return fmt.Sprintf("eleven%014d", n) }

func (*elevenlabs) headers(c *call, h http.Header, levels map[dimension]level) {
	h.Set("Request-Id", c.id)
	if l, ok := levels[concurrent]; ok {
		h.Set("Maximum-Concurrent-Requests", strconv.Itoa(l.limit))
		h.Set("Current-Concurrent-Requests", strconv.Itoa(l.limit-l.remaining))
	}
}

func (*elevenlabs) refuse(c *call, why refusal) answer {
	switch why.reason {
	case unauthorised:
		if c.key == "" {
			return elevenLabsError(http.StatusUnauthorized, "needs_authorization", "Neither authorization header nor xi-api-key received, please provide one.")
		}
		return elevenLabsError(http.StatusUnauthorized, "invalid_api_key", "Invalid API key")
	case outOfMoney:
		return elevenLabsError(http.StatusUnauthorized, "quota_exceeded", fmt.Sprintf(
			"This request exceeds your quota of 10000. You have 0 credits remaining, while %d credits are required for this request.", len(c.body),
		))
	case moderated:
		return elevenLabsError(http.StatusBadRequest, "content_against_policy", "We are unable to process your request: its text goes against our content policy.")
	case flagged:
		return elevenLabsError(http.StatusForbidden, "content_against_policy", "We are unable to process your request: its text goes against our content policy.")
	case region:
		return elevenLabsError(http.StatusForbidden, "forbidden", "ElevenLabs is not available in your country.")
	case limited:
		return elevenLabsLimited(why.limit)
	case overloaded:
		return elevenLabsError(http.StatusTooManyRequests, "system_busy", "Our services are experiencing heavy traffic, please try again later.")
	case serverError:
		return jsonAnswer(http.StatusInternalServerError, map[string]string{"detail": "Internal Server Error"})
	case tooLarge:
		return elevenLabsError(http.StatusRequestEntityTooLarge, "payload_too_large", "The request is too large.")
	case noSuchPath:
		return jsonAnswer(why.status, map[string]string{"detail": http.StatusText(why.status)})
	}
	return answer{}
}

// elevenLabsError is ElevenLabs' error body.
func elevenLabsError(status int, code, message string) answer {
	return jsonAnswer(status, map[string]any{"detail": map[string]string{"status": code, "message": message}})
}

func elevenLabsLimited(r *brokenLimit) answer {
	if r.dimension == concurrent {
		return elevenLabsError(http.StatusTooManyRequests, "too_many_concurrent_requests", fmt.Sprintf(
			"Too many concurrent requests. Your current subscription is associated with a maximum of %d concurrent requests (running in parallel).", r.limit,
		))
	}
	a := elevenLabsError(http.StatusTooManyRequests, "rate_limit_exceeded", fmt.Sprintf(
		"Rate limit exceeded: Limit %d, Used %d, Requested %d %s", r.limit, r.used, r.asked, r.dimension,
	))
	retryAfter(a.header(), r.retryAfter)
	return a
}

// unprocessable is ElevenLabs' 422, which has another shape than its other errors.
func unprocessable(kind, message string, loc ...string) answer {
	return jsonAnswer(http.StatusUnprocessableEntity, map[string]any{
		"detail": []map[string]any{{"type": kind, "loc": loc, "msg": message}},
	})
}

// elevenLabsCost returns the price of n characters, in credits.
func elevenLabsCost(model string, n int) int {
	if strings.Contains(model, "flash") || strings.Contains(model, "turbo") {
		return (n + 1) / 2
	}
	return n
}

// elevenLabsLength returns the number of characters that a model takes at once.
func elevenLabsLength(model string) int {
	switch {
	case strings.HasSuffix(model, "_v2_5"):
		return 40000
	case strings.Contains(model, "flash"), strings.Contains(model, "turbo"):
		return 30000
	case strings.Contains(model, "_v3"):
		return 5000
	}
	return 10000
}

type elevenLabsRequest struct {
	Text          *string `json:"text"`
	Model         string  `json:"model_id"`
	VoiceSettings *struct {
		Stability       *float64 `json:"stability"`
		SimilarityBoost *float64 `json:"similarity_boost"`
	} `json:"voice_settings"`
}

// check refuses what ElevenLabs refuses, and fills in defaults.
func (r *elevenLabsRequest) check() answer {
	if r.Text == nil {
		return unprocessable("missing", "Field required", "body", "text")
	}
	if *r.Text == "" {
		return elevenLabsError(http.StatusBadRequest, "input_text_empty", "Input text cannot be empty.")
	}
	if r.Model == "" {
		r.Model = "eleven_multilingual_v2"
	}
	if n, limit := utf8.RuneCountInString(*r.Text), elevenLabsLength(r.Model); n > limit {
		return elevenLabsError(http.StatusBadRequest, "max_character_limit_exceeded", fmt.Sprintf(
			"This request's text has %d characters and exceeds the character limit of %d characters for model '%s'.", n, limit, r.Model,
		))
	}
	if v := r.VoiceSettings; v != nil {
		for name, value := range map[string]*float64{"stability": v.Stability, "similarity_boost": v.SimilarityBoost} {
			if value != nil && (*value < 0 || *value > 1) {
				return unprocessable("less_than_equal", "Input should be from 0 to 1", "body", "voice_settings", name)
			}
		}
	}
	return answer{}
}

// speech speaks: a tone as wav, pcm or ulaw, silence as mp3 (the
// default).
func (e *elevenlabs) speech(c *call) answer {
	unknown, ok := unknownField(c.body, strings.Fields(`text model_id language_code voice_settings pronunciation_dictionary_locators seed previous_text
		next_text previous_request_ids next_request_ids use_pvc_as_ivc apply_text_normalization apply_language_text_normalization`)...)
	if !ok {
		return unprocessable("json_invalid", "JSON decode error", "body")
	}
	if unknown != "" {
		return unprocessable("extra_forbidden", "Extra inputs are not permitted", "body", unknown)
	}
	var r elevenLabsRequest
	err := json.Unmarshal(c.body, &r)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return unprocessable("type_error", "Input should be a valid "+wrong.Type.String(), "body", wrong.Field)
	}
	if err != nil {
		return unprocessable("json_invalid", "JSON decode error", "body")
	}
	if a := r.check(); a.status != 0 {
		return a
	}
	if models := e.config.Models; len(models) > 0 && !slices.Contains(models, r.Model) {
		return elevenLabsError(http.StatusBadRequest, "model_not_found", fmt.Sprintf("A model with model ID %s does not exist.", r.Model))
	}
	voice := c.segment(2)
	if voices := e.config.Voices; len(voices) > 0 && !slices.Contains(voices, voice) {
		return elevenLabsError(http.StatusNotFound, "voice_not_found", fmt.Sprintf("A voice with the voice_id %s was not found.", voice))
	}
	n := utf8.RuneCountInString(*r.Text)
	cost := elevenLabsCost(r.Model, n)
	out := answer{status: http.StatusOK, usage: Usage{Characters: int64(n), MilliCredits: int64(cost) * 1000}, billed: Billed{MilliCredits: int64(cost) * 1000}}
	out.header().Set("Character-Cost", strconv.Itoa(cost))
	out.header().Set("History-Item-Id", c.id)
	length := spoken(*r.Text)
	codec, rest, _ := strings.Cut(c.r.URL.Query().Get("output_format"), "_")
	rateText, _, _ := strings.Cut(rest, "_")
	rate, err := strconv.Atoi(rateText)
	switch {
	case codec == "":
		out.contentType, out.render = "audio/mpeg", func() []byte { return media.MP3(length) }
	case err != nil || rate < 8000 || rate > 48000:
		return elevenLabsError(http.StatusBadRequest, "invalid_output_format", "The output format is not known.")
	case codec == "mp3":
		out.contentType, out.render = "audio/mpeg", func() []byte { return media.MP3(length) }
	case codec == "wav":
		out.contentType, out.render = "audio/wav", func() []byte { return media.WAV(c.seed(), rate, length) }
	case codec == "pcm":
		out.contentType, out.render = "audio/pcm", func() []byte { return media.PCM(c.seed(), rate, length) }
	default:
		return elevenLabsError(http.StatusBadRequest, "invalid_output_format", "The fake provider makes mp3, wav and pcm only.")
	}
	return out
}

func (e *elevenlabs) models(*call) answer {
	names := e.config.Models
	if len(names) == 0 {
		names = []string{"eleven_multilingual_v2", "eleven_flash_v2_5"}
	}
	models := make([]map[string]any, len(names))
	for i, name := range names {
		length := elevenLabsLength(name)
		models[i] = map[string]any{
			"model_id": name, "name": name, "description": name, "can_be_finetuned": false, "can_do_text_to_speech": true,
			"can_do_voice_conversion": false, "can_use_style": true, "can_use_speaker_boost": true, "serves_pro_voices": false,
			"token_cost_factor": 1, "requires_alpha_access": false, "max_characters_request_free_user": length,
			"max_characters_request_subscribed_user": length, "maximum_text_length_per_request": length,
			"languages":         []map[string]string{{"language_id": "en", "name": "English"}},
			"model_rates":       map[string]float64{"character_cost_multiplier": float64(elevenLabsCost(name, 1000)) / 1000},
			"concurrency_group": "standard",
		}
	}
	return jsonAnswer(http.StatusOK, models)
}

// subscription is that of a plan of 1,000 credits.
func subscription(c *call) map[string]any {
	left := c.credits()
	return map[string]any{
		"tier": "creator", "character_count": (startCredits - left) / 1000, "character_limit": startCredits / 1000,
		"max_character_limit_extension": nil, "max_credit_limit_extension": 0, "can_extend_character_limit": false,
		"allowed_to_extend_character_limit": false, "voice_slots_used": 0, "professional_voice_slots_used": 0,
		"professional_voice_slots_used_in_workspace": 0, "voice_limit": 10, "voice_add_edit_counter": 0, "professional_voice_limit": 0,
		"can_extend_voice_limit": false, "can_use_instant_voice_cloning": true, "can_use_professional_voice_cloning": false,
		"current_overage": map[string]string{"amount": "0", "currency": "usd"}, "status": "active", "open_invoices": []any{}, "has_open_invoices": false,
	}
}

func (*elevenlabs) user(c *call) answer {
	return jsonAnswer(http.StatusOK, map[string]any{"user_id": "fake", "is_new_user": false, "subscription": subscription(c)})
}

func (*elevenlabs) subscription(c *call) answer {
	return jsonAnswer(http.StatusOK, subscription(c))
}
