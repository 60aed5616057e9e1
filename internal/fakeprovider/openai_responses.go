package fakeprovider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// responsesRequest has the fields of a request for a response that the fake
// understands; other known fields are accepted and have no effect.
type responsesRequest struct {
	Model           string          `json:"model"`
	Input           json.RawMessage `json:"input"`
	Instructions    string          `json:"instructions"`
	MaxOutputTokens *int64          `json:"max_output_tokens"`
	Temperature     *float64        `json:"temperature"`
	Stream          bool            `json:"stream"`
	ServiceTier     string          `json:"service_tier"`
	Tools           []struct {
		Type string `json:"type"`
	} `json:"tools"`
	Reasoning struct {
		Effort string `json:"effort"`
	} `json:"reasoning"`
	Cache struct {
		TTL string `json:"ttl"`
	} `json:"prompt_cache_options"`
	Text struct {
		Format struct {
			Type   string          `json:"type"`
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
		} `json:"format"`
	} `json:"text"`
}

func responsesFields() []string {
	return strings.Fields(`background conversation include input instructions max_output_tokens max_tool_calls metadata model parallel_tool_calls
		previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store
		stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user`)
}

// response answers by the newer of OpenAI's two endpoints for text.
func (o *openai) response(c *call) answer {
	var r responsesRequest
	if a := openaiDecode(c, &r, responsesFields()); a.status != 0 {
		return a
	}
	said, a := r.said()
	switch {
	case a.status != 0:
		return a
	case r.Model == "":
		return openaiInvalid("missing_required_parameter", "model", "Missing required parameter: 'model'.")
	case r.MaxOutputTokens != nil && *r.MaxOutputTokens < 16:
		return openaiInvalid("integer_below_min_value", "max_output_tokens", fmt.Sprintf(
			"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got %d instead.", *r.MaxOutputTokens,
		))
	case r.Temperature != nil && (*r.Temperature < 0 || *r.Temperature > 2):
		return openaiInvalid("decimal_above_max_value", "temperature", "Invalid 'temperature': expected a value from 0 to 2.")
	case !openaiTiers(r.ServiceTier):
		return openaiInvalid("invalid_value", "service_tier", "Invalid value: '"+r.ServiceTier+"'.")
	case r.Stream:
		return openaiInvalid("unsupported_value", "stream", "The fake provider does not stream: leave 'stream' out.")
	case !slices.Contains([]string{"", "text", "json_object", "json_schema"}, r.Text.Format.Type):
		return openaiInvalid("invalid_value", "text.format.type", "Invalid value: '"+r.Text.Format.Type+"'.")
	case r.Text.Format.Type == "json_schema" && r.Text.Format.Name == "":
		return openaiInvalid("missing_required_parameter", "text.format.name", "Missing required parameter: 'text.format.name'.")
	}
	if a := o.known(r.Model); a.status != 0 {
		return a
	}
	prompt := countTokens(said) + countTokens(r.Instructions)
	var reasoning, limit int64
	if r.MaxOutputTokens != nil {
		limit = *r.MaxOutputTokens
	}
	if thinks(r.Model) && r.Reasoning.Effort != "none" && r.Reasoning.Effort != "minimal" {
		reasoning = 64
		if limit > 0 {
			reasoning = min(reasoning, limit)
		}
	}
	var out written
	var err error
	switch asJSON := strings.HasPrefix(r.Text.Format.Type, "json"); {
	case limit > 0 && limit == reasoning:
		out.length = true
	case limit > 0:
		out, err = write(c, 0, asJSON, r.Text.Format.Schema, nil, limit-reasoning)
	default:
		out, err = write(c, 0, asJSON, r.Text.Format.Schema, nil, 0)
	}
	if err != nil {
		return openaiInvalid("invalid_json_schema", "text.format.schema", "Invalid schema for response_format: "+err.Error())
	}
	content := map[string]any{"type": "output_text", "text": out.text, "annotations": []any{}, "logprobs": []any{}}
	if c.fault == Refused {
		sorry := "I'm sorry, but I can't help with that."
		content, out.tokens = map[string]any{"type": "refusal", "refusal": sorry}, countTokens(sorry)
	}
	status, incomplete := "completed", any(nil)
	if out.length {
		status, incomplete = "incomplete", map[string]string{"reason": "max_output_tokens"}
	}
	output := []any{map[string]any{"type": "reasoning", "id": "rs_" + c.id, "summary": []any{}}}
	var searches int64
	for _, t := range r.Tools {
		if strings.HasPrefix(t.Type, "web_search") { // it searches once, and opens what it found, which is free
			searches++
			for _, action := range []string{"search", "open_page"} {
				output = append(output, map[string]any{"type": "web_search_call", "id": "ws_" + c.id, "status": "completed", "action": map[string]string{"type": action}})
			}
		}
	}
	cached, tier := prompt/1024*1024, openaiTier(r.ServiceTier)
	if out.text != "" || c.fault == Refused {
		output = append(output, map[string]any{"type": "message", "id": "msg_" + c.id, "role": "assistant", "status": status, "content": []any{content}})
	}
	written := out.tokens + reasoning
	var kept int64 // for 12 hours: all that is new
	if r.Cache.TTL == "12h" {
		kept = prompt - cached
	}
	a = jsonAnswer(http.StatusOK, map[string]any{
		"id": "resp_" + c.id, "object": "response", "created_at": c.arrived.Unix(), "status": status, "error": nil, "incomplete_details": incomplete,
		"instructions": r.Instructions, "max_output_tokens": r.MaxOutputTokens, "model": r.Model, "output": output, "parallel_tool_calls": true,
		"service_tier": tier, "metadata": map[string]string{}, "tools": []any{}, "tool_choice": "auto", "temperature": 1, "top_p": 1,
		"usage": map[string]any{
			"input_tokens": prompt, "output_tokens": written, "total_tokens": prompt + written,
			"input_tokens_details":  map[string]int64{"cached_tokens": cached, "cache_write_tokens": kept},
			"output_tokens_details": map[string]int64{"reasoning_tokens": reasoning},
		},
	})
	a.usage = Usage{InputTokens: prompt, OutputTokens: written}
	a.billed = Billed{Input: prompt - cached - kept, CachedInput: cached, CacheWrite12h: kept, Output: written, Searches: searches, Tier: tier}
	return a
}

