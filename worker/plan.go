package worker

import (
	"cmp"
	"math"
	"time"

	"oneflow/jobs"
	"oneflow/providers"
)

// Capacity holds what the fleet has seen of one provider.
type Capacity struct {
	// Workers are live and serve it.
	Workers int
	// Calls is the number of succeeded calls that the fields below are drawn from.
	Calls int
	// Latency is the time that 9 of 10 of them took at most.
	Latency time.Duration
	// MeanLatency is the time that they took on average.
	MeanLatency time.Duration
	// InputTokens and OutputTokens are a call's, on average.
	InputTokens, OutputTokens float64
	// By holds the same of each model's calls, and once it went through InClasses of each class
	// of models: the calls of one may take minutes where those of another take a moment.
	By map[string]Capacity
	// Queued are the models that its jobs in Redis ask for, where models have limits of their own.
	Queued []string
}

// InClasses returns c by classes, of which models has those of the models that were met.
func (c Capacity) InClasses(models map[string]string) Capacity {
	by := map[string]Capacity{}
	for model, own := range c.By {
		if class, met := models[model]; met {
			by[class] = by[class].plus(own)
		}
	}
	c.By = by
	return c
}

// plus joins what was seen of two models of a class.
func (c Capacity) plus(other Capacity) Capacity {
	sum := Capacity{Calls: c.Calls + other.Calls, Latency: max(c.Latency, other.Latency)}
	if sum.Calls == 0 {
		return sum
	}
	a, b := float64(c.Calls)/float64(sum.Calls), float64(other.Calls)/float64(sum.Calls)
	sum.MeanLatency = time.Duration(a*float64(c.MeanLatency) + b*float64(other.MeanLatency))
	sum.InputTokens, sum.OutputTokens = a*c.InputTokens+b*other.InputTokens, a*c.OutputTokens+b*other.OutputTokens
	return sum
}

// of returns what has been seen of a class. Too few calls of its own tell only of a latency beyond
// that of all calls of the provider.
func (c Capacity) of(class string) Capacity {
	own := c.By[class]
	own.Workers = c.Workers
	switch {
	case own.Calls >= enoughCalls:
		return own
	case own.Calls > 0 && own.MeanLatency > c.MeanLatency:
		c.Calls, c.Latency, c.MeanLatency = enoughCalls, max(own.Latency, c.Latency), own.MeanLatency
	}
	return c
}

// Plan is the number of a provider's jobs that run at once, with the reason.
type Plan struct {
	Provider string
	// Limits are those in force.
	Limits providers.Limits
	// Latency is the time that 9 of 10 calls take at most.
	Latency time.Duration
	// Measured reports whether Latency comes from the ledger, and not from the
	// configuration.
	Measured bool
	// Workers share the provider.
	Workers int
	// Share is the number of its jobs that one worker runs at once.
	Share int
	// Wanted is the Share that its limits ask for, where it is a class of models that has less
	// because others need the rest; what they do not use is lent to it.
	Wanted int
	// Tasks is the number of tasks that it has in hand at once, most of which may wait; 0:
	// Share.
	Tasks int
	// High is the number of jobs of the high lane that a worker runs on top of that.
	High int
	// JobsPerMinute is to be expected of the whole fleet; 0: as much as one wants,
	// which does not happen.
	JobsPerMinute float64
	// Binds names what keeps it from being more: the unit of a limit, or one of the Binds constants.
	Binds string
}

// chunk returns the number of its jobs that one task of the bulk lane carries: what one
// worker does in jobs.ChunkTime, from 1 to jobs.MaxChunk. Where the provider limits how
// many calls are under way it is 1, as each waits for a permit.
func (p Plan) chunk() int {
	if p.Limits.Concurrent > 0 {
		return 1
	}
	return int(min(max(p.perSecond()*jobs.ChunkTime.Seconds(), 1), jobs.MaxChunk))
}

// perSecond is the number of its jobs that one worker does in a second.
func (p Plan) perSecond() float64 {
	rate := float64(p.Share) / (p.Latency + handling).Seconds()
	if p.JobsPerMinute > 0 {
		rate = min(rate, p.JobsPerMinute/60/float64(max(p.Workers, 1)))
	}
	return rate
}

// reserve is the number of its jobs that last one worker for a time, and 2 at least.
func (p Plan) reserve(lasts time.Duration) int {
	return max(2, int(math.Ceil(p.perSecond()*lasts.Seconds())))
}

// window returns the number of its jobs that a queue of its own may hold in Redis: what the
// fleet does in a minute, in the bounds of jobs.Window.
func (p Plan) window() int { return jobs.Window(int64(math.Ceil(max(p.JobsPerMinute, 1) / 5))) }

// Fleet returns the number of the provider's jobs that all workers run at once.
func (p Plan) Fleet() int { return p.Share * p.Workers }

// What keeps a provider from more jobs a minute, beside the units of its limits.
const (
	// BindsConfigured: the concurrency that the configuration fixes.
	BindsConfigured = "configured"
	// BindsMax: the most that one worker may run at once.
	BindsMax = "max"
	// BindsUnlimited: nothing is limited, and the fleet runs what it runs then.
	BindsUnlimited = "no limit"
)

