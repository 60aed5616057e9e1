package billing

import (
	"fmt"
	"math"
	"time"
)

// Bound says how much is reserved for the calls of a model under a budget, and whether a
// bill was above it.
type Bound struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Percent of what the price list says is the most that a call can cost; 100 at first.
	Percent int `json:"percent"`
	// StoppedAt is the time of the bill that was above it, and Reserved and Cost are that
	// call's; zero: there was none since it was raised. Until then blocking budgets let no
	// call of the model through.
	StoppedAt time.Time `json:"stopped_at,omitzero"`
	Reserved  NanoUSD   `json:"reserved"`
	Cost      NanoUSD   `json:"cost"`
	By        string    `json:"by,omitempty"`
}

// Of is the amount that is reserved in place of one of the price list's.
func (b Bound) Of(n NanoUSD) NanoUSD {
	if b.Percent <= 100 {
		return n
	}
	if n > math.MaxInt64/NanoUSD(b.Percent) {
		return math.MaxInt64
	}
	return (n*NanoUSD(b.Percent) + 99) / 100
}

// enough is the percentage that would have been enough for the bill.
func (b Bound) enough() int {
	percent := max(b.Percent, 100)
	if b.Reserved <= 0 {
		return min(2*percent, maxBoundPercent)
	}
	return min(int(math.Ceil(float64(b.Cost)/float64(b.Reserved)*float64(percent)/10)*10), maxBoundPercent)
}

// String says what happened.
func (b Bound) String() string {
	return fmt.Sprintf("a bill of %s at %s was %s, above the %s that was reserved for it", b.Model, b.Provider, b.Cost.Human(), b.Reserved.Human())
}

// Command returns the command that raises it far enough.
func (b Bound) Command() string {
	return fmt.Sprintf("monitor budget bound %s %s %d", b.Provider, b.Model, b.enough())
}

// maxBoundPercent bounds what people type.
const maxBoundPercent = 100_000
