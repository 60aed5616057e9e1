package fleet

import (
	"cmp"
	"math"
	"slices"

	"oneflow/providers"
)

// Candidate is a provider that may be the best for a task.
type Candidate struct {
	Provider string `json:"provider"`
	// Model is the one that it would be asked for.
	Model string `json:"model"`
	// Figures are of all its calls for the task.
	Figures Figures `json:"figures"`
	// Barred says why it is not to be chosen; empty: it may be.
	Barred string `json:"barred,omitempty"`
	// Mock tells that it makes things up: it is chosen only where nothing else can
	// be.
	Mock bool `json:"mock,omitempty"`
}

// Rank puts the best first: by success rate (in whole percents), then latency (p50,
// in steps of a tenth), then price of a call, unpriced last. What has had fewer
// than 10 calls cannot be judged: it comes after those that do well, in the order
// in which the candidates were handed in, and before those of which fewer than
// 80 % succeeded. Those that are barred come last.
func Rank(list []Candidate) {
	slices.SortStableFunc(list, func(a, b Candidate) int {
		if c := cmp.Compare(a.class(), b.class()); c != 0 || !a.Judged() {
			return c
		}
		ra, _ := a.Figures.SuccessRate()
		rb, _ := b.Figures.SuccessRate()
		return cmp.Or(
			cmp.Compare(math.Round(100*rb), math.Round(100*ra)),
			cmp.Compare(step(a.Figures.P50), step(b.Figures.P50)),
			a.comparePrice(b),
		)
	})
}

// class is 0 for those that do well; a higher one comes later.
func (c Candidate) class() int {
	rate, ok := c.Figures.SuccessRate()
	switch {
	case c.Barred != "":
		return 4
	case c.Mock:
		return 3
	case !c.Judged():
		return 1
	case ok && rate < degradedUnder:
		return 2
	}
	return 0
}

// Judged tells whether it had calls enough to be judged.
func (c Candidate) Judged() bool {
	return c.Figures.Requests-c.Figures.RateLimited-c.Figures.Refused >= enough
}

// step makes latencies that differ by less than about a tenth equal.
func step(ms int64) float64 {
	return math.Round(math.Log(float64(max(ms, 1))) / math.Log(1.1))
}

func (c Candidate) comparePrice(d Candidate) int {
	a, okA := c.Figures.Each(c.Figures.Succeeded)
	b, okB := d.Figures.Each(d.Figures.Succeeded)
	switch {
	case okA && okB:
		return cmp.Compare(a, b)
	case okA:
		return -1
	case okB:
		return 1
	}
	return 0
}

// Bars returns why a provider that stands so is not to be chosen; empty if it may
// be.
func (h Health) Bars() string {
	switch {
	case h.Status == providers.Unavailable:
		return h.Reason
	case h.Breaker.Held == "" && h.Breaker.State == providers.BreakerOpen, !h.BlockedUntil.IsZero():
		return h.Reason
	}
	return ""
}
