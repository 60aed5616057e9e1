package openai

import (
	"context"
	"encoding/json"
	"slices"
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
	Type    wire.Text       `json:"type"`
	Result  wire.Text       `json:"result"` // a picture in base64
	Action  json.RawMessage `json:"action"`
	Content []struct {
		Type    wire.Text `json:"type"`
		Text    wire.Text `json:"text"`
		Refusal wire.Text `json:"refusal"`
	} `json:"content"`
}

// called reports whether an item asks the caller for something: OpenAI's own tools have had
// their answers.
func (i item) called() bool {
	own := []wire.Text{"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call"}
	return strings.HasSuffix(string(i.Type), "_call") && !slices.Contains(own, i.Type)
}

// searched reports whether an item is a search of the web, which is charged: to open what
// was found is not.
func (i item) searched() bool {
	var action struct {
		Type wire.Text `json:"type"`
	}
	_ = json.Unmarshal(i.Action, &action) // of another form: a search
	return i.Type == "web_search_call" && (action.Type == "" || action.Type == "search")
}

// readResponse judges an answer of /responses.
func (p *Provider) readResponse(ctx context.Context, a wire.Answer, model string, req providers.Request) (providers.Response, *providers.Error) {
	var said modelResponse
	if wire.Decode(a.Body, &said) != nil {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := responseUsage(wire.ReadReport(said.Usage), wire.TextBounds(req))
	usage.Tier, usage.Variant, usage.Cost = providers.Tier(string(said.ServiceTier)), cacheVariant(req), p.costOf(said.Usage)
	var items []item
	switch {
	case len(said.Output) == 0:
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, usage)
	case json.Unmarshal(said.Output, &items) != nil:
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	text, refused, called := "", false, false
	var drawn []picture
	for _, one := range items {
		called = called || one.called()
		if one.searched() {
			usage.WebSearches++
		}
		if one.Type == "image_generation_call" && one.Result != "" {
			drawn = append(drawn, picture{B64JSON: one.Result})
		}
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
	case blank && !called && len(drawn) == 0:
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
	if err := p.pictures(ctx, &res, drawn); err != nil {
		return providers.Response{}, p.caller.Unreadable(a, err, usage)
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
