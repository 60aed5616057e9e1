package providers

// Preset describes a server that speaks another vendor's protocol: all that differs
// is data.
type Preset struct {
	// Name is its name in the configuration, such as "groq". A provider of that name
	// has it by itself.
	Name string
	// BaseURL is its address; empty where each user has another.
	BaseURL string
	// KeyHeader carries the bare key in place of "Authorization: Bearer".
	KeyHeader string
	// NeedsKey: it cannot be called without a key.
	NeedsKey bool
	// PricesAs is whose rows of the price list hold. Default: the provider's name.
	PricesAs string
	// Limits hold until others are known, in place of the kind's.
	Limits Limits
	// CompletionTokens: the cap on an answer is called max_completion_tokens, whatever
	// the model.
	CompletionTokens bool
	// SeedName is its name for the seed of a text. Default: seed.
	SeedName string
	// Responses: texts are asked for by /responses, and not by /chat/completions.
	Responses bool
	// ReportsCost: what it says of a call's cost is believed.
	ReportsCost bool
	// VideosAsJSON: films are ordered by JSON, and not by forms.
	VideosAsJSON bool
	// Deployments: the model is a deployment with an address of its own, below
	// /openai/deployments, where the configuration names one.
	Deployments bool
}
