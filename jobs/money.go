package jobs

import "oneflow/billing"

// Money is what calls have cost. Calls that no price is known for are counted,
// never taken as free.
type Money struct {
	Cost     billing.NanoUSD `json:"cost_usd"`
	Unpriced int64           `json:"unpriced_calls"`
}

// Each is what one of n had on average; ok is false where there is none, or where
// calls have no known price.
func (m Money) Each(n int64) (cost billing.NanoUSD, ok bool) {
	if n <= 0 || m.Unpriced > 0 {
		return 0, false
	}
	return m.Cost / billing.NanoUSD(n), true
}
