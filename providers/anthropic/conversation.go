package anthropic

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"oneflow/providers"
)

// block is a piece of a turn as Anthropic takes it.
type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text,omitempty"`
	Source    *source         `json:"source,omitempty"`
	Title     string          `json:"title,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	ToolUseID string          `json:"tool_use_id,omitempty"`
	Content   []block         `json:"content,omitempty"`
	IsError   bool            `json:"is_error,omitempty"`
	Cache     *cacheControl   `json:"cache_control,omitempty"`
}

// source has the address or the content of a medium: Data are bytes, which JSON has in base64, or a text.
type source struct {
	Type      string `json:"type"`
	URL       string `json:"url,omitempty"`
	MediaType string `json:"media_type,omitempty"`
	Data      any    `json:"data,omitempty"`
}

type cacheControl struct {
	Type string `json:"type"`
	TTL  string `json:"ttl,omitempty"`
}

func cacheMark(c providers.Cache) *cacheControl {
	switch c {
	case providers.NoCache:
		return nil
	case providers.CacheDefault:
		return &cacheControl{Type: "ephemeral"}
	case providers.Cache5m, providers.Cache1h:
	}
	return &cacheControl{Type: "ephemeral", TTL: string(c)}
}

// turn is one turn of a conversation.
type turn struct {
	Content []block `json:"content"`
	Role    string  `json:"role"`
}

// fields is req in Anthropic's words.
func (p *Provider) fields(req providers.Request) map[string]any {
	fields := map[string]any{"model": req.Model, "max_tokens": req.MaxTokens}
	if req.MaxTokens == 0 {
		fields["max_tokens"] = p.config.MaxTokens
	}
	system, turns := conversation(req)
	fields["messages"] = turns
	if len(system) > 0 {
		fields["system"] = system
	}
	if len(req.Stop) > 0 {
		fields["stop_sequences"] = req.Stop
	}
	if req.Temperature != nil {
		fields["temperature"] = *req.Temperature
	}
	if req.TopP != nil {
		fields["top_p"] = *req.TopP
	}
	output := map[string]any{}
	if f := req.ResponseFormat; f != nil && f.Type == "json_schema" {
		output["format"] = outputFormat{Schema: f.JSONSchema.Schema, Type: "json_schema"}
	}
	if req.Effort != "" {
		output["effort"] = req.Effort
	}
	if len(output) > 0 {
		fields["output_config"] = output
	}
	switch req.ServiceTier {
	case "":
	case "default", "standard": // OpenAI's word, and Google's
		fields["service_tier"] = "standard_only"
	default:
		fields["service_tier"] = req.ServiceTier
	}
	if len(req.Tools) > 0 {
		fields["tools"] = tools(req.Tools)
		if choice := toolChoice(req); choice != nil {
			fields["tool_choice"] = choice
		}
	}
	return fields
}

// conversation is the system prompt and the turns. What tools say stands in a turn of
// the user, before what the user says next.
func conversation(req providers.Request) (system []block, turns []turn) {
	if req.System != "" {
		system = append(system, block{Type: "text", Text: req.System})
	}
	answered := false // the last turn is what tools said
	for _, m := range req.Messages {
		content := blocks(m)
		switch m.Role {
		case "system", "developer":
			system = append(system, content...)
			continue
		case "tool":
			result := block{Type: "tool_result", ToolUseID: m.ToolCallID, Content: content, IsError: m.IsError}
			if n := len(content); n > 0 { // a mark inside counts for the whole
				result.Cache, content[n-1].Cache = content[n-1].Cache, nil
			}
			content = []block{result}
		}
		for _, c := range m.ToolCalls {
			content = append(content, block{Type: "tool_use", ID: c.ID, Name: c.Name, Input: json.RawMessage(c.Arguments)})
		}
		role := m.Role
		if role == "tool" {
			role = "user"
		}
		if answered && role == "user" {
			last := &turns[len(turns)-1]
			last.Content = append(last.Content, content...)
		} else {
			turns = append(turns, turn{Content: content, Role: role})
		}
		answered = m.Role == "tool"
	}
	if req.Prompt != "" {
		turns = append(turns, turn{Content: []block{{Type: "text", Text: req.Prompt}}, Role: "user"})
	}
	return system, turns
}

// blocks are the parts of a turn.
func blocks(m providers.Message) []block {
	if len(m.Parts) == 0 {
		if m.Content == "" {
			return nil
		}
		return []block{{Type: "text", Text: m.Content}}
	}
	out := make([]block, len(m.Parts))
	for i, p := range m.Parts {
		b := block{Type: string(p.Type), Text: p.Text, Title: p.Name, Cache: cacheMark(p.Cache)}
		switch {
		case p.Type == providers.TextPart:
		case p.URL != "":
			b.Source = &source{Type: "url", URL: p.URL}
		case strings.HasPrefix(p.MIME, "text/plain"):
			b.Source = &source{Type: "text", MediaType: "text/plain", Data: string(p.Data)}
		default:
			b.Source = &source{Type: "base64", MediaType: p.MIME, Data: p.Data}
		}
		out[i] = b
	}
	return out
}

// tool is the definition of a tool.
type tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	InputSchema json.RawMessage `json:"input_schema"`
	Strict      *bool           `json:"strict,omitempty"`
	Cache       *cacheControl   `json:"cache_control,omitempty"`
}

func tools(all []providers.Tool) []any {
	out := make([]any, len(all))
	for i, t := range all {
		if out[i] = t.Own; t.Own != nil {
			continue
		}
		one := tool{Name: t.Name, Description: t.Description, InputSchema: t.Parameters, Strict: t.Strict, Cache: cacheMark(t.Cache)}
		if t.Parameters == nil {
			one.InputSchema = json.RawMessage(`{"type":"object"}`)
		}
		out[i] = one
	}
	return out
}

// toolChoice is the choice of a tool; nil: Anthropic's own.
func toolChoice(req providers.Request) map[string]any {
	choice := map[string]any{"type": "auto"}
	alone := req.ParallelToolCalls != nil && !*req.ParallelToolCalls
	if c := req.ToolChoice; c != nil {
		choice["type"] = map[string]string{"required": "any"}[c.Mode]
		if c.Mode != "required" {
			choice["type"] = c.Mode
		}
		if c.Name != "" {
			choice["name"] = c.Name
		}
	} else if !alone {
		return nil
	}
	if alone && choice["type"] != "none" {
		choice["disable_parallel_tool_use"] = true
	}
	return choice
}

// checkTurns refuses what Anthropic has no form for.
func checkTurns(req providers.Request) error {
	speaks := req.Prompt != ""
	begun := false
	for i, m := range req.Messages {
		at := fmt.Sprintf("messages[%d]", i)
		if m.Role == "system" || m.Role == "developer" {
			if begun {
				return fmt.Errorf("%s.role: a system message must come first", at)
			}
		} else {
			begun = true
			speaks = speaks || m.Role != "assistant"
		}
		switch {
		case m.Name != "":
			return fmt.Errorf("%s.name: Anthropic knows no names: say it in the content", at)
		case len(m.Parts) == 0 && len(m.ToolCalls) == 0 && m.Role != "tool" && strings.TrimSpace(m.Content) == "":
			return fmt.Errorf("%s.content: must hold more than blanks", at)
		case m.Role == "tool" && !toolID(m.ToolCallID):
			return fmt.Errorf("%s.tool_call_id: must be letters, digits, _ and -", at)
		}
		for j, c := range m.ToolCalls {
			if !toolID(c.ID) {
				return fmt.Errorf("%s.tool_calls[%d].id: must be letters, digits, _ and -", at, j)
			}
		}
		for j, p := range m.Parts {
			if err := checkPart(p); err != nil {
				return fmt.Errorf("%s.content[%d] (%s): %w", at, j, p.Type, err)
			}
		}
	}
	if !speaks {
		return errors.New("messages: at least one user message is needed")
	}
	return req.CheckCalls()
}

// maxPictureBytes bounds a picture in base64: https://github.com/kolega-ai/kolega-code/pull/354.
const maxPictureBytes = 10 << 20

func checkPart(p providers.Part) error {
	switch {
	case p.Type == providers.TextPart && strings.TrimSpace(p.Text) == "":
		return errors.New("must hold more than blanks")
	case p.Detail != "" && p.Detail != "auto":
		return errors.New("detail: Anthropic takes none: leave it out")
	case p.Type == providers.ImagePart && p.URL == "":
		if n := base64.StdEncoding.EncodedLen(len(p.Data)); n > maxPictureBytes {
			return fmt.Errorf("at most %d MiB in base64 are taken by Anthropic, got %d bytes: make it smaller", maxPictureBytes>>20, n)
		}
		return providers.OneOf("media type", p.MIME, "image/png", "image/jpeg", "image/gif", "image/webp")
	case p.Type == providers.DocumentPart && p.URL == "":
		return providers.OneOf("media type", p.MIME, "application/pdf", "text/plain")
	case p.Type == providers.DocumentPart && p.MIME != "" && p.MIME != "application/pdf":
		return fmt.Errorf("only PDFs are fetched by Anthropic, got %.40q: give its bytes as data or file", p.MIME)
	}
	return nil
}

// toolID reports whether an id of a tool's call is one that Anthropic takes.
func toolID(id string) bool {
	return id != "" && strings.Trim(id, "_-0123456789"+providers.Letters) == ""
}
