package openai

import (
	"net/http"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// rules say what OpenAI's own words mean, and those of servers that speak its
// protocol.
func rules() []wire.Rule {
	return []wire.Rule{
		// Larger than the limit of a minute: waiting does not change that, though it
		// is sent as 429.
		{Says: "request too large for", Kind: providers.TooLarge},
		{Words: "invalid_prompt bio_policy image_content_policy_violation", Kind: providers.Moderated},
		{Words: "rate_limit_exceeded", Kind: providers.RateLimited},
		// Fireworks suspends accounts with 412, and a project's spending with 400.
		{Status: http.StatusPreconditionFailed, Says: "suspended|unpaid", Kind: providers.OutOfMoney},
	}
}
