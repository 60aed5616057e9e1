package providers

import "encoding/json"

// Request says what to generate. It is what a job keeps, as JSON under the names
// below. A zero field means: the provider's own default. Which fields a provider
// takes stands in its Capabilities.
type Request struct {
	Task  Task   `json:"task"`
	Model string `json:"model,omitempty"`

	// Prompt is the text to answer, to draw, to film or to speak.
	Prompt string `json:"prompt,omitempty"`
	// System is the system prompt (text).
	System string `json:"system,omitempty"`
	// Messages is a whole conversation in place of Prompt (text).
	Messages []Message `json:"messages,omitempty"`

	// MaxTokens caps the answer's tokens, reasoning included (text).
	MaxTokens int64 `json:"max_tokens,omitempty"`
	// Temperature is 0 to 2, or to 1 with Anthropic (text).
	Temperature *float64 `json:"temperature,omitempty"`
	// TopP is nucleus sampling, 0 to 1 (text).
	TopP *float64 `json:"top_p,omitempty"`
	// Stop ends the answer at any of these (text).
	Stop []string `json:"stop,omitempty"`
	// Seed asks for the same answer again where the provider can.
	Seed *int64 `json:"seed,omitempty"`
	// ResponseFormat asks for JSON (text).
	ResponseFormat *ResponseFormat `json:"response_format,omitempty"`

	// N is the number of pictures to make; 0 means 1.
	N int `json:"n,omitempty"`
	// Size is WIDTHxHEIGHT in pixels, such as "1024x1024" (image, video).
	Size string `json:"size,omitempty"`
	// Quality is the provider's word, such as "low" or "hd" (image).
	Quality string `json:"quality,omitempty"`
	// Background is "transparent", "opaque" or "auto" (image).
	Background string `json:"background,omitempty"`
	// Style is the provider's word: "vivid", or a style preset (image).
	Style string `json:"style,omitempty"`
	// AspectRatio is W:H, such as "16:9" (image, video).
	AspectRatio string `json:"aspect_ratio,omitempty"`
	// NegativePrompt says what not to draw (image).
	NegativePrompt string `json:"negative_prompt,omitempty"`

	// Voice is the provider's name or id of a voice (audio).
	Voice string `json:"voice,omitempty"`
	// Speed is the rate of speech, 1 being normal (audio).
	Speed *float64 `json:"speed,omitempty"`
	// VoiceSettings are ElevenLabs' (audio).
	VoiceSettings *VoiceSettings `json:"voice_settings,omitempty"`
	// OutputFormat is the file format in the provider's words, such as "png",
	// "mp3" or "mp3_44100_128" (image, audio, video).
	OutputFormat string `json:"output_format,omitempty"`

	// Seconds is the length of the film (video).
	Seconds int `json:"seconds,omitempty"`

	// Extra are further top-level fields of the provider's own request, sent as
	// they are where its Capabilities allow that. They cannot replace a field
	// that has a name above.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`
}

// Message is one turn of a conversation.
type Message struct {
	// Role is "system", "user" or "assistant".
	Role string `json:"role"`
	// Content is the text of the turn.
	Content string `json:"content"`
}

// ResponseFormat asks for a JSON answer.
type ResponseFormat struct {
	// Type is "text", "json_object" or "json_schema".
	Type string `json:"type"`
	// JSONSchema is the schema with its name, for "json_schema".
	JSONSchema *JSONSchema `json:"json_schema,omitempty"`
}

// JSONSchema is a named schema that an answer must fit.
type JSONSchema struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema"`
	Strict      *bool           `json:"strict,omitempty"`
}

// VoiceSettings tune a voice; nil fields are the voice's own.
type VoiceSettings struct {
	Stability       *float64 `json:"stability,omitempty"`
	SimilarityBoost *float64 `json:"similarity_boost,omitempty"`
	Style           *float64 `json:"style,omitempty"`
	UseSpeakerBoost *bool    `json:"use_speaker_boost,omitempty"`
}
