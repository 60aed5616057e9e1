package limiter

import (
	"time"

	"oneflow/providers"
)

// maxTokens bounds what one call may be said to use or to have used.
const maxTokens = 100_000_000

// dimension is one thing that is limited over a window, as the scripts take it. What
// counts calls in flight is no such thing: calls take permits for that.
type dimension struct {
	name   providers.Dimension
	counts providers.Measure
	window time.Duration
	limit  int64
	demand int64
	others bool // it is believed what headers say of others' use
}

// How the scripts treat a dimension, as a sum of these.
const (
	ofTokens = 1 // of tokens, which are settled when the answer is there
	paced    = 2 // calls are spread over the window
	counted  = 4 // what was given out in the window is counted
)

// dimensions returns those that the settings limit. A call that asks for more than a
// limit takes all of it: the provider may know better.
func (l *Limiter) dimensions(s Settings, demand Demand) []dimension {
	var dims []dimension
	for _, name := range providers.Dimensions() {
		d := dimension{name: name, counts: name.Counts(), window: name.Window(), limit: s.Limits.Of(name), others: !s.pinned(name)}
		if d.limit <= 0 || d.window == 0 {
			continue
		}
		d.limit = min(d.limit, maxTokens)
		d.demand = min(demand.of(d.counts), d.limit)
		margin := time.Duration(float64(d.window) * l.cfg.Margin)
		d.window += min(max(margin, 50*time.Millisecond), 10*time.Second)
		dims = append(dims, d)
	}
	return dims
}

// of returns what the demand is of what is counted.
func (c Demand) of(what providers.Measure) int64 {
	in, out := max(c.InputTokens, 0), max(c.OutputTokens, 0)
	switch what {
	case providers.CountsRequests, providers.CountsInFlight:
		return 1
	case providers.CountsTokens:
		return in + out
	case providers.CountsInput:
		return in
	case providers.CountsOutput:
		return out
	}
	return 0
}

// used returns what usage says of what the dimension counts.
func (d dimension) used(usage providers.Usage) int64 {
	// Input that was read from a cache counts with OpenAI and not with Anthropic.
	in, out := usage.TotalInput(), usage.TotalOutput()
	switch d.counts {
	case providers.CountsTokens:
		return in + out
	case providers.CountsInput:
		return in - usage.CachedInputTokens
	case providers.CountsOutput:
		return out
	case providers.CountsRequests, providers.CountsInFlight:
	}
	return 0
}

func (d dimension) tokens() bool { return d.counts != providers.CountsRequests }

// args are the places that a dimension takes among the arguments of a script.
func (d dimension) args() []any {
	how := 0
	if d.tokens() {
		how += ofTokens
	}
	if d.name.Window() < time.Hour {
		how += paced // a day's may be used in an hour
	}
	if d.name.Window() >= time.Minute {
		how += counted
	}
	return []any{string(d.name), d.window.Microseconds(), d.limit, d.demand, how}
}
