package jobs

import "time"

// Alert tells people of a condition that lasts, from when it was noticed until it was over.
// It is reported when it opens, at each more severe level, and when it is over.
type Alert struct {
	ID int64 `json:"id"`
	// Kind is its sort: see AlertKinds.
	Kind string `json:"kind"`
	// Subject names what it is about; there is one open alert of a kind and subject.
	Subject string `json:"subject"`
	// Level rises with its severity: of a budget, the percentage that is spent.
	Level int `json:"level,omitempty"`
	// Text says it for people, with the way out where there is one.
	Text     string    `json:"text"`
	OpenedAt time.Time `json:"opened_at"`
	// ClosedAt is zero as long as it is open.
	ClosedAt time.Time `json:"closed_at,omitzero"`
}

// The kinds of alerts.
const (
	AlertBudget   = "budget"   // a share of a budget or wallet is spent
	AlertOverrun  = "overrun"  // a bill was above what was reserved for it
	AlertLedger   = "ledger"   // a wallet's balance is not the sum of its ledger
	AlertSpending = "spending" // an hour costs far more than is usual
	// A provider is not used: its breaker has been open for a while, its account is out of money,
	// or it asked to be left alone for long.
	AlertProvider = "provider"
	// Many jobs have failed, or nobody knows how they ended.
	AlertDeadLetters = "dead_letters"
	// Jobs wait that are due, and none ends.
	AlertQueue = "queue"
)

// AlertKinds lists the kinds of alerts.
func AlertKinds() []string {
	return []string{AlertBudget, AlertOverrun, AlertLedger, AlertSpending, AlertProvider, AlertDeadLetters, AlertQueue}
}
