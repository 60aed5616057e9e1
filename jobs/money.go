package jobs

import (
	"fmt"
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

// Estimate holds the expected cost of jobs as they were accepted, real or simulated.
type Estimate struct {
	// Jobs is the number of jobs that it is of; the others have no known price.
	Jobs int64 `json:"jobs"`
	// Low, Expected and High bound what these cost; High is what their calls reserve.
	Low      billing.NanoUSD `json:"low_usd"`
	Expected billing.NanoUSD `json:"expected_usd"`
	High     billing.NanoUSD `json:"high_usd"`
}

// Plus is the sum, as far as it fits.
func (e Estimate) Plus(o Estimate) Estimate {
	return Estimate{
		Jobs:     Sum(e.Jobs, o.Jobs),
		Low:      billing.NanoUSD(Sum(int64(e.Low), int64(o.Low))),
		Expected: billing.NanoUSD(Sum(int64(e.Expected), int64(o.Expected))),
		High:     billing.NanoUSD(Sum(int64(e.High), int64(o.High))),
	}
}

// Human writes it for people, such as "$0.50 expected, $0.40 to $0.80"; of is the number of
// all jobs. It is empty where there is no estimate.
func (e Estimate) Human(of int64) string {
	if e.Jobs == 0 {
		return ""
	}
	text := e.Expected.Human() + " expected, " + e.Low.Human() + " to " + e.High.Human()
	if rest := of - e.Jobs; rest == 1 {
		text += ", and 1 job without an estimate"
	} else if rest > 1 {
		text += fmt.Sprintf(", and %d jobs without an estimate", rest)
	}
	return text
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
