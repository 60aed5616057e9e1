package jobs

import (
	"time"

	"oneflow/billing"
)

// Progress counts the jobs of a batch, or a single job, by state.
type Progress struct {
	// BatchID is empty for a single job.
	BatchID string
	// JobID is empty for a batch.
	JobID string
	// Steps are the batches of a pipeline's steps, in their order; none: it is no pipeline.
	Steps []string
	// Webhook reports whether an application is told of the batch.
	Webhook bool
	// State is a job's state, or for a batch: "open" (rows are coming in),
	// "running", "paused", "finished", "partial", "cancelling", "cancelled"
	// or "removed".
	State string
	// Paused reports whether somebody holds it back.
	Paused bool
	// Counts says how many jobs are in each state; every state is there.
	Counts map[State]int64
	// Cost is the cost of all calls, calls with unknown outcome at their
	// reserved price.
	Cost billing.NanoUSD
	// Simulated is the cost that calls of mocks and fakes would have had: no part of Cost.
	Simulated billing.NanoUSD
	// Charge is the money that the account is charged for these calls: the cost, unless it has
	// a rate card.
	Charge billing.NanoUSD
	// Unpriced is the number of calls that no price is known for.
	Unpriced int64
	// Estimate holds the expected cost of a batch as its jobs were accepted.
	Estimate Estimate
	// ErrorClass and ErrorMessage say why a single job failed.
	ErrorClass, ErrorMessage string
	CreatedAt                time.Time
	// FinishedAt is zero until everything has finished.
	FinishedAt time.Time
}

// Total is the number of jobs.
func (p Progress) Total() int64 {
	var n int64
	for _, c := range p.Counts {
		n += c
	}
	return n
}

// Done is the number of jobs that have finished, in whatever way.
func (p Progress) Done() int64 {
	var n int64
	for s, c := range p.Counts {
		if s.Finished() {
			n += c
		}
	}
	return n
}

// Failures is the number of jobs that have finished without a result and that
// nobody cancelled.
func (p Progress) Failures() int64 {
	return p.Counts[Failed] + p.Counts[Expired] + p.Counts[Unknown]
}

// Finished reports whether nothing will change any more.
func (p Progress) Finished() bool {
	if p.JobID != "" {
		return State(p.State).Finished()
	}
	return BatchEnded(p.State)
}

// The states of a batch.
const (
	BatchOpen       = "open"
	BatchRunning    = "running"
	BatchFinished   = "finished" // all its jobs have ended, and none failed
	BatchPartial    = "partial"  // all its jobs have ended, and some failed
	BatchPaused     = "paused"
	BatchCancelling = "cancelling"
	BatchCancelled  = "cancelled"
	BatchRemoved    = "removed" // its jobs and results were removed
)

// BatchEnded reports whether nothing changes any more in a batch of this state.
func BatchEnded(state string) bool {
	return state == BatchFinished || state == BatchPartial || state == BatchCancelled || state == BatchRemoved
}

// BatchState is the state that follows from what was done to a batch, and from how
// many of its jobs are in each state.
func BatchState(sealed, paused, cancelled bool, counts map[State]int64) string {
	p := Progress{Counts: counts}
	allDone := p.Done() == p.Total()
	switch {
	case cancelled && allDone:
		return BatchCancelled
	case cancelled:
		return BatchCancelling
	case sealed && allDone && p.Failures() > 0:
		return BatchPartial
	case sealed && allDone:
		return BatchFinished
	case paused:
		return BatchPaused
	case !sealed:
		return BatchOpen
	}
	return BatchRunning
}

// Totals sums up what a batch used.
type Totals struct {
	Calls        int64
	InputTokens  int64
	OutputTokens int64
	Artifacts    int64
}
