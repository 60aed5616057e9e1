package fakeprovider

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"oneflow/internal/media"
)

// chatRequest has the fields of a chat completion's request that the fake understands; other
// known fields are accepted and have no effect.
type chatRequest struct {
	Model    string `json:"model"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	MaxTokens           *int64          `json:"max_tokens"`
	MaxCompletionTokens *int64          `json:"max_completion_tokens"`
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	N                   *int            `json:"n"`
	Stop                json.RawMessage `json:"stop"`
	Stream              bool            `json:"stream"`
	ReasoningEffort     string          `json:"reasoning_effort"`
	ServiceTier         string          `json:"service_tier"`
	Modalities          []string        `json:"modalities"`
	WebSearch           json.RawMessage `json:"web_search_options"`
	Tools               []struct {
		Type string `json:"type"`
	} `json:"tools"`
	ResponseFormat *struct {
		Type       string `json:"type"`
		JSONSchema *struct {
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

func chatFields() []string {
	return strings.Fields(`audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
		metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options
		prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options
		temperature tool_choice tools top_logprobs top_p user verbosity web_search_options`)
}

// openaiDecode reads a JSON body; refused has a status if that fails.
func openaiDecode(c *call, into any, known []string) (refused answer) {
	unknown, ok := unknownField(c.body, known...)
	if !ok {
		return openaiInvalid("", "", "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "+
			"library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)")
	}
	if unknown != "" {
		return openaiInvalid("unknown_parameter", unknown, fmt.Sprintf("Unknown parameter: '%s'.", unknown))
	}
	err := json.Unmarshal(c.body, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return openaiInvalid("invalid_type", wrong.Field, fmt.Sprintf("Invalid type for '%s': expected %s, but got %s instead.", wrong.Field, wrong.Type, wrong.Value))
	}
	if err != nil {
		return openaiInvalid("", "", "We could not parse the JSON body of your request.")
	}
	return answer{}
}

// thinks reports whether model is one that reasons before it answers, which takes
// max_completion_tokens in place of max_tokens.
func thinks(model string) bool {
	return len(model) > 1 && model[0] == 'o' && model[1] >= '1' && model[1] <= '9' || strings.HasPrefix(model, "gpt-5")
}

func (r *chatRequest) stops() ([]string, bool) {
	if r.Stop == nil || string(r.Stop) == "null" {
		return nil, true
	}
	var one string
	if json.Unmarshal(r.Stop, &one) == nil {
		return []string{one}, true
	}
	var several []string
	err := json.Unmarshal(r.Stop, &several)
	return several, err == nil && len(several) <= 4
}

// check refuses what OpenAI refuses; an answer without status means that r is fine.
func (r *chatRequest) check() answer {
	if r.Model == "" {
		return openaiInvalid("", "", "you must provide a model parameter")
	}
	if r.Messages == nil {
		return openaiInvalid("missing_required_parameter", "messages", "Missing required parameter: 'messages'.")
	}
	if len(r.Messages) == 0 {
		return openaiInvalid("empty_array", "messages",
			"Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	}
	for i, m := range r.Messages {
		if !slices.Contains([]string{"system", "assistant", "user", "function", "tool", "developer"}, m.Role) {
			param := fmt.Sprintf("messages[%d].role", i)
			return openaiInvalid("invalid_value", param, fmt.Sprintf(
				"Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", m.Role,
			))
		}
		if _, ok := plainText(m.Content); !ok && m.Role != "assistant" {
			param := fmt.Sprintf("messages[%d].content", i)
			return openaiInvalid("invalid_type", param, fmt.Sprintf("Invalid value for '%s': expected a string, got null.", param))
		}
	}
	if _, ok := r.stops(); !ok {
		return openaiInvalid("array_above_max_length", "stop", "Invalid 'stop': expected a string or an array with maximum length 4.")
	}
	if a := r.checkTools(); a.status != 0 {
		return a
	}
	if !openaiTiers(r.ServiceTier) {
		return openaiInvalid("invalid_value", "service_tier", "Invalid value: '"+r.ServiceTier+"'. Supported values are: 'auto', 'default', 'flex' and 'priority'.")
	}
	if r.Stream {
		return openaiInvalid("unsupported_value", "stream", "The fake provider does not stream: leave 'stream' out.")
	}
	if a := r.checkNumbers(); a.status != 0 {
		return a
	}
	return r.checkFormat()
}

// checkTools refuses functions of the models that always think, unless they are told not to.
func (r *chatRequest) checkTools() answer {
	for i, t := range r.Tools {
		if t.Type != "function" && t.Type != "custom" {
			return openaiInvalid("invalid_value", fmt.Sprintf("tools[%d].type", i), "Invalid value: '"+t.Type+"'. Supported values are: 'function' and 'custom'.")
		}
		if newest := strings.HasPrefix(r.Model, "gpt-5.6") || strings.HasPrefix(r.Model, "gpt-6-"); newest && r.ReasoningEffort != "none" {
			return openaiInvalid("", "reasoning_effort", fmt.Sprintf("Function tools with reasoning_effort are not supported for %s in /v1/chat/completions. "+
				"To use function tools, use /v1/responses or set reasoning_effort to 'none'.", r.Model))
		}
	}
	return answer{}
}

func (r *chatRequest) checkNumbers() answer {
	for _, f := range []struct {
		name     string
		value    *float64
		min, max float64
	}{
		{"temperature", r.Temperature, 0, 2},
		{"top_p", r.TopP, 0, 1},
	} {
		switch {
		case f.value == nil:
		case *f.value < f.min:
			return openaiInvalid("decimal_below_min_value", f.name, fmt.Sprintf(
				"Invalid '%s': decimal below minimum value. Expected a value >= %g, but got %g instead.", f.name, f.min, *f.value,
			))
		case *f.value > f.max:
			return openaiInvalid("decimal_above_max_value", f.name, fmt.Sprintf(
				"Invalid '%s': decimal above maximum value. Expected a value <= %g, but got %g instead.", f.name, f.max, *f.value,
			))
		}
	}
	for name, value := range map[string]*int64{"max_tokens": r.MaxTokens, "max_completion_tokens": r.MaxCompletionTokens} {
		if value != nil && *value < 1 {
			return openaiInvalid("integer_below_min_value", name, fmt.Sprintf(
				"Invalid '%s': integer below minimum value. Expected a value >= 1, but got %d instead.", name, *value,
			))
		}
	}
	if r.N != nil && (*r.N < 1 || *r.N > 128) {
		return openaiInvalid("integer_out_of_range", "n", fmt.Sprintf("Invalid 'n': expected a value from 1 to 128, but got %d instead.", *r.N))
	}
	switch {
	case r.MaxTokens != nil && r.MaxCompletionTokens != nil:
		return openaiInvalid("invalid_parameter_combination", "max_tokens", "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
	case r.MaxTokens != nil && thinks(r.Model):
		return openaiInvalid("unsupported_parameter", "max_tokens",
			"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
	case r.Temperature != nil && *r.Temperature != 1 && r.Model[0] == 'o' && thinks(r.Model):
		return openaiInvalid("unsupported_value", "temperature", fmt.Sprintf(
			"Unsupported value: 'temperature' does not support %g with this model. Only the default (1) value is supported.", *r.Temperature,
		))
	}
	return answer{}
}

func (r *chatRequest) checkFormat() answer {
	if r.ResponseFormat == nil {
		return answer{}
	}
	switch r.ResponseFormat.Type {
	case "text":
	case "json_object":
		for _, m := range r.Messages {
			if text, _ := plainText(m.Content); strings.Contains(strings.ToLower(text), "json") {
				return answer{}
			}
		}
		return openaiInvalid("", "messages",
			"'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
	case "json_schema":
		if r.ResponseFormat.JSONSchema == nil || r.ResponseFormat.JSONSchema.Name == "" {
			return openaiInvalid("missing_required_parameter", "response_format.json_schema.name",
				"Missing required parameter: 'response_format.json_schema.name'.")
		}
	default:
		return openaiInvalid("invalid_value", "response_format.type", fmt.Sprintf(
			"Invalid value: '%s'. Supported values are: 'json_object', 'json_schema', and 'text'.", r.ResponseFormat.Type,
		))
	}
	return answer{}
}

// chat answers with a completion. Tokens are counted by countTokens over
// the contents of the messages. Whole thousands of prompt tokens (1024) count as
// cached. A model that thinks uses 64 tokens for that, or what the limit leaves,
// unless its effort is "none" or "minimal".
func (o *openai) chat(c *call) answer {
	var r chatRequest
	if a := openaiDecode(c, &r, chatFields()); a.status != 0 {
		return a
	}
	if a := r.check(); a.status != 0 {
		return a
	}
	if a := o.known(r.Model); a.status != 0 {
		return a
	}
	var prompt, heard, completion, reasoning, limit int64
	for _, m := range r.Messages {
		text, _ := plainText(m.Content)
		pictures, sound := openaiMedia(m.Content)
		prompt, heard = prompt+countTokens(text)+pictures, heard+sound
	}
	if heard > 0 && !strings.Contains(r.Model, "audio") {
		return openaiInvalid("invalid_value", "messages", "Invalid value: 'input_audio': this model does not support audio.")
	}
	for _, value := range []*int64{r.MaxTokens, r.MaxCompletionTokens} {
		if value != nil {
			limit = *value
		}
	}
	if thinks(r.Model) && r.ReasoningEffort != "none" && r.ReasoningEffort != "minimal" {
		reasoning = 64
		if limit > 0 {
			reasoning = min(reasoning, limit)
		}
	}
	n := 1
	if r.N != nil {
		n = *r.N
	}
	choices := make([]map[string]any, n)
	for i := range choices {
		choice, used, err := r.choice(c, i, limit, reasoning)
		if err != nil {
			return openaiInvalid("invalid_json_schema", "response_format", "Invalid schema for response_format: "+err.Error())
		}
		choices[i] = choice
		completion += used + reasoning
	}
	var spoken int64
	if r.speaks(c) {
		spoken = spokenTokens
	}
	cached := prompt / 1024 * 1024
	tier := openaiTier(r.ServiceTier)
	a := jsonAnswer(http.StatusOK, map[string]any{
		"id": "chatcmpl-" + c.id, "object": "chat.completion", "created": c.arrived.Unix(), "model": r.Model, "choices": choices,
		"service_tier": tier, "system_fingerprint": "fp_fake",
		"usage": map[string]any{
			"prompt_tokens": prompt + heard, "completion_tokens": completion + spoken, "total_tokens": prompt + heard + completion + spoken,
			"prompt_tokens_details": map[string]int64{"cached_tokens": cached, "audio_tokens": heard},
			"completion_tokens_details": map[string]int64{
				"reasoning_tokens": reasoning * int64(n), "audio_tokens": spoken, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
			},
		},
	})
	a.usage = Usage{InputTokens: prompt + heard, OutputTokens: completion + spoken}
	a.billed = Billed{Input: prompt - cached, CachedInput: cached, AudioInput: heard, Output: completion, AudioOutput: spoken, Tier: tier}
	if r.WebSearch != nil {
		a.billed.Searches = 1
	}
	return a
}

// spokenTokens are the tokens of an answer that is spoken, of a second.
const spokenTokens = 20

// speaks reports whether the answer is spoken.
func (r *chatRequest) speaks(c *call) bool {
	return c.fault == AudioInChat || slices.Contains(r.Modalities, "audio")
}

// openaiTier is the tier that a call is served at: the one that was asked for, where it is
// one of those that are sold.
func openaiTier(asked string) string {
	if asked == "flex" || asked == "priority" {
		return asked
	}
	return "default"
}

// openaiTiers reports whether a tier is one that can be asked for.
func openaiTiers(tier string) bool {
	return slices.Contains([]string{"", "auto", "default", "flex", "scale", "priority"}, tier)
}

// openaiMedia counts the tokens of the media in a message: 85 for a picture or a page, 10 for
// a second of sound.
func openaiMedia(content json.RawMessage) (pictures, sound int64) {
	var parts []struct {
		Type  string `json:"type"`
		Audio struct {
			Data []byte `json:"data"`
		} `json:"input_audio"`
	}
	if json.Unmarshal(content, &parts) != nil {
		return 0, 0
	}
	for _, p := range parts {
		switch p.Type {
		case "image_url", "file":
			pictures += 85
		case "input_audio":
			sound += 10 * soundSeconds(p.Audio.Data)
		}
	}
	return pictures, sound
}

// choice makes one of the answers, and says how many tokens its text has.
func (r *chatRequest) choice(c *call, i int, limit, reasoning int64) (map[string]any, int64, error) {
	var schema json.RawMessage
	asJSON := r.ResponseFormat != nil && r.ResponseFormat.Type != "text"
	if asJSON && r.ResponseFormat.JSONSchema != nil {
		schema = r.ResponseFormat.JSONSchema.Schema
	}
	stops, _ := r.stops()
	var out written
	if limit > 0 && limit <= reasoning {
		out.length = true // nothing left for an answer
	} else {
		left := int64(0)
		if limit > 0 {
			left = limit - reasoning
		}
		var err error
		if out, err = write(c, i, asJSON, schema, stops, left); err != nil {
			return nil, 0, err
		}
	}
	finish := "stop"
	if out.length {
		finish = "length"
	}
	message := map[string]any{"role": "assistant", "content": out.text, "refusal": nil, "annotations": []any{}}
	if c.fault == Refused {
		message["content"], message["refusal"] = nil, "I'm sorry, but I can't help with that."
		out.tokens, finish = countTokens("I'm sorry, but I can't help with that."), "content_filter"
	}
	switch { // the other faults are no business of a chat
	case r.speaks(c):
		message["content"], message["audio"] = nil, map[string]any{
			"id": "audio_" + c.id, "expires_at": c.arrived.Add(time.Hour).Unix(), "transcript": out.text,
			"data": base64.StdEncoding.EncodeToString(media.WAV(c.seed(), 24000, time.Second)),
		}
	case c.fault == ImageInChat: // as routers of many models have it
		url := "data:image/png;base64," + base64.StdEncoding.EncodeToString(picture(c.seed(), "png", 64, 64))
		message["content"], message["images"] = "", []any{
			map[string]any{"type": "image_url", "index": 0, "image_url": map[string]string{"url": url}},
		}
	}
	return map[string]any{"index": i, "message": message, "logprobs": nil, "finish_reason": finish}, out.tokens, nil
}
