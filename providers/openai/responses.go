package openai

import (
	"encoding/json"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// modelResponse has the fields that are read of an answer of /responses.
type modelResponse struct {
	ID          wire.Text       `json:"id"`
	Model       wire.Text       `json:"model"`
	Status      wire.Text       `json:"status"`
	ServiceTier wire.Text       `json:"service_tier"`
	Output      json.RawMessage `json:"output"`
	Usage       json.RawMessage `json:"usage"`
	Incomplete  struct {
		Reason wire.Text `json:"reason"`
	} `json:"incomplete_details"`
}

// item is a piece of such an answer.
type item struct {
	Type    wire.Text `json:"type"`
	Content []struct {
		Type    wire.Text `json:"type"`
		Text    wire.Text `json:"text"`
		Refusal wire.Text `json:"refusal"`
	} `json:"content"`
}

// readResponse judges an answer of /responses.
func (p *Provider) readResponse(a wire.Answer, model string, bounds wire.Bounds) (providers.Response, *providers.Error) {
	var said modelResponse
	if wire.Decode(a.Body, &said) != nil {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := responseUsage(wire.ReadReport(said.Usage), bounds)
	usage.Tier = providers.Tier(string(said.ServiceTier))
	var items []item
	switch {
	case len(said.Output) == 0:
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, usage)
	case json.Unmarshal(said.Output, &items) != nil:
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	text, refused, called := "", false, false
	for _, one := range items {
		called = called || strings.HasSuffix(string(one.Type), "_call")
		for _, content := range one.Content {
			if one.Type == "message" {
				text += string(content.Text)
				refused = refused || content.Refusal != ""
			}
		}
	}
	finish := said.Incomplete.Reason
	if finish == "" {
		finish = said.Status
	}
	blank := strings.TrimSpace(text) == ""
	switch {
	case finish == "content_filter", blank && refused:
		return providers.Response{}, p.caller.Refused(a, "content_filter", usage)
	case finish == "failed", finish == "cancelled":
		return providers.Response{}, p.broken(a, usage)
	case blank && !called:
		return providers.Response{}, p.empty(a, choice{FinishReason: finish}, usage)
	}
	if called && finish == "completed" {
		finish = "tool_calls"
	}
	res := p.response(a, model, string(said.Model), usage)
	res.Text, res.FinishReason = text, string(finish)
	if res.RequestID == "" {
		res.RequestID = wire.SanitiseCode(string(said.ID))
	}
	return res, nil
}

// responseUsage takes apart what /responses counts in one.
func responseUsage(r *wire.Report, most wire.Bounds) providers.Usage {
	input, output := r.Int(most.Input, "input_tokens"), r.Int(most.Output, "output_tokens")
	usage := providers.Usage{ReasoningTokens: min(r.Int(most.Output, "output_tokens_details", "reasoning_tokens"), output)}
	usage.CachedInputTokens = take(&input, r.Int(most.Input, "input_tokens_details", "cached_tokens"))
	usage.CacheWriteTokens = take(&input, r.Int(most.Input, "input_tokens_details", "cache_write_tokens"))
	usage.InputTokens, usage.OutputTokens = input, output
	return r.Mark(usage)
}

// readModeration judges an answer of /moderations, which is free. Its text is the
// results as JSON.
func (p *Provider) readModeration(a wire.Answer, model string) (providers.Response, *providers.Error) {
	var said struct {
		Model   wire.Text         `json:"model"`
		Results []json.RawMessage `json:"results"`
	}
	if wire.Decode(a.Body, &said) != nil {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	if len(said.Results) == 0 {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, providers.Usage{})
	}
	text, err := json.Marshal(said.Results)
	if err != nil {
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, providers.Usage{})
	}
	res := p.response(a, model, string(said.Model), providers.Usage{})
	res.Text, res.FinishReason = string(text), "stop"
	return res, nil
}
