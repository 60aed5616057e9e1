// Package overview is what the monitor shows: newest batches, providers, workers
// and totals, and one batch in detail. It stands apart from package monitor so
// that the store, and with it every command, does not link a web interface. It
// may import jobs, billing and providers.
package overview

import (
	"context"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
)

const (
	// MaxBatches is how many batches are shown, the newest.
	MaxBatches = 50
	// MaxWaiting is up to where unfinished jobs are counted.
	MaxWaiting = 100_000
	// Recent is the time that a provider's figures are about.
	Recent = 5 * time.Minute
	// Minutes is how many minutes a provider's curve has.
	Minutes = 30
	// Silence is how long a worker may go without a heartbeat before it is shown
	// as silent. Its jobs are taken over at about the same time.
	Silence = 15 * time.Second
)

// Store reads what is shown. Each method is a bounded read of its own: none is
// called once a batch or once a provider.
type Store interface {
	// NewestBatches returns up to limit batches, the newest first, without their
	// tallies.
	NewestBatches(ctx context.Context, limit int) ([]Batch, error)
	// Tallies counts the jobs of batches by state. Each id is there, also that of
	// a batch without jobs.
	Tallies(ctx context.Context, ids []string) (map[string]Tally, error)
	// Fleet reads providers, workers and totals.
	Fleet(ctx context.Context) (Fleet, error)
	// BatchDetail reads one batch. It fails with jobs.ErrNotFound.
	BatchDetail(ctx context.Context, id string) (Detail, error)
}

// Overview is what happens now.
type Overview struct {
	At time.Time `json:"at"`
	Fleet
	Batches []Batch `json:"batches"`
}

// Money is what calls have cost. Calls that no price is known for are counted,
// never taken as free.
type Money struct {
	Cost     billing.NanoUSD `json:"cost_usd"`
	Unpriced int64           `json:"unpriced_calls"`
}

// Tally is how many jobs are in each state, and what they cost.
type Tally struct {
	Counts map[jobs.State]int64 `json:"counts"`
	Money
	// LastFinished is when the last job finished so far; zero if none has.
	LastFinished time.Time `json:"last_finished_at,omitzero"`
}

// Batch is a batch and where it stands.
type Batch struct {
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Account     string    `json:"account"`
	State       string    `json:"state"`
	CreatedAt   time.Time `json:"created_at"`
	SealedAt    time.Time `json:"sealed_at,omitzero"`
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	PausedAt    time.Time `json:"paused_at,omitzero"`
	Tally
	// PerSecond is how many of its jobs finish a second just now; 0 while that
	// is not known.
	PerSecond float64 `json:"per_second"`
}

// Total is the number of jobs.
func (t Tally) Total() int64 { return t.progress().Total() }

// Done is the number of jobs that have finished, in whatever way.
func (t Tally) Done() int64 { return t.progress().Done() }

// Failures is the number of jobs that have finished without a result and that
// nobody cancelled.
func (t Tally) Failures() int64 { return t.progress().Failures() }

func (t Tally) progress() jobs.Progress { return jobs.Progress{Counts: t.Counts} }

// Finished tells whether nothing will change any more.
func (b Batch) Finished() bool {
	return b.State == jobs.BatchFinished || b.State == jobs.BatchCancelled
}

// stateNow is the state that follows from what is known of the batch and its jobs.
func (b Batch) stateNow() string {
	return jobs.BatchState(!b.SealedAt.IsZero(), !b.PausedAt.IsZero(), !b.CancelledAt.IsZero(), b.Done() == b.Total())
}

// Left is how long the rest takes at the present rate; 0 where that is not known.
func (b Batch) Left() time.Duration {
	left := b.Total() - b.Done()
	if b.PerSecond <= 0 || left <= 0 {
		return 0
	}
	return time.Duration(float64(left) / b.PerSecond * float64(time.Second))
}

// Fleet is everything that is not about one batch.
type Fleet struct {
	Totals    Totals     `json:"totals"`
	Providers []Provider `json:"providers"`
	Workers   []Worker   `json:"workers"`
}

// Totals are sums over everything.
type Totals struct {
	// Unfinished is how many jobs have not finished, running ones included. It
	// is MaxWaiting where there are more, and More is set.
	Unfinished int64 `json:"unfinished_jobs"`
	More       bool  `json:"more_unfinished_jobs"`
	Running    int64 `json:"running_jobs"`
	// Day is the last 24 hours.
	Day Traffic `json:"last_24h"`
}

// Traffic is what was called, and how it went.
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
	Money
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
	// Concurrency is how many calls one worker makes at once.
	Concurrency int `json:"concurrency_per_worker"`
	// Workers is how many live workers serve it.
	Workers int `json:"workers"`
	// Traffic is that of the Recent time.
	Traffic Traffic `json:"last_5m"`
	// P50 and P95 are latencies in the Recent time, in milliseconds: the means of
	// the minutes' percentiles, by number of calls.
	P50 int64 `json:"latency_ms_p50"`
	P95 int64 `json:"latency_ms_p95"`
	// Curve is the number of requests in each of the last minutes, the oldest
	// first; the last minute is not over yet.
	Curve []int64 `json:"requests_per_minute"`
}

// Used is the share of the limit that was used in the last full minute; ok is
// false where there is no limit.
func (p Provider) Used() (share float64, ok bool) {
	if p.Limits.RPM == 0 || len(p.Curve) < 2 {
		return 0, false
	}
	return float64(p.Curve[len(p.Curve)-2]) / float64(p.Limits.RPM), true
}

// Worker is a worker that has not stopped.
type Worker struct {
	ID        string    `json:"id"`
	Host      string    `json:"host"`
	PID       int       `json:"pid"`
	Providers []string  `json:"providers"`
	StartedAt time.Time `json:"started_at"`
	// SilentFor is the time since its last heartbeat.
	SilentFor time.Duration `json:"-"`
	Alive     bool          `json:"alive"`
	Running   int64         `json:"running_jobs"`
}

// Alive is the number of live workers.
func (f Fleet) Alive() int {
	n := 0
	for _, w := range f.Workers {
		if w.Alive {
			n++
		}
	}
	return n
}

// Detail is one batch.
type Detail struct {
	At time.Time `json:"at"`
	Batch
	// Models is what was called for it.
	Models []ModelUse `json:"models"`
	// Problems are the reasons why jobs failed or wait for another attempt, the
	// most frequent first.
	Problems []Problem `json:"problems"`
}

// ModelUse is what a batch had of one model.
type ModelUse struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Calls    int64  `json:"calls"`
	// Succeeded counts calls that brought an answer.
	Succeeded    int64 `json:"succeeded"`
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	Money
}

// Problem is a reason for which jobs did not succeed.
type Problem struct {
	State jobs.State `json:"state"`
	Class string     `json:"class"`
	Jobs  int64      `json:"jobs"`
	// JobID, Message and At are those of the latest of them.
	JobID   string    `json:"job_id"`
	Message string    `json:"message"`
	At      time.Time `json:"at,omitzero"`
}
