package providers_test

import (
	"fmt"
	"time"

	"oneflow/providers"
)

// A failure says in one word what follows from it. Its text may be logged; what the
// vendor said is for whoever asked.
func ExampleError() {
	var err error = &providers.Error{
		Provider: "openai", Kind: providers.RateLimited, Status: 429, Billing: providers.Unbilled,
		RetryAfter: 20 * time.Second, URL: "https://api.openai.com/v1/chat/completions", Reason: "Rate limit reached for gpt-4o",
	}
	failure := providers.AsError("openai", err)
	fmt.Println(failure)
	fmt.Println(providers.Explain(err))
	fmt.Println(failure.Kind.Reaction() == providers.Wait, failure.Kind.FallsBack(), failure.RetryAfter)
	// Output:
	// openai: rate limited (HTTP 429, retry after 20s)
	// openai: rate limited (HTTP 429, retry after 20s), calling https://api.openai.com/v1/chat/completions: Rate limit reached for gpt-4o
	// true true 20s
}
