package fleet

import (
	"slices"
	"time"

	"oneflow/jobs"
)

// Unfinished counts jobs that have not ended.
type Unfinished struct {
	Provider string
	Lane     jobs.Lane
	State    jobs.State
	Jobs     int64
}

// Ended counts jobs that have ended, each time one did: a job that a person brings back
// ends again.
type Ended struct {
	Provider string
	Lane     jobs.Lane
	State    jobs.State
	Jobs     int64
	// Started counts those that a worker had claimed, Waits counts them by the time that they
	// waited from when they were due to the first claim: Waits[i] is of those that waited
	// less than WaitBounds()[i] seconds and no less than the bound before; the last is of
	// those beyond. WaitSeconds is the sum.
	Started     int64
	Waits       []int64
	WaitSeconds float64
}

// WaitBounds lists the bounds, in seconds, by which the schema counts waits.
func WaitBounds() []float64 { return []float64{0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400} }

// WaitBucket returns the bucket of a wait: i where it is less than WaitBounds()[i] and no less
// than the bound before, their number beyond the last.
func WaitBucket(d time.Duration) int {
	bounds := WaitBounds()
	i, found := slices.BinarySearch(bounds, d.Seconds())
	if found {
		i++
	}
	return i
}

// LimiterWaits counts a provider's calls by the time that they waited for their slot in the
// limits: Calls[i] is of bucket i, see WaitBucket. Seconds is the sum.
type LimiterWaits struct {
	Calls   []int64
	Seconds float64
}

// Plus is the sum of both.
func (w LimiterWaits) Plus(o LimiterWaits) LimiterWaits {
	sum := LimiterWaits{Calls: make([]int64, len(WaitBounds())+1), Seconds: w.Seconds + o.Seconds}
	for _, one := range []LimiterWaits{w, o} {
		for i, n := range one.Calls {
			sum.Calls[i] += n
		}
	}
	return sum
}

// CallTotals are sums over calls.
type CallTotals struct {
	Models    map[ModelKey]ModelTotals
	Latencies map[string]Latencies
	// Reasons counts calls by why they were made.
	Reasons map[ReasonKey]int64
}

// ModelKey names a provider's model.
type ModelKey struct{ Provider, Model string }

// ReasonKey names a provider and why it was called: a billing.CallKind.
type ReasonKey struct{ Provider, Reason string }

// ModelTotals are the sums of a model's calls.
type ModelTotals struct {
	Succeeded, FailedUnbilled, FailedBilled, Unknown int64
	// RateLimited and Refused count calls among those: see Traffic.
	RateLimited, Refused      int64
	InputTokens, OutputTokens int64
	jobs.Money
}

// Latencies count a provider's calls by latency: those under 2^i - 1 ms, and no less than
// 2^(i-1) - 1 ms, by i.
type Latencies struct {
	Calls        map[int]int64
	Milliseconds int64
}

// Requests counts all calls.
func (t ModelTotals) Requests() int64 {
	return t.Succeeded + t.FailedUnbilled + t.FailedBilled + t.Unknown
}

// Plus is the sum, as far as it fits.
func (t ModelTotals) Plus(o ModelTotals) ModelTotals {
	return ModelTotals{
		Succeeded: t.Succeeded + o.Succeeded, FailedUnbilled: t.FailedUnbilled + o.FailedUnbilled,
		FailedBilled: t.FailedBilled + o.FailedBilled, Unknown: t.Unknown + o.Unknown,
		RateLimited: t.RateLimited + o.RateLimited, Refused: t.Refused + o.Refused,
		InputTokens: jobs.Sum(t.InputTokens, o.InputTokens), OutputTokens: jobs.Sum(t.OutputTokens, o.OutputTokens),
		Money: t.Money.Plus(o.Money),
	}
}

// NewCallTotals returns sums of nothing.
func NewCallTotals() CallTotals {
	return CallTotals{Models: map[ModelKey]ModelTotals{}, Latencies: map[string]Latencies{}, Reasons: map[ReasonKey]int64{}}
}

// Plus is the sum of both.
func (t CallTotals) Plus(o CallTotals) CallTotals {
	all := NewCallTotals()
	for _, one := range []CallTotals{t, o} {
		for k, m := range one.Models {
			all.Models[k] = all.Models[k].Plus(m)
		}
		for provider, l := range one.Latencies {
			has := all.Latencies[provider]
			if has.Calls == nil {
				has.Calls = map[int]int64{}
			}
			for i, n := range l.Calls {
				has.Calls[i] += n
			}
			has.Milliseconds = jobs.Sum(has.Milliseconds, l.Milliseconds)
			all.Latencies[provider] = has
		}
		for k, n := range one.Reasons {
			all.Reasons[k] += n
		}
	}
	return all
}

// Pressure says how much of a provider's limits is used now, and what holds it back.
type Pressure struct {
	// Wait is the time, in seconds, that a small call would wait for its slot.
	Wait float64
	// Blocked is the time, in seconds, for which it asked to be left alone.
	Blocked float64
	// Used are the shares of its limits that the fleet uses, by dimension; Limits are those in
	// force, where there are any.
	Used, Limits map[string]float64
}
