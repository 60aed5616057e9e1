package batches

import (
	"time"

	"oneflow/jobs"
)

// Pipeline says where a pipeline stands, as one.
type Pipeline struct {
	// ID is that of its first step's batch, too.
	ID        string    `json:"id"`
	Source    string    `json:"source"`
	Account   string    `json:"account"`
	State     string    `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	// The counts and the money of all steps.
	Tally
	Steps []PipelineStep `json:"steps"`
}

// PipelineStep is a step of a pipeline, and the batch that it is.
type PipelineStep struct {
	Name string `json:"name"`
	Summary
	// LeftOut counts the rows that its filter left out.
	LeftOut int64 `json:"left_out"`
}

// Finished reports whether nothing of it will change any more.
func (p Pipeline) Finished() bool { return jobs.BatchEnded(p.State) }

// NewPipeline sums up the steps of a pipeline, in their order; there is at least one.
func NewPipeline(steps []PipelineStep) Pipeline {
	first := steps[0]
	p := Pipeline{ID: first.ID, Source: first.Source, Account: first.Account, CreatedAt: first.CreatedAt, Tally: Tally{Counts: map[jobs.State]int64{}}, Steps: steps}
	sealed := true
	for i, s := range steps {
		steps[i].State = s.StateNow()
		sealed = sealed && !s.SealedAt.IsZero()
		for state, n := range s.Counts {
			p.Counts[state] += n
		}
		p.Money, p.Estimate = p.Plus(s.Money), p.Estimate.Plus(s.Estimate)
		if s.LastFinished.After(p.LastFinished) {
			p.LastFinished = s.LastFinished
		}
	}
	p.State = jobs.BatchState(sealed, !first.PausedAt.IsZero(), !first.CancelledAt.IsZero(), p.Counts)
	if !first.RemovedAt.IsZero() {
		p.State = jobs.BatchRemoved
	}
	return p
}
