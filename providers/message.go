package providers

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Message is one turn of a conversation. In JSON its content is a string, or a list
// of parts.
type Message struct {
	// Role is "system", "developer", "user", "assistant" or "tool".
	Role string
	// Content is the text of the turn; empty where Parts are given.
	Content string
	// Parts are the turn's content where it is more than a text.
	Parts []Part
	// Name tells apart those who speak in the same role. Most providers have none.
	Name string
	// ToolCalls are the calls that an assistant asks for, after its content.
	ToolCalls []ToolCall
	// ToolCallID names the call that a turn of role "tool" answers.
	ToolCallID string
	// IsError says that a tool failed, and that the content tells how.
	IsError bool
}

// PartType names the sort of content of a part.
type PartType string

// The types of parts.
const (
	TextPart     PartType = "text"
	ImagePart    PartType = "image"
	DocumentPart PartType = "document" // a PDF, or a plain text as a document of its own
	AudioPart    PartType = "audio"
)

// Part is a part of a message: a text, or media with their bytes or their address.
type Part struct {
	Type PartType `json:"type"`
	// Text is the text of a text part.
	Text string `json:"text,omitempty"`
	// URL is the address from which the vendor fetches the media; empty where Data holds them.
	URL string `json:"url,omitempty"`
	// Data are the media themselves, MIME their media type, such as "image/png".
	Data []byte `json:"data,omitempty"`
	MIME string `json:"mime,omitempty"`
	// Name is a document's file name or title.
	Name string `json:"name,omitempty"`
	// Detail is the resolution at which a picture is read: "low", "high" or "auto". Empty
	// for the provider's default.
	Detail string `json:"detail,omitempty"`
	// Cache asks the provider to keep all up to the end of this part for later calls.
	Cache Cache `json:"cache,omitempty"`
	// File names a file beside the input. It is read into Data before the row is
	// accepted: a job has none.
	File string `json:"file,omitempty"`
}

// Cache is a mark up to which a provider is asked to keep a request, so that the next
// one costs less. It changes nothing of the answer: a provider that keeps no such
// marks, or keeps everything by itself, is sent none.
type Cache string

// The marks. The others name a lifetime.
const (
	NoCache      Cache = ""
	CacheDefault Cache = "default" // for as long as the provider does by default
	Cache5m      Cache = "5m"
	Cache1h      Cache = "1h"
)

// Tool is a function that the model may ask for.
type Tool struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Parameters is a JSON schema of its arguments; nil: it takes none.
	Parameters json.RawMessage `json:"parameters,omitempty"`
	// Strict asks that the arguments fit the schema; nil: the provider's default.
	Strict *bool `json:"strict,omitempty"`
	Cache  Cache `json:"cache,omitempty"`
	// Own is a tool of the vendor's own, such as its web search, in the vendor's
	// words, in place of all the above.
	Own json.RawMessage `json:"own,omitempty"`
}

// Kind is the type of a tool of the vendor's own, such as "web_search_20250305", or where it
// has none the one field that it is, such as "googleSearch". Empty for functions.
func (t Tool) Kind() string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(t.Own, &fields) != nil {
		return ""
	}
	kind := ""
	if json.Unmarshal(fields["type"], &kind) == nil || len(fields) != 1 {
		return kind
	}
	for name := range fields {
		kind = name
	}
	return kind
}

// ToolChoice says whether the model must call a tool.
type ToolChoice struct {
	// Mode is "auto", "none", "required", or "tool" for the one called Name.
	Mode string `json:"mode"`
	Name string `json:"name,omitempty"`
}

// ToolCall is a model's call of a tool.
type ToolCall struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Arguments are JSON, as the model wrote it.
	Arguments string `json:"arguments"`
}

// message is a Message in JSON.
type message struct {
	Role       string     `json:"role"`
	Content    any        `json:"content,omitempty"`
	Name       string     `json:"name,omitempty"`
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
	IsError    bool       `json:"is_error,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (m Message) MarshalJSON() ([]byte, error) {
	out := message{Role: m.Role, Name: m.Name, ToolCalls: m.ToolCalls, ToolCallID: m.ToolCallID, IsError: m.IsError}
	switch {
	case len(m.Parts) > 0:
		out.Content = m.Parts
	case m.Content != "" || len(m.ToolCalls) == 0:
		out.Content = m.Content
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler. It takes what ReadMessages takes.
func (m *Message) UnmarshalJSON(data []byte) error {
	messages, unknown, err := ReadMessages(append(append([]byte("["), data...), ']'))
	switch {
	case err != nil:
		return err
	case len(unknown) > 0:
		return fmt.Errorf("%s: is not known", unknown[0])
	case len(messages) != 1:
		return fmt.Errorf("messages[0]: holds %d turns", len(messages))
	}
	*m = messages[0]
	return nil
}

// Text is all text of the turn.
func (m Message) Text() string {
	if len(m.Parts) == 0 {
		return m.Content
	}
	var text strings.Builder
	for _, p := range m.Parts {
		text.WriteString(p.Text)
	}
	return text.String()
}

// Texts yields all that the request says in words: prompts, turns, names and
// arguments of tools, schemas.
func (r Request) Texts() iter.Seq[string] {
	if r.Body != nil {
		return stringsIn(r.Body)
	}
	return func(yield func(string) bool) {
		texts := append([]string{r.Prompt, r.System, r.NegativePrompt}, r.With...)
		for _, m := range r.Messages {
			texts = append(texts, m.Content, m.Name)
			for _, p := range m.Parts {
				texts = append(texts, p.Text, p.Name, p.URL)
			}
			for _, c := range m.ToolCalls {
				texts = append(texts, c.Name, c.Arguments)
			}
		}
		for _, t := range r.Tools {
			texts = append(texts, t.Name, t.Description, string(t.Parameters), string(t.Own))
		}
		if f := r.ResponseFormat; f != nil && f.JSONSchema != nil {
			texts = append(texts, f.JSONSchema.Name, f.JSONSchema.Description, string(f.JSONSchema.Schema))
		}
		for _, text := range texts {
			if text != "" && !yield(text) {
				return
			}
		}
	}
}

// Media yields the pictures, documents and sounds in the request's turns.
func (r Request) Media() iter.Seq[Part] {
	return func(yield func(Part) bool) {
		for _, m := range r.Messages {
			for _, p := range m.Parts {
				if p.Type != TextPart && !yield(p) {
					return
				}
			}
		}
	}
}

// Caches reports whether any part or tool has a mark for the provider's cache.
func (r Request) Caches() bool {
	return r.Marks(CacheDefault) || r.Marks(Cache5m) || r.Marks(Cache1h)
}

// Cache12h is the variant of the price of what is written to OpenAI's cache for 12 hours in
// place of half an hour.
const Cache12h = "12h"

// CachesFor12h reports whether what the request writes to OpenAI's cache is kept for 12 hours, as
// prompt_cache_options say.
func (r Request) CachesFor12h() bool {
	var options struct {
		TTL string `json:"ttl"`
	}
	return json.Unmarshal(r.Extra["prompt_cache_options"], &options) == nil && options.TTL == "12h"
}

// Marks reports whether any part or tool has this mark for the provider's cache.
func (r Request) Marks(mark Cache) bool {
	for _, m := range r.Messages {
		if slices.ContainsFunc(m.Parts, func(p Part) bool { return p.Cache == mark }) {
			return true
		}
	}
	return slices.ContainsFunc(r.Tools, func(t Tool) bool { return t.Cache == mark })
}
