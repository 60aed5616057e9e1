package providers

import "time"

// WaitReason says what a request waits for before a provider may be asked.
type WaitReason string

// The reasons to wait.
const (
	// WaitForLimit: a limit of the provider is used up, see WaitError.Dimension.
	WaitForLimit WaitReason = "limit"
	// WaitForBlock: the provider asked everybody to wait.
	WaitForBlock WaitReason = "block"
	// WaitForBreaker: its circuit breaker is open, or as many calls as may be are on
	// trial to find out whether it works.
	WaitForBreaker WaitReason = "breaker"
	// WaitForOperator: an operator has disabled the provider, or holds its breaker open.
	WaitForOperator WaitReason = "unavailable"
	// WaitForKey: the provider has no API key.
	WaitForKey WaitReason = "no_key"
	// WaitForRedis: Redis, which keeps the limits, does not answer.
	WaitForRedis WaitReason = "redis"
	// WaitForLedger: Postgres took so long to record the call that its turn was over.
	WaitForLedger WaitReason = "postgres"
)

// WaitError says what a request waits for, and until when. It holds nothing of the
// request.
type WaitError struct {
	For WaitReason
	// Dimension is the limit that is used up; empty where For is another reason.
	Dimension Dimension
	// Since is the time at which the breaker opened; zero where that is not known.
	Since time.Time
	// Until is the time from which the provider may be asked again, as far as can be told: the next
	// slot, the end of the block, the breaker's next probe. Zero: nobody knows.
	Until time.Time
	// By is the operator who disabled the provider, where that is known.
	By string
}

// Error says it in one line, without the times.
func (w *WaitError) Error() string {
	switch w.For {
	case WaitForLimit:
		if w.Dimension == "" {
			return "its limits are used up"
		}
		return "its limit " + string(w.Dimension) + " is used up"
	case WaitForBlock:
		return "it asked to wait"
	case WaitForBreaker:
		if w.Since.IsZero() && w.Until.IsZero() {
			return "it has not answered yet, and enough calls are on trial"
		}
		return "its circuit breaker is open"
	case WaitForOperator:
		if w.By != "" {
			return "it is disabled by " + w.By
		}
		return "it is disabled by an operator"
	case WaitForKey:
		return "it has no API key"
	case WaitForRedis:
		return "no limit can be kept while Redis does not answer"
	case WaitForLedger:
		return "the ledger is too slow to call it in time"
	}
	return string(w.For)
}