// said is all that the input says in words: a text, or items with contents.
func (r *responsesRequest) said() (string, answer) {
	var text string
	var items []struct {
		Type    string          `json:"type"`
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
		Output  json.RawMessage `json:"output"`
	}
	switch {
	case r.Input == nil:
		return "", openaiInvalid("missing_required_parameter", "input", "Missing required parameter: 'input'.")
	case json.Unmarshal(r.Input, &text) == nil:
		return text, answer{}
	case json.Unmarshal(r.Input, &items) != nil:
		return "", openaiInvalid("invalid_type", "input", "Invalid type for 'input': expected one of a string or an array of input items.")
	}
	for i, item := range items {
		if item.Type != "" && item.Type != "message" {
			continue
		}
		if !slices.Contains([]string{"user", "assistant", "system", "developer"}, item.Role) {
			return "", openaiInvalid("invalid_value", fmt.Sprintf("input[%d].role", i), "Invalid value: '"+item.Role+"'. Supported values are: 'assistant', 'system', 'developer', and 'user'.")
		}
		one, list := "", []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}{}
		if json.Unmarshal(item.Content, &one) != nil && json.Unmarshal(item.Content, &list) != nil {
			return "", openaiInvalid("invalid_type", fmt.Sprintf("input[%d].content", i), "Invalid type for content.")
		}
		text += one
		for _, p := range list {
			text += p.Text
		}
	}
	return text, answer{}
}
