package billing

import (
	"fmt"
	"time"
)

// LedgerError reports that a wallet's balance is not the sum of its ledger, which is an error
// of this program.
type LedgerError struct {
	Account      string
	Balance, Sum NanoUSD
}

func (e LedgerError) Error() string {
	return fmt.Sprintf("the wallet of account %s holds $%s, and its ledger sums up to $%s: please report it", e.Account, e.Balance, e.Sum)
}

// HourlyCost compares what the last hour cost with what is usual; real money only.
type HourlyCost struct {
	// Hours is the number of hours of the last week that cost something, and Usual the
	// median of them.
	Hours int
	Usual NanoUSD
	Last  NanoUSD
}

// Where the last hour is told of: there is something to compare it with, it is several
// times the usual, and no trifle.
const (
	unusualHours = 6
	unusualTimes = 3
	unusualLeast = USD
)

// Unusual reports whether the last hour cost far more than is usual.
func (h HourlyCost) Unusual() bool {
	return h.Hours >= unusualHours && h.Last >= unusualLeast && h.Last/unusualTimes >= h.Usual
}

// String says it.
func (h HourlyCost) String() string {
	return fmt.Sprintf("the last hour cost %s, %.1f times the usual %s: `enqueue cost --by account,provider,model --since 1h` shows for what",
		h.Last.Human(), float64(h.Last)/float64(max(h.Usual, 1)), h.Usual.Human())
}

// Reached is the share of the limit, in percent, that people are told of: 50, 80, 100, or
// 101 where a bill was above its reserve; 0: none. What is too little for the next call is
// used up.
func (b Budget) Reached() int {
	switch {
	case b.Limit <= 0:
		return 0
	case b.Spent > b.Limit && b.Blocks:
		return 101
	case b.Spent >= b.Limit, b.Stopped && b.Reserved == 0:
		return 100
	case b.Spent >= b.Limit/10*8:
		return 80
	case b.Spent >= b.Limit/2:
		return 50
	}
	return 0
}

// Span names the budget and its present period, such as "daily budget of $50.00 for all
// calls, from 2026-11-28": alerts of another period are others.
func (b Budget) Span() string {
	switch {
	case b.Wallet:
		return fmt.Sprintf("%s, %s paid in", b, b.Limit.Human())
	case b.Began.IsZero():
		return b.String()
	}
	began, layout := b.Began.UTC(), time.DateOnly
	if zone, err := time.LoadLocation(b.Zone); err == nil {
		began = b.Began.In(zone)
	}
	if b.Period == Hour {
		layout = "2006-01-02 15:04"
	}
	return b.String() + ", from " + began.Format(layout)
}
