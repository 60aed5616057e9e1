package openai

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"oneflow/providers"
)

// capName names the cap on an answer: OpenAI's reasoning models, whoever
// serves them, refuse the older name, and many compatible servers do not know the
// newer one.
func (p *Provider) capName(model string) string {
	name := model[strings.LastIndex(model, "/")+1:] // a router's "openai/gpt-6-luna"
	newer := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	if !p.config.Compatible || p.config.Preset.CompletionTokens || slices.ContainsFunc([]string{"gpt-5", "gpt-6", "o1", "o3", "o4-"}, newer) {
		return "max_completion_tokens"
	}
	return "max_tokens"
}

// textFields is req in OpenAI's words.
func (p *Provider) textFields(model string, req providers.Request) map[string]any {
	fields := map[string]any{"model": model, "messages": p.chat(req, model)}
	if most := cmp.Or(req.MaxTokens, p.config.MaxTokens); most > 0 {
		fields[p.capName(model)] = most
	}
	if req.Temperature != nil {
		fields["temperature"] = *req.Temperature
	}
	if req.TopP != nil {
		fields["top_p"] = *req.TopP
	}
	if req.Seed != nil {
		fields[cmp.Or(p.config.Preset.SeedName, "seed")] = *req.Seed
	}
	if len(req.Stop) > 0 {
		fields["stop"] = req.Stop
	}
	if req.ResponseFormat != nil {
		fields["response_format"] = req.ResponseFormat
	}
	if req.N > 0 {
		fields["n"] = req.N
	}
	switch {
	case req.LogProbs && p.config.Preset.CountsLogProbs:
		fields["logprobs"] = max(1, req.TopLogProbs)
	case req.LogProbs:
		fields["logprobs"] = true
		if req.TopLogProbs > 0 {
			fields["top_logprobs"] = req.TopLogProbs
		}
	}
	if req.Effort != "" {
		fields["reasoning_effort"] = req.Effort
	}
	switch req.ServiceTier {
	case "":
	case "standard_only", "standard": // Anthropic's word, and Google's
		fields["service_tier"] = "default"
	default:
		fields["service_tier"] = req.ServiceTier
	}
	if len(req.Tools) > 0 {
		fields["tools"] = chatTools(req.Tools)
	}
	if c := req.ToolChoice; c != nil {
		fields["tool_choice"] = chatChoice(*c)
	}
	if req.ParallelToolCalls != nil {
		fields["parallel_tool_calls"] = *req.ParallelToolCalls
	}
	return fields
}

// turn is a turn of a conversation as OpenAI has it.
type turn struct {
	Role       string `json:"role"`
	Content    any    `json:"content,omitempty"`
	Name       string `json:"name,omitempty"`
	ToolCalls  []call `json:"tool_calls,omitempty"`
	ToolCallID string `json:"tool_call_id,omitempty"`
}

// call is a call of a tool.
type call struct {
	ID       string     `json:"id"`
	Type     string     `json:"type"`
	Function invocation `json:"function"`
}

type invocation struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// chat is the conversation: the system prompt first.
func (p *Provider) chat(req providers.Request, model string) []turn {
	compatible := p.config.Compatible
	var turns []turn
	if req.System != "" {
		turns = append(turns, turn{Role: "system", Content: req.System})
	}
	for _, m := range req.Messages {
		t := turn{Role: m.Role, Name: m.Name, ToolCallID: p.callID(m.ToolCallID)}
		if m.Role == "developer" && compatible { // OpenAI's own word for it
			t.Role = "system"
		}
		switch {
		case len(m.Parts) > 0:
			t.Content = chatParts(m.Parts, model, compatible)
		case m.Content != "" || len(m.ToolCalls) == 0:
			t.Content = m.Content
		}
		for _, c := range m.ToolCalls {
			t.ToolCalls = append(t.ToolCalls, call{ID: p.callID(c.ID), Type: "function", Function: invocation{c.Name, c.Arguments}})
		}
		turns = append(turns, t)
	}
	if req.Prompt != "" {
		turns = append(turns, turn{Role: "user", Content: req.Prompt})
	}
	return turns
}

// callID is the id of a tool's call as the server takes it. It says no more than which answer belongs
// to which call, so that it may be another in both places.
func (p *Provider) callID(id string) string {
	n := p.config.Preset.CallIDLength
	if n == 0 || id == "" || len(id) == n && strings.Trim(id, providers.Digits+providers.Letters) == "" {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])[:n]
}

