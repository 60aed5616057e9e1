package anthropic

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/packages/param"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// params is req in Anthropic's words.
func (p *Provider) params(req providers.Request) anthropic.MessageNewParams {
	params := anthropic.MessageNewParams{Model: req.Model, MaxTokens: req.MaxTokens, StopSequences: req.Stop}
	if params.MaxTokens == 0 {
		params.MaxTokens = p.config.MaxTokens
	}
	if req.System != "" {
		params.System = append(params.System, anthropic.TextBlockParam{Text: req.System})
	}
	for _, m := range req.Messages {
		switch m.Role {
		case "system":
			params.System = append(params.System, anthropic.TextBlockParam{Text: m.Content})
		case "assistant":
			params.Messages = append(params.Messages, anthropic.NewAssistantMessage(anthropic.NewTextBlock(m.Content)))
		default:
			params.Messages = append(params.Messages, anthropic.NewUserMessage(anthropic.NewTextBlock(m.Content)))
		}
	}
	if req.Prompt != "" {
		params.Messages = append(params.Messages, anthropic.NewUserMessage(anthropic.NewTextBlock(req.Prompt)))
	}
	if req.Temperature != nil {
		params.Temperature = anthropic.Float(*req.Temperature)
	}
	if req.TopP != nil {
		params.TopP = anthropic.Float(*req.TopP)
	}
	if f := req.ResponseFormat; f != nil && f.Type == "json_schema" {
		// As it came: a map would lose the order of the properties, in which the
		// model writes them.
		params.OutputConfig.Format = param.Override[anthropic.JSONOutputFormatParam](outputFormat{
			Schema: f.JSONSchema.Schema, Type: "json_schema",
		})
	}
	if len(req.Extra) > 0 {
		fields := make(map[string]any, len(req.Extra))
		for name, value := range req.Extra {
			fields[name] = value
		}
		params.SetExtraFields(fields)
	}
	return params
}

// outputFormat asks for JSON that fits a schema. Anthropic knows no name, no
// description and no choice of strictness for it.
type outputFormat struct {
	Schema json.RawMessage `json:"schema"`
	Type   string          `json:"type"`
}

// read judges the answer.
func (p *Provider) read(a wire.Answer, model string) (providers.Response, error) {
	var message anthropic.Message
	if !isObject(a.Body) || json.Unmarshal(a.Body, &message) != nil {
		return providers.Response{}, p.unusable(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := usageOf(message.Usage)
	if message.StopReason == "" && len(message.Content) == 0 {
		return providers.Response{}, p.unusable(a, wire.ErrNoResult, usage)
	}
	var text strings.Builder
	called := false
	for _, block := range message.Content {
		switch block.Type {
		case "text":
			text.WriteString(block.Text)
		case "tool_use":
			called = true
		}
	}
	switch {
	case message.StopReason == anthropic.StopReasonRefusal:
		failure := p.unusable(a, wire.ErrNoResult, usage)
		failure.Kind, failure.Billing, failure.Code = providers.Moderated, providers.Billed, "refusal"
		return providers.Response{}, failure
	case strings.TrimSpace(text.String()) == "" && !called:
		failure := p.unusable(a, wire.ErrEmpty, usage)
		failure.Billing, failure.Code = providers.Billed, wire.SanitiseCode(string(message.StopReason))
		if message.StopReason == anthropic.StopReasonMaxTokens && failure.Kind == providers.MalformedResponse {
			// Thinking left nothing for the answer: so it would the next time, and elsewhere.
			failure.Kind, failure.Err = providers.InvalidRequest, wire.ErrUsedUp
		}
		return providers.Response{}, failure
	}
	res := providers.Response{
		Provider:     p.config.Name,
		Model:        message.Model,
		Text:         text.String(),
		FinishReason: string(message.StopReason),
		RequestID:    wire.RequestID(a.Header),
		Status:       a.Status,
		Raw:          a.Body,
		Usage:        usage,
		Latency:      a.Latency,
		Limits:       wire.RateLimits(a.Header, a.At),
	}
	if res.Model == "" {
		res.Model = model
	}
	if res.RequestID == "" {
		res.RequestID = wire.SanitiseCode(message.ID)
	}
	return res, nil
}

// usageOf reads Anthropic's counts, which do not overlap: cached tokens stand
// beside the input, thinking is inside the output.
func usageOf(u anthropic.Usage) providers.Usage {
	output := max(u.OutputTokens, 0)
	return providers.Usage{
		InputTokens:       max(u.InputTokens, 0),
		CachedInputTokens: max(u.CacheReadInputTokens, 0),
		CacheWriteTokens:  max(u.CacheCreationInputTokens, 0),
		OutputTokens:      output,
		ReasoningTokens:   min(max(u.OutputTokensDetails.ThinkingTokens, 0), output),
	}
}

// unusable is the failure of a call whose answer says success and is no use. It
// is charged for where it says what it used.
func (p *Provider) unusable(a wire.Answer, why wire.AnswerError, usage providers.Usage) *providers.Error {
	failure := a.Malformed(vendor, p.config.Name, why)
	if failure.Code == "message" { // the type of every answer, no word for what is wrong
		failure.Code = ""
	}
	failure.Usage = usage
	if usage.TotalInput()+usage.TotalOutput() > 0 {
		failure.Billing = providers.Billed
	}
	return failure
}

func isObject(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) && json.Valid(body)
}
