package wire

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
)

// Rule says what a refusal means. All its conditions must hold; a zero one always
// does.
type Rule struct {
	// Status is the HTTP status; 4 and 5 stand for all that start so.
	Status int
	// Words are codes of which the refusal has one, separated by spaces.
	Words string
	// Says are pieces of which the vendor's sentence has one, in lower case,
	// separated by "|". What the sentence repeats of the request does not count.
	Says string
	// Page holds where the body is no JSON: a page or a line of a firewall, a
	// gateway or a proxy, or nothing.
	Page bool

	// Kind is its meaning.
	Kind providers.Kind
	// Billing says whether it is charged. The zero value means providers.Unbilled.
	Billing providers.Billing
	// Wait is the least that the vendor asks for, where only its words say so.
	Wait time.Duration
}

func (r Rule) fits(status int, said refusal) bool {
	switch {
	case r.Status != 0 && r.Status != status && r.Status != status/100:
		return false
	case r.Page && said.json:
		return false
	case r.Words != "" && !slices.ContainsFunc(strings.Fields(r.Words), said.has):
		return false
	}
	return r.Says == "" || slices.ContainsFunc(strings.Split(r.Says, "|"), func(piece string) bool {
		return strings.Contains(said.lower, piece)
	})
}

// Refusal says what an answer means that is no success. The body decides before
// the status does: the vendor's own rules come first, then the words that all of
// them use, then the status. It understands the bodies of all vendors, of
// compatible servers (such as {"error":"text"}) and of gateways (HTML or nothing).
//
// What the provider wrote stands in Body, at most MaxErrorBody of it, and as one
// sentence in Reason; of its words only a code that SanitiseCode lets pass is in
// the error's text.
func (c Caller) Refusal(a Answer) *providers.Error { return c.classify(a, a.Status) }

// classify reads a as if it had that status.
func (c Caller) classify(a Answer, status int) *providers.Error {
	said := parseRefusal(a.Body)
	e := &providers.Error{
		Provider:  c.Provider,
		Kind:      providers.Unknown,
		Billing:   providers.BillingUnknown,
		Status:    a.Status,
		Code:      said.code(),
		RequestID: RequestID(a.Header),
		Sent:      true,
		Body:      slices.Clone(a.Body[:min(len(a.Body), int(MaxErrorBody))]),
		Limits:    RateLimits(a.Header, a.At),
		Param:     said.param,
		URL:       a.URL,
		Reason:    said.reason(a),
	}
	said.lower = strings.ToLower(hide(said.message, a.Hide))
	if e.RequestID == "" {
		e.RequestID = said.id
	}
	for _, word := range []*string{&e.Code, &e.RequestID, &e.Param} {
		if echoes(*word, a.Hide) {
			*word = ""
		}
	}
	for _, rules := range [][]Rule{c.Rules, commonRules()} {
		if i := slices.IndexFunc(rules, func(r Rule) bool { return r.fits(status, said) }); i >= 0 {
			e.Kind, e.Billing = rules[i].Kind, rules[i].Billing
			if e.Billing == "" {
				e.Billing = providers.Unbilled
			}
			e.RetryAfter = max(rules[i].Wait, wait(e.Kind, a, said))
			break
		}
	}
	return e
}

// wait returns the time that the provider asks to wait: what it says in a header made for
// that, else, of a refusal for a rate limit, in its sentence or by when the limit
// that is used up is full again.
func wait(kind providers.Kind, a Answer, said refusal) time.Duration {
	asked, ok := retryAfter(a.Header, a.At)
	if ok || kind != providers.RateLimited && kind != providers.ConcurrencyLimit {
		return asked
	}
	if said.retry > 0 {
		return said.retry
	}
	return resetAfter(a.Header, a.At)
}

// commonRules are the rules for everybody. The first that fits decides: first the
// words, which are more exact than the status they come with, then the status.
//
// Unbilled is all that a provider is sure not to charge, since it did no work: every
// 4xx, and the 5xx with which a provider itself says that it could not do it. A
// gateway's 502 and 504 and a 408 leave open how far the work got.
func commonRules() []Rule {
	const unknown = providers.BillingUnknown
	return slices.Concat(wordRules(), forbiddenRules(), []Rule{
		{Status: http.StatusUnauthorized, Kind: providers.Unauthorised},
		{Status: http.StatusPaymentRequired, Kind: providers.OutOfMoney},
		{Status: http.StatusNotFound, Kind: providers.NotFound},
		{Status: http.StatusMethodNotAllowed, Kind: providers.NotFound},
		{Status: http.StatusProxyAuthRequired, Kind: providers.AccessDenied},
		{Status: http.StatusRequestTimeout, Kind: providers.Timeout, Billing: unknown},
		{Status: http.StatusConflict, Kind: providers.Overloaded},
		{Status: http.StatusGone, Kind: providers.NotFound},
		{Status: http.StatusRequestEntityTooLarge, Kind: providers.TooLarge},
		{Status: http.StatusTooEarly, Kind: providers.Overloaded},
		{Status: http.StatusTooManyRequests, Kind: providers.RateLimited},
		{Status: http.StatusUnavailableForLegalReasons, Kind: providers.AccessDenied},
		{Status: 498, Kind: providers.Overloaded},                   // Groq: flex capacity
		{Status: 499, Kind: providers.Connection, Billing: unknown}, // a gateway lost us
		{Status: http.StatusInternalServerError, Kind: providers.Overloaded},
		{Status: http.StatusNotImplemented, Kind: providers.NotFound},
		{Status: http.StatusServiceUnavailable, Kind: providers.Overloaded},
		{Status: http.StatusGatewayTimeout, Kind: providers.Timeout, Billing: unknown},
		{Status: 524, Kind: providers.Timeout, Billing: unknown}, // Cloudflare's 504
		{Status: 2, Kind: providers.MalformedResponse, Billing: unknown},
		{Status: 3, Kind: providers.NotFound}, // redirects are not followed
		{Status: 4, Kind: providers.InvalidRequest},
		{Status: 5, Kind: providers.Overloaded, Billing: unknown}, // 502 and all others
	})
}

