package wire

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
)

// Vendor is whose words a refusal is written in.
type Vendor string

// The vendors. A server that is compatible with OpenAI is read as OpenAI.
const (
	OpenAI     Vendor = "openai"
	Anthropic  Vendor = "anthropic"
	Stability  Vendor = "stability"
	ElevenLabs Vendor = "elevenlabs"
)

// StabilityTimeout is how long Stability shuts out a key that was too fast. Its
// answer says so in words only.
const StabilityTimeout = time.Minute

// Classify says what a refusal means: an answer that is no success, as it came.
// It goes by the vendor's own word where there is one and by the status where
// not, and understands the bodies of all vendors, of compatible servers (such as
// {"error":"text"}) and of gateways (HTML or nothing). A body that reports an
// error under a successful status is read too.
//
// What the provider wrote stands in Body only, at most MaxErrorBody of it; of its
// words only a code that SanitiseCode lets pass is used.
func Classify(vendor Vendor, provider string, status int, header http.Header, body []byte, now time.Time) *providers.Error {
	said := parseRefusal(body)
	e := &providers.Error{
		Provider:   provider,
		Kind:       providers.Unknown,
		Billing:    providers.BillingUnknown,
		Status:     status,
		Code:       said.code(),
		RetryAfter: RetryAfter(header, now),
		RequestID:  RequestID(header),
		Sent:       true,
		Body:       slices.Clone(body[:min(len(body), int(MaxErrorBody))]),
		Limits:     RateLimits(header, now),
	}
	if e.RequestID == "" {
		e.RequestID = said.id
	}
	rules := refusals()
	if i := slices.IndexFunc(rules, func(r rule) bool { return r.fits(vendor, status, said) }); i >= 0 {
		e.Kind, e.Billing = rules[i].kind, rules[i].billing
		e.RetryAfter = max(e.RetryAfter, rules[i].wait)
	}
	return e
}

// rule is one row of the table of refusals. All its conditions must hold.
type rule struct {
	vendor Vendor // "": any
	status int    // 0: any; 4 and 5: any that starts so
	words  string // the vendor's code is one of these, separated by spaces; "": any
	says   string // the vendor's message starts so, in lower case; "": any

	kind    providers.Kind
	billing providers.Billing
	wait    time.Duration // the provider asks for at least this
}

func (r rule) fits(vendor Vendor, status int, said refusal) bool {
	switch {
	case r.vendor != "" && r.vendor != vendor:
		return false
	case r.status != 0 && r.status != status && r.status != status/100:
		return false
	case r.words != "" && !slices.ContainsFunc(strings.Fields(r.words), said.has):
		return false
	}
	return strings.HasPrefix(said.message, r.says)
}

// refusals is the one table of what refusals mean. The first row that fits
// decides: first the words, which are more exact than the status they come with,
// then the status.
//
// Unbilled is what a provider is sure not to charge, since it did no work: every
// 4xx, and the 5xx with which a provider itself says that it could not do it. A
// gateway's 502 and 504 and a 408 leave open how far the work got.
func refusals() []rule {
	const free, unknown = providers.Unbilled, providers.BillingUnknown
	return []rule{
		// Out of money, in words. ElevenLabs sends it as 400 or 401, OpenAI as 429 or
		// 400, Anthropic also as an invalid request that differs by its text alone.
		{words: "insufficient_quota billing_hard_limit_reached billing_not_active", kind: providers.OutOfMoney, billing: free},
		{vendor: Anthropic, words: "billing_error", kind: providers.OutOfMoney, billing: free},
		{vendor: Anthropic, says: "your credit balance is too low", kind: providers.OutOfMoney, billing: free},
		{vendor: ElevenLabs, words: "quota_exceeded insufficient_credits", kind: providers.OutOfMoney, billing: free},
		// What the account's plan does not hold concerns this request, not the account.
		{vendor: ElevenLabs, words: "paid_plan_required output_format_not_allowed", kind: providers.InvalidRequest, billing: free},

		// Refused for its content.
		{vendor: OpenAI, words: "content_policy_violation image_content_policy_violation moderation_blocked content_filter invalid_prompt bio_policy", kind: providers.Moderated, billing: free},
		{vendor: Anthropic, says: "output blocked by content filtering policy", kind: providers.Moderated, billing: free},
		{vendor: Stability, words: "content_moderation", kind: providers.Moderated, billing: free},
		{vendor: ElevenLabs, words: "content_against_policy content_moderated moderation_blocked", kind: providers.Moderated, billing: free},

		// Larger than allowed, which waiting does not change, though OpenAI sends it
		// as 429 too.
		{vendor: OpenAI, says: "request too large for", kind: providers.TooLarge, billing: free},
		{vendor: OpenAI, words: "context_length_exceeded string_above_max_length", kind: providers.TooLarge, billing: free},
		{vendor: Anthropic, words: "request_too_large", kind: providers.TooLarge, billing: free},
		{vendor: ElevenLabs, words: "max_character_limit_exceeded text_too_long", kind: providers.TooLarge, billing: free},

		// No such thing.
		{words: "model_not_found voice_not_found not_found_error", kind: providers.NotFound, billing: free},

		// Too fast, in words.
		{vendor: ElevenLabs, words: "too_many_concurrent_requests concurrent_limit_exceeded", kind: providers.ConcurrencyLimit, billing: free},
		{vendor: ElevenLabs, words: "system_busy", kind: providers.RateLimited, billing: free},
		{vendor: Anthropic, words: "rate_limit_error", says: "number of concurrent connections", kind: providers.ConcurrencyLimit, billing: free},
		{vendor: Anthropic, words: "rate_limit_error", kind: providers.RateLimited, billing: free},
		{vendor: Anthropic, words: "overloaded_error", kind: providers.Overloaded, billing: free},
		{vendor: Stability, status: 429, kind: providers.RateLimited, billing: free, wait: StabilityTimeout},
		{vendor: OpenAI, words: "rate_limit_exceeded", kind: providers.RateLimited, billing: free},

		// The status.
		{status: 401, kind: providers.Unauthorised, billing: free},
		{status: 402, kind: providers.OutOfMoney, billing: free},
		{status: 403, kind: providers.Unauthorised, billing: free},
		{status: 404, kind: providers.NotFound, billing: free},
		{status: 405, kind: providers.NotFound, billing: free},
		{status: 408, kind: providers.Timeout, billing: unknown},
		{status: 409, kind: providers.Overloaded, billing: free},
		{status: 410, kind: providers.NotFound, billing: free},
		{status: 413, kind: providers.TooLarge, billing: free},
		{status: 425, kind: providers.Overloaded, billing: free},
		{status: 429, kind: providers.RateLimited, billing: free},
		{status: 499, kind: providers.Connection, billing: unknown}, // a gateway lost us
		{status: 500, kind: providers.Overloaded, billing: free},
		{status: 501, kind: providers.NotFound, billing: free},
		{status: 503, kind: providers.Overloaded, billing: free},
		{status: 504, kind: providers.Timeout, billing: unknown},
		{status: 524, kind: providers.Timeout, billing: unknown}, // Cloudflare's 504
		{vendor: Anthropic, status: 529, kind: providers.Overloaded, billing: free},
		{status: 2, kind: providers.MalformedResponse, billing: unknown},
		{status: 3, kind: providers.NotFound, billing: free}, // redirects are not followed
		{status: 4, kind: providers.InvalidRequest, billing: free},
		{status: 5, kind: providers.Overloaded, billing: unknown}, // 502 and all others
	}
}
