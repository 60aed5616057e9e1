package batches

import (
	"bytes"
	"encoding/json"

	"oneflow/providers"
)

// chatCompletion is OpenAI's answer to a chat, as far as any vendor's can be told so.
type chatCompletion struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   chatUsage    `json:"usage"`
}

type chatChoice struct {
	Index        int         `json:"index"`
	Message      chatMessage `json:"message"`
	FinishReason string      `json:"finish_reason"`
}

type chatMessage struct {
	Role      string     `json:"role"`
	Content   *string    `json:"content"` // null beside calls of tools alone
	ToolCalls []chatCall `json:"tool_calls,omitempty"`
}

type chatCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function chatFunction `json:"function"`
}

type chatFunction struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type chatUsage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	TotalTokens      int64 `json:"total_tokens"`
}

// media is OpenAI's answer to a request for pictures, with what is kept of them.
type media struct {
	Data []ArtifactRef `json:"data"`
}

// transcription is OpenAI's answer to a request for one.
type transcription struct {
	Text string `json:"text"`
}

// embeddings is OpenAI's answer to a request for vectors.
type embeddings struct {
	Object string         `json:"object"`
	Model  string         `json:"model"`
	Data   []vector       `json:"data"`
	Usage  embeddingUsage `json:"usage"`
}

type vector struct {
	Object    string    `json:"object"`
	Index     int       `json:"index"`
	Embedding []float32 `json:"embedding"`
}

type embeddingUsage struct {
	PromptTokens int64 `json:"prompt_tokens"`
	TotalTokens  int64 `json:"total_tokens"`
}

// embeddings is the vector as OpenAI would have given it.
func (r Record) embeddings() embeddings {
	var u providers.Usage
	_ = json.Unmarshal(r.usage(), &u) // what cannot be read is not known
	return embeddings{
		Object: "list", Model: r.Model, Data: []vector{{Object: "embedding", Embedding: r.Vector}},
		Usage: embeddingUsage{u.InputTokens, u.InputTokens},
	}
}

// body returns the job's outcome in the format's shape.
func (r Record) body(f Format) json.RawMessage {
	// Bytes that are no UTF-8 become U+FFFD: a reader would stumble over the whole file.
	raw := bytes.ToValidUTF8(r.Raw, []byte("\uFFFD"))
	if json.Valid(raw) && (f == FormatRaw || r.Task == providers.Text && (isChat(raw) || isResponse(raw)) || r.Task == providers.Embedding || r.Task == providers.Transcription || r.Task == providers.Moderation) {
		return raw
	}
	var made any = media{r.artifacts()}
	switch {
	case r.Vector != nil:
		made = r.embeddings()
	case r.Task == providers.Transcription:
		made = transcription{r.Text}
	case r.Task == providers.Text || len(r.Artifacts) == 0:
		made = r.chat()
	}
	body, err := json.Marshal(made)
	if err != nil {
		return json.RawMessage("null")
	}
	return body
}

// isChat reports whether a body has its answer where OpenAI's has it: a text, or calls of
// tools.
func isChat(raw []byte) bool {
	var body struct {
		Choices []struct {
			Message *struct {
				Content   *string           `json:"content"`
				ToolCalls []json.RawMessage `json:"tool_calls"`
			} `json:"message"`
		} `json:"choices"`
	}
	if json.Unmarshal(raw, &body) != nil || len(body.Choices) == 0 || body.Choices[0].Message == nil {
		return false
	}
	m := body.Choices[0].Message
	return m.Content != nil || len(m.ToolCalls) > 0
}

// isResponse reports whether a body is one of OpenAI's responses.
func isResponse(raw []byte) bool {
	var body struct {
		Object string            `json:"object"`
		Output []json.RawMessage `json:"output"`
	}
	return json.Unmarshal(raw, &body) == nil && body.Object == "response" && len(body.Output) > 0
}

// chat is the answer as OpenAI would have given it.
func (r Record) chat() chatCompletion {
	var u providers.Usage
	_ = json.Unmarshal(r.usage(), &u) // what cannot be read is not known
	in := u.InputTokens + u.CachedInputTokens + u.CacheWriteTokens
	all := r.answers()
	all[0].text, all[0].finish = r.Text, r.FinishReason
	choices := make([]chatChoice, len(all))
	for i, one := range all {
		message := chatMessage{Role: "assistant", Content: &one.text, ToolCalls: chatCalls(one.calls)}
		if one.text == "" && message.ToolCalls != nil {
			message.Content = nil
		}
		choices[i] = chatChoice{Index: i, Message: message, FinishReason: finishReason(one.finish)}
	}
	return chatCompletion{
		ID: r.RequestID, Object: "chat.completion", Model: r.Model, Choices: choices,
		Usage: chatUsage{in, u.OutputTokens, in + u.OutputTokens},
	}
}

// finishReason is OpenAI's word for a vendor's.
func finishReason(own string) string {
	switch f := providers.FinishOf(own); f {
	case "":
		return "stop"
	case providers.FinishFilter:
		return "content_filter"
	case providers.FinishStop, providers.FinishLength, providers.FinishToolCalls:
		return string(f)
	case providers.FinishPause, providers.FinishOther:
	}
	return own
}
