package anthropic

import (
	"encoding/json"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// outputFormat asks for JSON that fits a schema. Anthropic knows no name, no
// description and no choice of strictness for it. The schema goes as it came: a map
// would lose the order of the properties, in which the model writes them.
type outputFormat struct {
	Schema json.RawMessage `json:"schema"`
	Type   string          `json:"type"`
}

// message has the fields of an answer that are read.
type message struct {
	ID         wire.Text       `json:"id"`
	Model      wire.Text       `json:"model"`
	Content    json.RawMessage `json:"content"`
	StopReason wire.Text       `json:"stop_reason"`
	Usage      json.RawMessage `json:"usage"`
}

// read judges the answer.
func (p *Provider) read(a wire.Answer, req providers.Request) (providers.Response, *providers.Error) {
	var said message
	if wire.Decode(a.Body, &said) != nil {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	if req.MaxTokens == 0 {
		req.MaxTokens = p.config.MaxTokens
	}
	usage := usageOf(wire.ReadReport(said.Usage), wire.TextBounds(req))
	text, called, other := readContent(said.Content)
	switch {
	case said.StopReason == "" && len(said.Content) == 0:
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, usage)
	case said.StopReason == "refusal":
		return providers.Response{}, p.caller.Refused(a, "refusal", usage)
	case strings.TrimSpace(text) == "" && !called && said.StopReason != "pause_turn":
		return providers.Response{}, p.empty(a, said, other, usage)
	}
	res := providers.Response{
		Provider:     p.config.Name,
		Model:        string(said.Model),
		Text:         text,
		FinishReason: string(said.StopReason),
		RequestID:    wire.RequestID(a.Header),
		Status:       a.Status,
		Raw:          a.Body,
		Usage:        usage,
		Latency:      a.Latency,
		Limits:       wire.RateLimits(a.Header, a.At),
	}
	if res.Model == "" {
		res.Model = req.Model
	}
	if res.RequestID == "" {
		res.RequestID = wire.SanitiseCode(string(said.ID))
	}
	return res, nil
}

// readContent is the text of an answer, and whether it calls a tool, or holds
// something else.
func readContent(content json.RawMessage) (text string, called, other bool) {
	var blocks []struct {
		Type wire.Text `json:"type"`
		Text wire.Text `json:"text"`
	}
	if json.Unmarshal(content, &blocks) != nil {
		return "", false, false
	}
	var all strings.Builder
	for _, b := range blocks {
		switch b.Type {
		case "text":
			all.WriteString(string(b.Text))
		case "tool_use":
			called = true
		case "thinking", "redacted_thinking":
		default:
			other = true
		}
	}
	return all.String(), called, other
}

// empty is the failure of a call that was answered without a text.
func (p *Provider) empty(a wire.Answer, said message, other bool, usage providers.Usage) *providers.Error {
	why := wire.ErrEmpty
	if other {
		why = wire.ErrOtherMedia
	}
	failure := p.caller.Unreadable(a, why, usage)
	if failure.Kind != providers.Unreadable {
		return failure
	}
	failure.Code = wire.SanitiseCode(string(said.StopReason))
	if said.StopReason == "max_tokens" {
		// Thinking left nothing for the answer: so it would the next time, and elsewhere.
		failure.Kind, failure.Err = providers.InvalidRequest, wire.ErrUsedUp
	}
	return failure
}

// maxSearches is the most searches of the web that a call is believed to have made.
const maxSearches = 1000

// usageOf reads Anthropic's counts, which do not overlap: cached tokens stand
// beside the input, thinking is inside the output.
func usageOf(r *wire.Report, most wire.Bounds) providers.Usage {
	output := r.Int(most.Output, "output_tokens")
	written := r.Int(most.Input, "cache_creation_input_tokens")
	anHour := min(r.Int(most.Input, "cache_creation", "ephemeral_1h_input_tokens"), written)
	return r.Mark(providers.Usage{
		InputTokens:        r.Int(most.Input, "input_tokens"),
		CachedInputTokens:  r.Int(most.Input, "cache_read_input_tokens"),
		CacheWriteTokens:   written - anHour,
		CacheWrite1hTokens: anHour,
		OutputTokens:       output,
		WebSearches:        r.Int(maxSearches, "server_tool_use", "web_search_requests"),
		Tier:               providers.Tier(r.Word("service_tier"), r.Word("speed"), r.Word("inference_geo")),
		ReasoningTokens:    min(r.Int(most.Output, "output_tokens_details", "thinking_tokens"), output),
	})
}