// chatParts are the parts of a turn.
func chatParts(parts []providers.Part, model string, compatible bool) []map[string]any {
	out := make([]map[string]any, len(parts))
	for i, p := range parts {
		switch p.Type {
		case providers.TextPart:
			out[i] = map[string]any{"type": "text", "text": p.Text}
		case providers.ImagePart:
			image := map[string]any{"url": address(p)}
			if p.Detail != "" {
				image["detail"] = p.Detail
			}
			out[i] = map[string]any{"type": "image_url", "image_url": image}
		case providers.AudioPart:
			out[i] = map[string]any{"type": "input_audio", "input_audio": map[string]any{
				"data": base64.StdEncoding.EncodeToString(p.Data), "format": audioFormat(p.MIME),
			}}
		case providers.DocumentPart:
			name := p.Name
			if name == "" {
				name = "document.pdf" // OpenAI takes no file without a name
			}
			out[i] = map[string]any{"type": "file", "file": map[string]any{"filename": name, "file_data": address(p)}}
		}
		if p.Cache != providers.NoCache && !compatible && marks(model) {
			out[i]["prompt_cache_breakpoint"] = map[string]any{"mode": "explicit"}
		}
	}
	return out
}

// address returns a part's address, or a data: URL that holds its content.
func address(p providers.Part) string {
	if p.URL != "" {
		return p.URL
	}
	return "data:" + p.MIME + ";base64," + base64.StdEncoding.EncodeToString(p.Data)
}

// audioFormat is OpenAI's name for a media type of sound; empty where it has none.
func audioFormat(mime string) string {
	switch mime {
	case "audio/mpeg", "audio/mp3":
		return "mp3"
	case "audio/wav", "audio/x-wav", "audio/wave":
		return "wav"
	}
	return ""
}

// marks reports whether a model takes marks for its cache: gpt-5.6 and those after it.
// The others keep prompts by themselves.
func marks(model string) bool {
	rest, ok := strings.CutPrefix(model, "gpt-")
	if !ok {
		return false
	}
	var major, minor int
	n, _ := fmt.Sscanf(rest, "%d.%d", &major, &minor)
	return n >= 1 && (major > 5 || major == 5 && minor >= 6)
}

// function is the definition of a tool.
type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`
}

func chatTools(tools []providers.Tool) []any {
	out := make([]any, len(tools))
	for i, t := range tools {
		if out[i] = t.Own; t.Own != nil {
			continue
		}
		out[i] = map[string]any{"type": "function", "function": function{t.Name, t.Description, t.Parameters, t.Strict}}
	}
	return out
}

func chatChoice(c providers.ToolChoice) any {
	if c.Mode == "tool" {
		return map[string]any{"type": "function", "function": map[string]string{"name": c.Name}}
	}
	return c.Mode
}

// checkTurns refuses what OpenAI's chat has no form for.
func checkTurns(req providers.Request) error {
	for i, m := range req.Messages {
		if m.IsError {
			return fmt.Errorf("messages[%d].is_error: OpenAI's chat has no such mark: say it in the content", i)
		}
		for j, p := range m.Parts {
			if err := checkPart(m.Role, p); err != nil {
				return fmt.Errorf("messages[%d].content[%d] (%s): %w", i, j, p.Type, err)
			}
		}
	}
	if req.ParallelToolCalls != nil && len(req.Tools) == 0 {
		return errors.New("parallel_tool_calls: needs tools, and there are none")
	}
	return nil
}

func checkPart(role string, p providers.Part) error {
	switch {
	case p.Type != providers.TextPart && role == "tool":
		return errors.New("OpenAI's chat takes only texts from tools: give it in a turn of role user")
	case p.Type == providers.AudioPart && len(p.Data) == 0:
		return errors.New("OpenAI's chat fetches no audio: give its bytes as data or file")
	case p.Type == providers.AudioPart && audioFormat(p.MIME) == "":
		return fmt.Errorf("OpenAI's chat takes WAV and MP3, got %.40q", p.MIME)
	case p.Type == providers.DocumentPart && len(p.Data) == 0:
		return errors.New("OpenAI's chat fetches no documents: give its bytes as data or file")
	case p.Type == providers.DocumentPart && p.MIME != "application/pdf":
		return fmt.Errorf("OpenAI's chat takes documents that are PDFs, got %.40q", p.MIME)
	case p.Type != providers.ImagePart && p.Detail != "" && p.Detail != "auto":
		return errors.New("detail: OpenAI's chat takes it for pictures alone: leave it out")
	case p.Type == providers.ImagePart && p.Detail != "":
		return providers.OneOf("detail", p.Detail, "auto", "low", "high")
	}
	return nil
}
