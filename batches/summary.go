package batches

import (
	"time"

	"oneflow/jobs"
)

// Tally counts jobs by state, and adds up what they cost.
type Tally struct {
	Counts map[jobs.State]int64 `json:"counts"`
	jobs.Money
	// Estimate holds the expected cost as they were accepted.
	Estimate jobs.Estimate `json:"estimate"`
	// LastFinished is the time at which the last job finished so far; zero if none has.
	LastFinished time.Time `json:"last_finished_at,omitzero"`
}

// Summary is a batch and its progress, for lists.
type Summary struct {
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Account     string    `json:"account"`
	State       string    `json:"state"`
	CreatedAt   time.Time `json:"created_at"`
	SealedAt    time.Time `json:"sealed_at,omitzero"`
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	PausedAt    time.Time `json:"paused_at,omitzero"`
	RemovedAt   time.Time `json:"removed_at,omitzero"`
	Tally
	// PerSecond counts its jobs that finish in a second just now; 0 while that
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

// Finished reports whether nothing will change any more.
func (b Summary) Finished() bool {
	return jobs.BatchEnded(b.State)
}

// StateNow returns the state that follows from what is known of the batch and its jobs.
func (b Summary) StateNow() string {
	if !b.RemovedAt.IsZero() {
		return jobs.BatchRemoved
	}
	return jobs.BatchState(!b.SealedAt.IsZero(), !b.PausedAt.IsZero(), !b.CancelledAt.IsZero(), b.Counts)
}

// Left returns the time that the rest takes at the present rate; 0 where that is not known.
func (b Summary) Left() time.Duration {
	left := b.Total() - b.Done()
	if b.PerSecond <= 0 || left <= 0 {
		return 0
	}
	return time.Duration(float64(left) / b.PerSecond * float64(time.Second))
}

// Filter selects batches; what is zero selects all.
type Filter struct {
	// State is that of a batch, such as jobs.BatchPartial. Without it removed batches are
	// left out.
	State string
	// Since leaves out what was made before it.
	Since time.Time
	// Source is a part of the source's name.
	Source  string
	Account string
	// Tag is one that it has, as NAME=VALUE, or as NAME with any value.
	Tag string
	// Before names a batch: the list begins with the one made before it. Empty: with the newest.
	Before string
	// Limit bounds the list, the newest first.
	Limit int
}

// Breakdown is one batch, with what it used and what went wrong.
type Breakdown struct {
	At time.Time `json:"at"`
	Summary
	Tags map[string]string `json:"tags"`
	// Pipeline is the one that it is a step of; empty: none.
	Pipeline string `json:"pipeline,omitempty"`
	// Models lists what was called for it.
	Models []ModelUse `json:"models"`
	// Problems are the reasons why jobs failed or wait for another attempt, the
	// most frequent first.
	Problems []Problem `json:"problems"`
}

// ModelUse adds up a batch's calls of one model.
type ModelUse struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Calls    int64  `json:"calls"`
	// Succeeded counts calls that brought an answer.
	Succeeded    int64 `json:"succeeded"`
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	jobs.Money
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
	// Samples are the latest of them, three at most.
	Samples []ProblemSample `json:"samples"`
}

// ProblemSample is a job that did not succeed, and what was said.
type ProblemSample struct {
	JobID   string    `json:"job_id"`
	Message string    `json:"message"`
	At      time.Time `json:"at,omitzero"`
}