// wordRules go by words that mean the same whoever says them.
func wordRules() []Rule {
	return []Rule{
		// Out of money: OpenAI sends it as 429 or 400, xAI as 403.
		{Words: "insufficient_quota billing_hard_limit_reached billing_not_active insufficient_credits insufficient_balance blocked_api_access", Kind: providers.OutOfMoney},
		{Status: 4, Says: "insufficient balance|insufficient credit|insufficient funds|credit balance is too low|any credits yet|used all available credits|monthly spending limit|spend limit", Kind: providers.OutOfMoney},

		// Refused for its content, which is one request's matter whatever the status.
		{Words: "content_policy_violation content_moderation content_filter moderation_blocked ResponsibleAIPolicyViolation", Kind: providers.Moderated},
		{Status: http.StatusBadRequest, Says: contentWords, Kind: providers.Moderated},
		{Status: http.StatusForbidden, Says: contentWords, Kind: providers.Moderated},
		{Status: http.StatusUnprocessableEntity, Says: contentWords, Kind: providers.Moderated},

		// Larger than allowed, which waiting does not change.
		{Words: "context_length_exceeded string_above_max_length request_too_large", Kind: providers.TooLarge},

		// No such thing.
		{Words: "model_not_found not_found_error", Kind: providers.NotFound},

		// A key, whatever the status: Google says 400.
		{Words: "invalid_api_key API_KEY_INVALID authentication_error UNAUTHENTICATED", Kind: providers.Unauthorised},
		{Status: http.StatusBadRequest, Says: "api key not valid|invalid api key|incorrect api key", Kind: providers.Unauthorised},

		// The place or the account, whatever the status.
		{Words: "unsupported_country_region_territory account_deactivated organization_deactivated", Kind: providers.AccessDenied},
		{Status: http.StatusBadRequest, Says: "location is not supported|country, region, or territory|available in your country|available in your region", Kind: providers.AccessDenied},
		{Status: http.StatusUnauthorized, Says: accountWords, Kind: providers.AccessDenied},
	}
}

// forbiddenRules take a 403 apart, which says nothing by itself: it may be about
// the prompt (see wordRules), the model, the key, the account, or come from a
// firewall. What nobody knows is taken for the matter of one request: it fails, and
// stops nobody else.
func forbiddenRules() []Rule {
	const status = http.StatusForbidden
	return []Rule{
		{Status: status, Says: "to model|the model|this model|must be verified", Kind: providers.NotFound},
		{Status: status, Says: placeWords, Kind: providers.AccessDenied},
		{Status: status, Says: accountWords, Kind: providers.AccessDenied},
		{Status: status, Words: "permission_error permission_denied PERMISSION_DENIED missing_permissions", Kind: providers.Unauthorised},
		{Status: status, Says: "api key|api-key|apikey|missing scopes|insufficient permissions|authenticat|authoriz|access token|invalid token", Kind: providers.Unauthorised},
		{Status: status, Page: true, Kind: providers.AccessDenied},
		{Status: status, Kind: providers.InvalidRequest},
	}
}

const (
	contentWords = "was flagged|were flagged|been flagged|content moderation|moderation system|requires moderation|moderation policy|content policy|content management policy|content filter|content_filter" +
		"|usage policy|usage policies|usage guidelines|safety system|safety filter|safety policies|safety policy|safety reasons|prohibited content" +
		"|violates our|inappropriate content|sensitive content"
	placeWords = "country|your region|territory|your location|user location|ip address|ip not|firewall|virtual network|request not allowed|access denied by" +
		"|blocked by|security policy|cloudflare|vpn"
	accountWords = "account is not active|account has been|account is|account was|organization has been|organization is|organisation has been" +
		"|team is|team has been|workspace is|workspace has been|project is|project has been|user is suspended|user has been|unusual activity"
)