const (
	// defaultMax is the most that one worker runs at once where nothing else is
	// said, and unlimitedShare what it runs of a provider without limits.
	defaultMax     = 256
	unlimitedShare = 64
	// defaultLatency is used where neither the ledger nor the
	// configuration knows.
	defaultLatency = time.Second
	// handling is the time that a job takes besides its call: claim, ledger, commit,
	// acknowledgement.
	handling = 80 * time.Millisecond
	// enoughCalls is the number of calls that tell a latency.
	enoughCalls = 10
)

// NewPlan computes how many handlers use a limit up. By Little's law, rate times
// latency are busy. On top of those come some that wait for the limiter, so that
// no slot goes by while another handler fetches its job, or while calls happen to
// take longer: a quarter, and at least four, and one a worker.
func NewPlan(s Served, l providers.Limits, c Capacity) Plan {
	p := Plan{Provider: s.Name, Limits: l, Latency: s.Latency, Workers: max(c.Workers, 1)}
	if p.Latency <= 0 {
		p.Latency = defaultLatency
	}
	mean := p.Latency
	if c.Calls >= enoughCalls {
		p.Measured, p.Latency, mean = true, c.Latency, c.MeanLatency
	}
	most := s.Max
	if most <= 0 {
		most = defaultMax
	}
	rate, binds := tightest(l, c, mean)
	switch {
	case s.Concurrency > 0:
		p.Share = s.Concurrency
	case binds == "":
		p.Share = min(max(unlimitedShare, s.Min), most)
	default:
		busy := rate / 60 * (max(p.Latency, mean) + handling).Seconds()
		if l.Concurrent > 0 {
			busy = min(busy, float64(l.Concurrent))
		}
		fleet := math.Ceil(busy) + max(4, math.Ceil(busy/4), float64(p.Workers))
		// A share beyond any max need not be exact, and must not overflow.
		p.Share = int(min(math.Ceil(fleet/float64(p.Workers)), math.MaxInt32))
		p.Share = min(max(p.Share, s.Min, 1), most)
	}
	p.High = max(2, p.Share/4)

	p.JobsPerMinute, p.Binds = rate, binds
	if able := float64(p.Fleet()) / (mean + handling).Minutes(); binds == "" || able < rate {
		p.JobsPerMinute = able
		switch {
		case s.Concurrency > 0:
			p.Binds = BindsConfigured
		case binds == "" && p.Share < most:
			p.Binds = BindsUnlimited
		default:
			p.Binds = BindsMax
		}
	}
	return p
}

// NewPlans computes plans for a provider whose models have limits of their own, by class, beside
// those of all its calls together: for the whole, and for each class. What the classes ask
// for beyond what may run at once is taken from each in proportion; a configured concurrency is
// shared out to the last, whatever the limits.
func NewPlans(s Served, total providers.Limits, classes map[string]providers.Limits, c Capacity) (whole Plan, each map[string]Plan) {
	whole, each = NewPlan(s, total, c), make(map[string]Plan, len(classes))
	alone, sum := s, 0
	alone.Concurrency, alone.Min = 0, 0
	for class, limits := range classes {
		p := NewPlan(alone, limits, c.of(class))
		each[class], sum = p, sum+p.Share
	}
	if most := cmp.Or(s.Max, defaultMax); s.Concurrency == 0 && sum > whole.Share {
		whole.Share = min(sum, most)
		whole.High = max(2, whole.Share/4)
	}
	for class, p := range each {
		p.Wanted = p.Share
		if sum > whole.Share || s.Concurrency > 0 {
			p.Share = max(1, p.Share*whole.Share/sum)
		}
		whole.Tasks += 2 * (p.Share + p.reserve(handTime))
		each[class] = p
	}
	whole.Tasks = max(whole.Tasks, whole.Share) + spareTasks
	return whole, each
}

// tightest is the limit that allows the fewest jobs a minute, or an empty string.
// A limit a day is left out: what it allows may be used in an hour.
func tightest(l providers.Limits, c Capacity, mean time.Duration) (jobsPerMinute float64, binds string) {
	jobsPerMinute = math.Inf(1)
	tokens := 0.
	if c.Calls >= enoughCalls {
		tokens = 1
	}
	each := map[providers.Measure]float64{
		providers.CountsRequests: 1, providers.CountsTokens: tokens * (c.InputTokens + c.OutputTokens),
		providers.CountsInput: tokens * c.InputTokens, providers.CountsOutput: tokens * c.OutputTokens,
	}
	for _, d := range providers.Dimensions() {
		n, cost, minutes := float64(l.Of(d)), each[d.Counts()], d.Window().Minutes()
		if d.Counts() == providers.CountsInFlight {
			cost, minutes = 1, mean.Minutes()
		}
		if n > 0 && cost > 0 && minutes < 60 && n/cost/minutes < jobsPerMinute {
			jobsPerMinute, binds = n/cost/minutes, d.Unit()
		}
	}
	return jobsPerMinute, binds
}
