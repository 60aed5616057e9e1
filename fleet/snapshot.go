package fleet

import (
	"time"

	"oneflow/jobs"
)

const (
	// MaxUnfinished is up to where unfinished jobs are counted.
	MaxUnfinished = 20_000
	// MaxQueued is up to where the jobs of a queue are counted.
	MaxQueued = 2_000
	// Recent is the time that a provider's figures are about.
	Recent = 5 * time.Minute
	// Minutes is the number of minutes of a provider's curve.
	Minutes = 30
	// Silence is the time that a worker may go without a heartbeat before it is shown
	// as silent. Its jobs are taken over at about the same time.
	Silence = jobs.Silence
)

// Snapshot is everything that is not about one batch.
type Snapshot struct {
	Totals Totals `json:"totals"`
	// Queues are those that have jobs, by provider and lane.
	Queues    []Queue    `json:"queues"`
	Providers []Provider `json:"providers"`
	Workers   []Worker   `json:"workers"`
	// Activity is that of the last hour, minute by minute, the oldest first; the last minute is
	// not over yet.
	Activity []Minute `json:"activity"`
}

// Minute holds what has ended in a minute.
type Minute struct {
	At time.Time `json:"at"`
	// Succeeded and Failed count jobs, those that expired or whose outcome is unknown among the failed.
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	// Money is that of calls.
	jobs.Money
}

// LatencyPoint holds the latencies of answers that came in a step of time, in milliseconds.
type LatencyPoint struct {
	At    time.Time
	Calls int64
	P50   int64
	P95   int64
}

// Totals are sums over everything.
type Totals struct {
	// Unfinished counts the jobs that have not finished, running ones included. It
	// is MaxWaiting where there are more, and More is set.
	Unfinished int64 `json:"unfinished_jobs"`
	More       bool  `json:"more_unfinished_jobs"`
	Running    int64 `json:"running_jobs"`
	// PerMinute counts the jobs that ended in a minute, on average over the Recent time; those
	// that were cancelled are left out.
	PerMinute float64 `json:"jobs_per_minute"`
	// Day is the last 24 hours.
	Day Traffic `json:"last_24h"`
	// Today is the money of this day in UTC, and Hour that of the last 60 minutes.
	Today jobs.Money `json:"today"`
	Hour  jobs.Money `json:"last_hour"`
}

// Queue is a provider's lane.
type Queue struct {
	Provider string    `json:"provider"`
	Lane     jobs.Lane `json:"lane"`
	// Waiting counts the jobs that wait in Postgres and are not paused, and Delivered those that
	// wait in Redis, each up to MaxQueued.
	Waiting   int64 `json:"waiting_jobs"`
	Delivered int64 `json:"delivered_jobs"`
	Running   int64 `json:"running_jobs"`
}

// More reports whether there are more than were counted.
func (q Queue) More() bool { return max(q.Waiting, q.Delivered) >= MaxQueued }

// Unfinished is the number of its jobs that have not finished.
func (q Queue) Unfinished() int64 { return q.Waiting + q.Delivered + q.Running }

// Traffic counts calls by outcome.
type Traffic struct {
	Requests  int64 `json:"requests"`
	Succeeded int64 `json:"succeeded"`
	// RateLimited counts calls that were refused for a rate: neither a success
	// nor a failure.
	RateLimited int64 `json:"rate_limited"`
	// Refused counts calls that were refused for what was asked, or that we gave
	// up: no failure of the provider's either.
	Refused int64 `json:"refused"`
	// Unknown counts calls of which nobody knows how they ended.
	Unknown      int64 `json:"unknown"`
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	jobs.Money
}

// SuccessRate is the share of successes among the calls that the provider should
// have answered; ok is false when there were none.
func (t Traffic) SuccessRate() (rate float64, ok bool) {
	n := t.Requests - t.RateLimited - t.Refused
	if n <= 0 {
		return 0, false
	}
	return float64(t.Succeeded) / float64(n), true
}

// Provider is a provider and how it does.
type Provider struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Standing
	// Concurrency is the number of calls that one worker makes at once.
	Concurrency int `json:"concurrency_per_worker"`
	// Workers is the number of live workers that serve it.
	Workers int `json:"workers"`
	// Traffic is that of the Recent time.
	Traffic Traffic `json:"last_5m"`
	// P50 and P95 are latencies in the Recent time, in milliseconds, within 9 %.
	P50 int64 `json:"latency_ms_p50"`
	P95 int64 `json:"latency_ms_p95"`
	// Curve is the number of requests in each of the last minutes, the oldest
	// first; the last minute is not over yet.
	Curve []int64 `json:"requests_per_minute"`
}

// Used is the share of the limit that was used in the last full minute; ok is
// false where there is no limit.
func (p Provider) Used() (share float64, ok bool) {
	limit := p.PerMinute()
	if limit == 0 || len(p.Curve) < 2 {
		return 0, false
	}
	return float64(p.Curve[len(p.Curve)-2]) / float64(limit), true
}

// Worker is a worker that has not stopped.
type Worker struct {
	ID        string   `json:"id"`
	Host      string   `json:"host"`
	PID       int      `json:"pid"`
	Providers []string `json:"providers"`
	// Slots is the number of jobs that it runs at once, those of the high lane not counted.
	Slots int `json:"slots"`
	// Version says which build it is.
	Version   string    `json:"version,omitempty"`
	StartedAt time.Time `json:"started_at"`
	// SilentFor is the time since its last heartbeat.
	SilentFor time.Duration `json:"-"`
	Alive     bool          `json:"alive"`
	Running   int64         `json:"running_jobs"`
}

// Alive is the number of live workers.
func (f Snapshot) Alive() int {
	n := 0
	for _, w := range f.Workers {
		if w.Alive {
			n++
		}
	}
	return n
}
