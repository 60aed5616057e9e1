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
	// CountsLogProbs: it takes logprobs as the number of tokens to tell of at each place, and no
	// top_logprobs.
	CountsLogProbs bool
	// CallIDLength is the number of letters and digits that ids of tools' calls must have there:
	// others are replaced. 0: any.
	CallIDLength int
	// Responses: texts are asked for by /responses, and not by /chat/completions.
	Responses bool
	// ReportsCost: what it says of a call's cost is believed.
	ReportsCost bool
	// VideosAsJSON: films are ordered by JSON, and not by forms.
	VideosAsJSON bool
	// Deployments: the model is a deployment with an address of its own, below
	// /openai/deployments, where the configuration names one.
	Deployments bool
	// Refuse refuses what the server refuses, or passes over in silence, beyond the kind's
	// own rules; nil refuses none.
	Refuse func(Request) error
}

// Narrow returns what can be asked of the server, of what its kind can do.
func (p Preset) Narrow(c Capabilities) Capabilities {
	if p.Refuse == nil {
		return c
	}
	kind := c.Refuse
	c.Refuse = func(req Request) error {
		if kind != nil {
			if err := kind(req); err != nil {
				return err
			}
		}
		return p.Refuse(req)
	}
	return c
}
