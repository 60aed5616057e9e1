package gemini

import (
	"net/http"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// rules say what Google's own words mean. A key that is not valid (sent as 400) and
// a place that is not served are among those that hold for everybody.
func rules() []wire.Rule {
	const limit = http.StatusTooManyRequests
	return []wire.Rule{
		{Says: "prepayment credits are depleted|spending cap|billing account is", Kind: providers.OutOfMoney},
		// A model that the account's plan does not hold: waiting does not change that.
		{Status: limit, Says: "limit: 0,|limit: 0 ", Kind: providers.NotFound},
		{Words: "RESOURCE_EXHAUSTED", Kind: providers.RateLimited},
		{Words: "SERVICE_DISABLED BILLING_DISABLED CONSUMER_SUSPENDED API_KEY_SERVICE_BLOCKED", Kind: providers.AccessDenied},
		{Words: "API_KEY_INVALID API_KEY_EXPIRED API_KEY_HTTP_REFERRER_BLOCKED API_KEY_IP_ADDRESS_BLOCKED", Kind: providers.Unauthorised},
		{Status: http.StatusBadRequest, Says: "api key expired|api key not found", Kind: providers.Unauthorised},
		{Says: "responsible ai practices|usage guidelines", Kind: providers.Moderated},
		{Says: "exceeds the maximum number of tokens|payload size exceeds", Kind: providers.TooLarge},
		{Words: "UNAVAILABLE", Status: http.StatusServiceUnavailable, Kind: providers.Overloaded},
	}
}
