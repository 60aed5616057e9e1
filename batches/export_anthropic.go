package batches

import (
	"bytes"
	"cmp"
	"encoding/json"

	"oneflow/jobs"
	"oneflow/providers"
)

// anthropicLine is one line of Anthropic's batch results, with our own fields beside.
type anthropicLine struct {
	CustomID string           `json:"custom_id"`
	Result   *anthropicResult `json:"result"` // null for a job that has not finished
	OneFlow  oneflow          `json:"oneflow"`
}

type anthropicResult struct {
	Type    string          `json:"type"` // succeeded, errored, canceled or expired
	Message json.RawMessage `json:"message,omitempty"`
	Error   *anthropicError `json:"error,omitempty"`
}

type anthropicError struct {
	Type  string      `json:"type"` // error
	Error anthropicIs `json:"error"`
}

type anthropicIs struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// anthropicMessage is Anthropic's answer, as far as any vendor's can be told so.
type anthropicMessage struct {
	ID           string             `json:"id"`
	Type         string             `json:"type"`
	Role         string             `json:"role"`
	Model        string             `json:"model"`
	Content      []anthropicContent `json:"content"`
	StopReason   string             `json:"stop_reason"`
	StopSequence *string            `json:"stop_sequence"`
	Usage        anthropicUsage     `json:"usage"`
}

// anthropicContent is a text, or the use of a tool.
type anthropicContent struct {
	Type  string          `json:"type"`
	Text  string          `json:"text,omitempty"`
	ID    string          `json:"id,omitempty"`
	Name  string          `json:"name,omitempty"`
	Input json.RawMessage `json:"input,omitempty"`
}

type anthropicUsage struct {
	InputTokens  int64 `json:"input_tokens"`
	CacheRead    int64 `json:"cache_read_input_tokens"`
	CacheWritten int64 `json:"cache_creation_input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
}

// anthropic is the record as a line of Anthropic's batch results. A row without an id
// of its own has the job's.
func (r Record) anthropic() anthropicLine {
	l := anthropicLine{CustomID: cmp.Or(r.CustomID, r.ID), OneFlow: r.line(FormatRaw).OneFlow}
	switch f := r.failure(); {
	case r.State == jobs.Succeeded:
		l.Result = &anthropicResult{Type: "succeeded", Message: r.message()}
	case !r.State.Finished():
	case r.State == jobs.Cancelled:
		l.Result = &anthropicResult{Type: "canceled"}
	case r.State == jobs.Expired:
		l.Result = &anthropicResult{Type: "expired"}
	default:
		l.Result = &anthropicResult{Type: "errored", Error: &anthropicError{Type: "error", Error: anthropicIs{f.Code, f.Message}}}
	}
	return l
}

// message is the answer as Anthropic would have given it.
func (r Record) message() json.RawMessage {
	raw := bytes.ToValidUTF8(r.Raw, []byte("\uFFFD"))
	var is struct {
		Type    string            `json:"type"`
		Content []json.RawMessage `json:"content"`
	}
	if json.Unmarshal(raw, &is) == nil && is.Type == "message" && len(is.Content) > 0 {
		return raw
	}
	var u providers.Usage
	_ = json.Unmarshal(r.usage(), &u) // what cannot be read is not known
	m := anthropicMessage{
		ID: r.RequestID, Type: "message", Role: "assistant", Model: r.Model, Content: []anthropicContent{}, StopReason: stopReason(finishReason(r.FinishReason)),
		Usage: anthropicUsage{u.InputTokens, u.CachedInputTokens, u.CacheWriteTokens, u.OutputTokens},
	}
	if r.Text != "" {
		m.Content = append(m.Content, anthropicContent{Type: "text", Text: r.Text})
	}
	for _, c := range r.ToolCalls() {
		m.Content = append(m.Content, anthropicContent{Type: "tool_use", ID: c.ID, Name: c.Name, Input: inputOf(c)})
	}
	body, err := json.Marshal(m)
	if err != nil {
		return json.RawMessage("null")
	}
	return body
}

// stopReason is Anthropic's word for OpenAI's.
func stopReason(finish string) string {
	switch finish {
	case "stop":
		return "end_turn"
	case "length":
		return "max_tokens"
	case "tool_calls":
		return "tool_use"
	case "content_filter":
		return "refusal"
	}
	return finish
}
