package openai

import (
	"cmp"
	"context"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// respond asks for a text by /responses, at a server that has no other endpoint for it. It is
// written for Perplexity, which refuses what it does not know, and takes the format of an answer
// as chats have it:
// https://github.com/perplexityai/api-platform-developers/blob/main/skills/migrate-sonar-to-agent-api/references/request-mapping.md.
func (p *Provider) respond(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	a, failure := p.postJSON(ctx, secret, "/responses", p.responseFields(model, req), "application/json", wire.MaxAnswer, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.readResponse(ctx, a, model, req)
}

// responseFields is req in the words of /responses.
func (p *Provider) responseFields(model string, req providers.Request) map[string]any {
	fields := map[string]any{"model": model, "input": responseInput(req)}
	if req.System != "" {
		fields["instructions"] = req.System
	}
	if most := cmp.Or(req.MaxTokens, p.config.MaxTokens); most > 0 {
		fields["max_output_tokens"] = most
	}
	if req.Temperature != nil {
		fields["temperature"] = *req.Temperature
	}
	if req.TopP != nil {
		fields["top_p"] = *req.TopP
	}
	if req.ResponseFormat != nil {
		fields["response_format"] = req.ResponseFormat
	}
	if req.Effort != "" {
		fields["reasoning"] = map[string]any{"effort": req.Effort}
	}
	if len(req.Tools) > 0 {
		fields["tools"] = responseTools(req.Tools)
	}
	if c := req.ToolChoice; c != nil {
		fields["tool_choice"] = c.Mode
		if c.Mode == "tool" {
			fields["tool_choice"] = map[string]any{"name": c.Name}
		}
	}
	if req.ParallelToolCalls != nil {
		fields["parallel_tool_calls"] = *req.ParallelToolCalls
	}
	return fields
}

// responseInput is the conversation as items.
func responseInput(req providers.Request) any {
	if len(req.Messages) == 0 {
		return req.Prompt
	}
	var items []map[string]any
	for _, m := range req.Messages {
		content := responseContent(m)
		switch {
		case m.Role == "tool":
			items = append(items, map[string]any{"type": "function_call_output", "call_id": m.ToolCallID, "output": content})
			continue
		case content != "" || len(m.ToolCalls) == 0:
			items = append(items, map[string]any{"type": "message", "role": m.Role, "content": content})
		}
		for _, c := range m.ToolCalls {
			items = append(items, map[string]any{"type": "function_call", "call_id": c.ID, "name": c.Name, "arguments": c.Arguments})
		}
	}
	if req.Prompt != "" {
		items = append(items, map[string]any{"type": "message", "role": "user", "content": req.Prompt})
	}
	return items
}

// responseContent returns the content of a turn: a text, or parts. checkPerplexity refuses those
// that have no form here.
func responseContent(m providers.Message) any {
	if len(m.Parts) == 0 {
		return m.Content
	}
	parts := make([]map[string]any, len(m.Parts))
	for i, p := range m.Parts {
		switch {
		case p.Type == providers.ImagePart:
			parts[i] = map[string]any{"type": "input_image", "image_url": address(p)}
		case m.Role == "assistant":
			parts[i] = map[string]any{"type": "output_text", "text": p.Text}
		default:
			parts[i] = map[string]any{"type": "input_text", "text": p.Text}
		}
	}
	return parts
}

func responseTools(tools []providers.Tool) []any {
	out := make([]any, len(tools))
	for i, t := range tools {
		if out[i] = t.Own; t.Own != nil {
			continue
		}
		f := map[string]any{"type": "function", "name": t.Name}
		if t.Description != "" {
			f["description"] = t.Description
		}
		if len(t.Parameters) > 0 {
			f["parameters"] = t.Parameters
		}
		if t.Strict != nil {
			f["strict"] = *t.Strict
		}
		out[i] = f
	}
	return out
}
