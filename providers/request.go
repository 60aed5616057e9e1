package providers

import "encoding/json"

// Request says what to generate. It is what a job keeps, as JSON under the names
// below. A zero field means: the provider's own default. Which fields a provider
// takes stands in its Capabilities.
type Request struct {
	Task  Task   `json:"task"`
	Model string `json:"model,omitempty"`

	// Prompt is the text to answer, to draw, to film, to speak or to embed; beside a
	// sound to transcribe it is a hint at what is said there.
	Prompt string `json:"prompt,omitempty"`
	// System is the system prompt (text).
	System string `json:"system,omitempty"`
	// Messages is a whole conversation in place of Prompt (text), or one turn that holds
	// the sound to transcribe (transcription).
	Messages []Message `json:"messages,omitempty"`

	// Tools are functions that the model may ask for, ToolChoice whether it must, and
	// ParallelToolCalls whether it may ask for several at once (text).
	Tools             []Tool      `json:"tools,omitempty"`
	ToolChoice        *ToolChoice `json:"tool_choice,omitempty"`
	ParallelToolCalls *bool       `json:"parallel_tool_calls,omitempty"`

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

	// Effort bounds the reasoning: "none", "minimal", "low", "medium",
	// "high", "xhigh" or "max"; not every model takes every word (text).
	Effort string `json:"effort,omitempty"`
	// ServiceTier sets what is paid for speed: "auto", "default", or the provider's
	// word, such as "flex" (text).
	ServiceTier string `json:"service_tier,omitempty"`
	// LogProbs asks for the probabilities of the answer's tokens, TopLogProbs for
	// those of so many others at each place. They stand in the body of the answer (text).
	LogProbs    bool `json:"logprobs,omitempty"`
	TopLogProbs int  `json:"top_logprobs,omitempty"`

	// N is the number of answers or pictures to make; 0 means 1. Of several answers the
	// first is the job's text, and all stand in the body (text, image).
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

	// Dimensions is the length of the vector; 0: the model's own (embedding).
	Dimensions int `json:"dimensions,omitempty"`
	// Language is that of the sound, such as "en"; empty: it is found out (transcription).
	Language string `json:"language,omitempty"`

	// Extra are further fields of the provider's own request, where its Capabilities
	// allow that. An object is merged into the one that the request has of that name,
	// as RFC 7396 says; anything else is sent as it is. They cannot replace a field
	// that has a name above.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`

	// Reask is the number of times that it may be asked again after an answer that breaks its schema;
	// nil: defaultReask. It is not sent (text).
	Reask *int `json:"reask,omitempty"`
	// OnCut says what is done with an answer that its cap cut off; empty: KeepCut. It is
	// not sent (text).
	OnCut OnCut `json:"on_cut,omitempty"`

	// CacheSeconds lets the answer be one that the same account was given to the same
	// request, as long as it is no older, and keeps the answer for so long; 0: it is always
	// asked anew. A request that asks for variety is asked anew unless CacheVaried. Neither
	// is sent.
	CacheSeconds int64 `json:"cache_seconds,omitempty"`
	CacheVaried  bool  `json:"cache_varied,omitempty"`

	// Combine is the number of rows that one numbered request may ask for; 0: each has a
	// request of its own. It is not sent (text).
	Combine int `json:"combine,omitempty"`

	// With holds the prompts of further jobs that the same call embeds: see Pack. No job
	// keeps them.
	With []string `json:"-"`

	// Endpoint and Body are a request in a vendor's own words, in place of all options
	// above but the model: the body is sent as it is to the vendor's endpoint of that
	// path, such as "/v1/chat/completions".
	Endpoint string          `json:"endpoint,omitempty"`
	Body     json.RawMessage `json:"body,omitempty"`
}

// MaxCacheSeconds bounds CacheSeconds: ten years.
const MaxCacheSeconds = 10 * 365 * 24 * 3600

// defaultReask is the number of times that is asked again after an answer that breaks its schema, and
// maxReask the most that may be asked for.
const (
	defaultReask = 1
	maxReask     = 10
)

// Reasks returns the number of times that the request may be asked again after an answer that breaks its
// schema.
func (r Request) Reasks() int {
	if r.Reask == nil {
		return defaultReask
	}
	return *r.Reask
}

// OnCut says what is done with an answer that its cap, or the model's window, cut off.
type OnCut string

// What is done with an answer that was cut off.
const (
	KeepCut  OnCut = "keep"  // it is the result
	FailCut  OnCut = "fail"  // the job fails
	RetryCut OnCut = "retry" // it is asked again with a higher cap, as far as the model goes
)

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
