package openai

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func (p *Provider) text(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	if p.config.Preset.Responses {
		return p.respond(ctx, secret, model, req)
	}
	a, failure := p.postJSON(ctx, secret, "/chat/completions", p.textFields(model, req), "application/json", wire.MaxAnswer, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.readText(ctx, a, model, req)
}

// completion has the fields that are read of the answer to a call for text.
type completion struct {
	ID      wire.Text       `json:"id"`
	Model   wire.Text       `json:"model"`
	Choices json.RawMessage `json:"choices"`
	Usage   json.RawMessage `json:"usage"`
	// ServiceTier is at what terms the call was served.
	ServiceTier wire.Text `json:"service_tier"`
}

// choice is one answer. Only the first is used.
type choice struct {
	FinishReason wire.Text `json:"finish_reason"`
	Message      message   `json:"message"`
}

// message is the text of an answer, or what stands in its place.
type message struct {
	Content      json.RawMessage `json:"content"`
	Refusal      wire.Text       `json:"refusal"`
	ToolCalls    json.RawMessage `json:"tool_calls"`
	FunctionCall json.RawMessage `json:"function_call"`
	Audio        json.RawMessage `json:"audio"`
	Images       json.RawMessage `json:"images"`
}

// readText judges the answer to a call for text. Pictures and speech in it are kept beside
// the text; that of speech is what was said.
func (p *Provider) readText(ctx context.Context, a wire.Answer, model string, req providers.Request) (providers.Response, *providers.Error) {
	var said completion
	if wire.Decode(a.Body, &said) != nil {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := textUsage(wire.ReadReport(said.Usage), wire.TextBounds(req))
	if len(req.Extra["web_search_options"]) > 0 {
		usage.WebSearches = 1 // chat completions search once
	}
	usage.Tier, usage.Variant = providers.Tier(string(said.ServiceTier)), cacheVariant(req)
	usage.Cost = p.costOf(said.Usage)
	if len(said.Choices) == 0 {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, usage)
	}
	var choices []choice
	if json.Unmarshal(said.Choices, &choices) != nil || len(choices) == 0 {
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	first := choices[0]
	spoken := first.Message.speech()
	text := cmp.Or(first.Message.text(), string(spoken.Transcript))
	blank := strings.TrimSpace(text) == ""
	switch {
	case first.FinishReason == "content_filter":
		return providers.Response{}, p.caller.Refused(a, "content_filter", usage)
	case blank && first.Message.Refusal != "":
		return providers.Response{}, p.caller.Refused(a, "refusal", usage)
	case first.FinishReason == "error": // OpenRouter: the model failed on the way
		return providers.Response{}, p.broken(a, usage)
	case blank && !first.Message.calls() && !first.Message.media():
		return providers.Response{}, p.empty(a, first, usage)
	}
	res := p.response(a, model, string(said.Model), usage)
	res.Text = text
	res.FinishReason = string(first.FinishReason)
	if res.RequestID == "" {
		res.RequestID = string(said.ID)
	}
	if spoken.Data != "" {
		blob, err := spoken.blob()
		if err != nil {
			return providers.Response{}, p.caller.Unreadable(a, err, usage)
		}
		res.Blobs = append(res.Blobs, blob)
	}
	if err := p.pictures(ctx, &res, first.Message.drawn()); err != nil {
		return providers.Response{}, p.caller.Unreadable(a, err, usage)
	}
	if blank && len(res.Blobs) == 0 && !first.Message.calls() {
		return providers.Response{}, p.empty(a, first, usage)
	}
	return res, nil
}

// broken is the failure of a call whose model failed on the way. It is charged if
// it says what it used.
func (p *Provider) broken(a wire.Answer, usage providers.Usage) *providers.Error {
	failure := p.caller.Unreadable(a, wire.ErrNoResult, usage)
	failure.Kind, failure.Code, failure.Usage = providers.Unknown, "error", usage
	failure.Billing = providers.BillingUnknown
	if usage.TotalInput()+usage.TotalOutput() > 0 {
		failure.Billing = providers.Billed
	}
	return failure
}

// empty is the failure of a call that was answered without a text.
func (p *Provider) empty(a wire.Answer, c choice, usage providers.Usage) *providers.Error {
	failure := p.caller.Unreadable(a, wire.ErrEmpty, usage)
	if failure.Kind != providers.Unreadable {
		return failure
	}
	failure.Code = wire.SanitiseCode(string(c.FinishReason))
	if c.FinishReason == "length" {
		// Reasoning left nothing for the answer: so it would the next time, and elsewhere.
		failure.Kind, failure.Err = providers.InvalidRequest, wire.ErrUsedUp
	}
	return failure
}

// text is the text of a message. Some compatible servers send it in parts.
func (m message) text() string {
	var whole string
	if json.Unmarshal(m.Content, &whole) == nil {
		return whole
	}
	var parts []struct {
		Type wire.Text `json:"type"`
		Text wire.Text `json:"text"`
	}
	if json.Unmarshal(m.Content, &parts) != nil {
		return ""
	}
	var text strings.Builder
	for _, part := range parts {
		if part.Type == "text" {
			text.WriteString(string(part.Text))
		}
	}
	return text.String()
}

// calls reports whether a message calls a tool.
func (m message) calls() bool { return holds(m.ToolCalls) || holds(m.FunctionCall) }

// holds reports whether a field of an answer has something in it.
func holds(field json.RawMessage) bool {
	switch string(field) {
	case "", "null", "[]", "{}", `""`:
		return false
	}
	return true
}

// textUsage takes apart what OpenAI counts in one: cached, written and spoken
// tokens are inside its prompt tokens. Parts never exceed the whole, whatever a
// server reports.
func textUsage(r *wire.Report, most wire.Bounds) providers.Usage {
	prompt, written := r.Int(most.Input, "prompt_tokens"), r.Int(most.Output, "completion_tokens")
	input, output := prompt, written
	reasoning := r.Int(most.Output, "completion_tokens_details", "reasoning_tokens")
	if reasoning > 0 && r.Int(2*wire.Window, "total_tokens") == prompt+written+reasoning {
		output += reasoning // xAI counts its reasoning beside the answer
	}
	usage := providers.Usage{ReasoningTokens: min(reasoning, output)}
	cached := max(r.Int(most.Input, "prompt_tokens_details", "cached_tokens"), r.Int(most.Input, "prompt_cache_hit_tokens")) // DeepSeek's word
	usage.CachedInputTokens = take(&input, cached)
	usage.CacheWriteTokens = take(&input, r.Int(most.Input, "prompt_tokens_details", "cache_write_tokens"))
	usage.AudioInputTokens = take(&input, r.Int(most.Input, "prompt_tokens_details", "audio_tokens"))
	usage.AudioOutputTokens = take(&output, r.Int(most.Output, "completion_tokens_details", "audio_tokens"))
	usage.InputTokens, usage.OutputTokens = input, output
	return r.Mark(usage)
}

// cacheVariant is the variant of the price of what a call writes to the cache.
func cacheVariant(req providers.Request) string {
	if req.CachesFor12h() {
		return providers.Cache12h
	}
	return ""
}

// costOf reads the price of a call as a server tells it whose word is taken: OpenRouter as a number,
// beside which the vendor charges a call that is made with the customer's own key there, Perplexity
// as the sum of an object.
func (p *Provider) costOf(report json.RawMessage) string {
	if !p.config.Preset.ReportsCost {
		return ""
	}
	r := wire.ReadReport(report)
	if cost := r.Decimal("cost", "total_cost"); cost != "" {
		return cost
	}
	cost := r.Decimal("cost")
	if upstream := r.Decimal("cost_details", "upstream_inference_cost"); cost != "" && upstream != "" && r.True("is_byok") {
		return wire.Sum(cost, upstream)
	}
	return cost
}

// take moves a part out of what is left of the whole.
func take(left *int64, part int64) int64 {
	part = min(max(part, 0), *left)
	*left -= part
	return part
}
