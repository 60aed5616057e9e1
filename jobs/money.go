package jobs

import (
	"math"

	"oneflow/billing"
)

// Money is the cost of calls. Calls that no price is known for are counted,
// never taken as free.
type Money struct {
	Cost billing.NanoUSD `json:"cost_usd"`
	// Simulated is the cost that calls of mocks and fakes would have had: no part of Cost.
	Simulated billing.NanoUSD `json:"simulated_cost_usd"`
	Unpriced  int64           `json:"unpriced_calls"`
}

// Plus is the sum, as far as it fits.
func (m Money) Plus(o Money) Money {
	return Money{
		Cost:      billing.NanoUSD(Sum(int64(m.Cost), int64(o.Cost))),
		Simulated: billing.NanoUSD(Sum(int64(m.Simulated), int64(o.Simulated))),
		Unpriced:  Sum(m.Unpriced, o.Unpriced),
	}
}

// Sum is a + b, as far as it fits: what counts use must not become negative by it.
func Sum(a, b int64) int64 {
	switch c := a + b; {
	case a > 0 && b > 0 && c < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && c >= 0:
		return math.MinInt64
	default:
		return c
	}
}

// Each returns what one of n calls had on average, real or simulated. Those without a known
// price are left out of it; ok is false where no other is left.
func (m Money) Each(n int64) (cost billing.NanoUSD, ok bool) {
	if n -= m.Unpriced; n <= 0 {
		return 0, false
	}
	return m.Plus(Money{Cost: m.Simulated}).Cost / billing.NanoUSD(n), true
}

// Projected returns the cost of all jobs, real or simulated, if the rest cost what the done of them
// did; ok is false where none has ended, all have, or calls have no known price.
func (m Money) Projected(done, all int64) (cost billing.NanoUSD, ok bool) {
	spent := m.Plus(Money{Cost: m.Simulated}).Cost
	if done <= 0 || done >= all || spent <= 0 || m.Unpriced > 0 {
		return 0, false
	}
	estimate := float64(spent) / float64(done) * float64(all)
	return billing.NanoUSD(estimate), estimate < math.MaxInt64
}
