package openai

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func (p *Provider) text(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	service := openai.NewChatCompletionService(p.options(secret)...)
	a, failure := p.send(ctx, wire.MaxAnswer, func(ctx context.Context, sending ...option.RequestOption) error {
		_, err := service.New(ctx, p.textParams(model, req), sending...)
		return err
	})
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.readText(a, model)
}

// textParams is req in OpenAI's words.
func (p *Provider) textParams(model string, req providers.Request) openai.ChatCompletionNewParams {
	params := openai.ChatCompletionNewParams{Model: model, Messages: chat(req)}
	if req.MaxTokens > 0 && p.config.Compatible {
		params.MaxTokens = openai.Int(req.MaxTokens)
	} else if req.MaxTokens > 0 {
		params.MaxCompletionTokens = openai.Int(req.MaxTokens)
	}
	if req.Temperature != nil {
		params.Temperature = openai.Float(*req.Temperature)
	}
	if req.TopP != nil {
		params.TopP = openai.Float(*req.TopP)
	}
	if req.Seed != nil {
		params.Seed = openai.Int(*req.Seed)
	}
	params.Stop.OfStringArray = req.Stop
	if f := req.ResponseFormat; f != nil {
		params.ResponseFormat = responseFormat(f)
	}
	params.SetExtraFields(extra(req))
	return params
}

// chat is the conversation: the system prompt first.
func chat(req providers.Request) []openai.ChatCompletionMessageParamUnion {
	var messages []openai.ChatCompletionMessageParamUnion
	if req.System != "" {
		messages = append(messages, openai.SystemMessage(req.System))
	}
	for _, m := range req.Messages {
		switch m.Role {
		case "system":
			messages = append(messages, openai.SystemMessage(m.Content))
		case "assistant":
			messages = append(messages, openai.AssistantMessage(m.Content))
		default:
			messages = append(messages, openai.UserMessage(m.Content))
		}
	}
	if req.Prompt != "" {
		messages = append(messages, openai.UserMessage(req.Prompt))
	}
	return messages
}

func responseFormat(f *providers.ResponseFormat) openai.ChatCompletionNewParamsResponseFormatUnion {
	switch f.Type {
	case "json_schema":
		schema := shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: f.JSONSchema.Name, Schema: f.JSONSchema.Schema}
		if f.JSONSchema.Description != "" {
			schema.Description = openai.String(f.JSONSchema.Description)
		}
		if f.JSONSchema.Strict != nil {
			schema.Strict = openai.Bool(*f.JSONSchema.Strict)
		}
		return openai.ChatCompletionNewParamsResponseFormatUnion{
			OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{JSONSchema: schema},
		}
	case "json_object":
		return openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONObject: &shared.ResponseFormatJSONObjectParam{}}
	default:
		return openai.ChatCompletionNewParamsResponseFormatUnion{OfText: &shared.ResponseFormatTextParam{}}
	}
}

// extra is what a request adds in OpenAI's own words.
func extra(req providers.Request) map[string]any {
	if len(req.Extra) == 0 {
		return nil
	}
	fields := make(map[string]any, len(req.Extra))
	for name, value := range req.Extra {
		fields[name] = value
	}
	return fields
}

// readText judges the answer to a call for text.
func (p *Provider) readText(a wire.Answer, model string) (providers.Response, *providers.Error) {
	var completion openai.ChatCompletion
	if !isObject(a.Body) || json.Unmarshal(a.Body, &completion) != nil {
		return providers.Response{}, p.unusable(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := textUsage(completion.Usage)
	if len(completion.Choices) == 0 {
		return providers.Response{}, p.unusable(a, wire.ErrNoResult, usage)
	}
	choice := completion.Choices[0]
	text := content(choice.Message)
	blank := strings.TrimSpace(text) == ""
	switch {
	case choice.FinishReason == "content_filter":
		return providers.Response{}, p.moderated(a, "content_filter", usage)
	case blank && choice.Message.Refusal != "":
		return providers.Response{}, p.moderated(a, "refusal", usage)
	case choice.FinishReason == "error": // OpenRouter: the model failed on the way
		failure := p.unusable(a, wire.ErrNoResult, usage)
		failure.Kind, failure.Code = providers.Unknown, "error"
		return providers.Response{}, failure
	case blank && !called(choice.Message):
		failure := p.unusable(a, wire.ErrEmpty, usage)
		failure.Billing = providers.Billed
		failure.Code = wire.SanitiseCode(choice.FinishReason)
		if choice.FinishReason == "length" && failure.Kind == providers.MalformedResponse {
			// Reasoning left nothing for the answer: so it would the next time, and elsewhere.
			failure.Kind, failure.Err = providers.InvalidRequest, wire.ErrUsedUp
		}
		return providers.Response{}, failure
	}
	res := p.response(a, model, completion.Model, usage)
	res.Text = text
	res.FinishReason = choice.FinishReason
	if res.RequestID == "" {
		res.RequestID = completion.ID
	}
	return res, nil
}

// content is the text of a message. Some compatible servers send it in parts,
// which the official client would hand over as one text with all their brackets.
func content(m openai.ChatCompletionMessage) string {
	raw := m.JSON.Content.Raw()
	if strings.HasPrefix(raw, `"`) {
		return m.Content
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal([]byte(raw), &parts) != nil {
		return ""
	}
	var text strings.Builder
	for _, part := range parts {
		if part.Type == "text" {
			text.WriteString(part.Text)
		}
	}
	return text.String()
}

// called tells whether a message calls a tool.
func called(m openai.ChatCompletionMessage) bool {
	return len(m.ToolCalls) > 0 || m.JSON.FunctionCall.Valid()
}

// textUsage takes apart what OpenAI counts in one: cached, written and spoken
// tokens are inside its prompt tokens. Parts never exceed the whole, whatever a
// server reports.
func textUsage(u openai.CompletionUsage) providers.Usage {
	input, output := max(u.PromptTokens, 0), max(u.CompletionTokens, 0)
	reasoning := max(u.CompletionTokensDetails.ReasoningTokens, 0)
	if reasoning > 0 && u.TotalTokens == u.PromptTokens+u.CompletionTokens+reasoning {
		output += reasoning // xAI counts its reasoning beside the answer
	}
	usage := providers.Usage{ReasoningTokens: min(reasoning, output)}
	usage.CachedInputTokens = take(&input, u.PromptTokensDetails.CachedTokens)
	usage.CacheWriteTokens = take(&input, u.PromptTokensDetails.CacheWriteTokens)
	usage.AudioInputTokens = take(&input, u.PromptTokensDetails.AudioTokens)
	usage.AudioOutputTokens = take(&output, u.CompletionTokensDetails.AudioTokens)
	usage.InputTokens, usage.OutputTokens = input, output
	return usage
}

// take moves a part out of what is left of the whole.
func take(left *int64, part int64) int64 {
	part = min(max(part, 0), *left)
	*left -= part
	return part
}
