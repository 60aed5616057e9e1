package anthropic

import (
	"oneflow/providers"
	"oneflow/providers/wire"
)

// rules say what Anthropic's own words mean.
func rules() []wire.Rule {
	return []wire.Rule{
		{Words: "billing_error", Kind: providers.OutOfMoney},
		{Says: "output blocked by content filtering policy", Kind: providers.Moderated},
		{Says: "organization has been disabled", Kind: providers.AccessDenied},
		{Words: "rate_limit_error", Says: "number of concurrent connections", Kind: providers.ConcurrencyLimit},
		{Words: "rate_limit_error", Kind: providers.RateLimited},
		{Words: "overloaded_error", Kind: providers.Overloaded},
		{Status: 529, Kind: providers.Overloaded},
	}
}
