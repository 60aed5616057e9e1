package batches

import (
	"math"
	"slices"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// numberTokens is the number of tokens of the line that an answer begins with in a combined
// request.
const numberTokens = 4

// combined reports whether a prompt is asked for together with others.
func combined(r providers.Request) bool { return r.Task == providers.Text && r.PackSize() > 1 }

// combiningAdds returns how many tokens each of n prompts has more in one numbered request than
// alone: fewer than none, where a system prompt stands once in place of n times.
func combiningAdds(kind string, r providers.Request, n int) float64 {
	r.Prompt = "x"
	alone, _ := billing.EstimateTokens(kind, r)
	all, _ := billing.EstimateTokens(kind, providers.Pack(slices.Repeat([]providers.Request{r}, n)))
	return float64(all)/float64(n) - float64(alone)
}

// lastCombined keeps what the last row was told, since rows are alike.
type lastCombined struct {
	kind, model, system string
	n                   int
	adds                float64
}

// together makes the usage of a job that would be alone that of one whose prompt is combined
// with others. At most it is asked for alone, too.
func (f *Forecast) together(job jobs.New, low, expected, high providers.Usage) (l, e, h providers.Usage) {
	r, kind := job.Request, f.Kind(job.Provider)
	if is := (lastCombined{kind, r.Model, r.System, r.PackSize(), f.last.adds}); is != f.last {
		is.adds = combiningAdds(kind, r, r.PackSize())
		if d, _ := kinds.Of(kind); d.Tokenizer == "" {
			is.adds *= roughShare
		}
		f.last = is
	}
	more := func(n int64, share float64) int64 {
		return max(1, n+int64(math.Round(f.last.adds*share)))
	}
	low.InputTokens, expected.InputTokens = more(low.InputTokens, lowShare), more(expected.InputTokens, 1)
	expected.OutputTokens += numberTokens
	high.InputTokens, high.OutputTokens = 2*high.InputTokens+int64(math.Max(f.last.adds/roughShare, 0)), 2*high.OutputTokens+2*numberTokens
	return low, expected, high
}

// callsOf returns how much of a call a job is expected to take.
func (f *Forecast) callsOf(job jobs.New, used providers.Usage) float64 {
	n := job.Request.PackSize()
	if n <= 1 || job.Request.Task != providers.Embedding {
		return 1 / float64(n)
	}
	can, _ := kinds.CapabilitiesOf(f.Kind(job.Provider))
	task := can.Tasks[providers.Embedding]
	if n = min(n, task.Pack); n <= 1 {
		return 1
	}
	share := 1 / float64(n)
	if task.PackTokens > 0 {
		share = max(share, float64(used.InputTokens)/float64(task.PackTokens))
	}
	return min(share, 1)
}

// Combined reports whether its prompt was asked for together with others.
func (b Bought) Combined() bool { return b.Shared > 1 && b.Request.Task == providers.Text }

// SavedByCombining returns what a request would have cost more alone than in the call that it
// shared, at today's prices: below 0 where it would have cost less, and 0 where nobody knows.
// kind is the name that the price list has for the provider.
func (b Bought) SavedByCombining(prices *billing.List, kind string, at time.Time) billing.NanoUSD {
	if !b.Combined() {
		return 0
	}
	if b.Usage == (providers.Usage{}) {
		return -b.Cost // and it was asked alone, too
	}
	alone, _ := billing.EstimateTokens(kind, b.Request)
	each := float64(alone) + combiningAdds(kind, b.Request, b.Shared)
	used := b.Usage
	used.InputTokens = int64(math.Round(float64(used.InputTokens) * float64(alone) / max(each, 1)))
	used.OutputTokens = max(used.OutputTokens-numberTokens, 0)
	charge, err := prices.Cost(kind, b.Model, used, at)
	if err != nil || !charge.Priced {
		return 0
	}
	return charge.Amount - b.Cost
}
