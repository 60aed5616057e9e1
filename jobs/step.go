package jobs

import "github.com/google/uuid"

// Step is a step of a pipeline: a batch whose rows the step before makes of its answers.
type Step struct {
	// Batch is the id of the step's batch; of the first step it is the pipeline's.
	Batch string
	Name  string
	// Definition says how its rows are made, as JSON; of the first step it is {}.
	Definition []byte
}

// Child is the job of the next step that a job's success leads to, or says why there is none.
type Child struct {
	// Batch is the step's.
	Batch string
	// New is the job; nil: the step's filter leaves the row out.
	New *New
	// Class and Message say why it failed before anybody could run it; empty: it is queued.
	Class, Message string
}

// Size is about how many bytes it has.
func (c *Child) Size() int {
	if c == nil || c.New == nil {
		return 0
	}
	return len(c.New.Encoded) + len(c.New.Own)
}

// Parent holds what a child takes from the job before it, beside its answer.
type Parent struct {
	Seq      int64
	CustomID string
	// Own are the columns of its row that decide nothing, as JSON; nil: there are none.
	Own []byte
}

// StepProgress says where a step of a pipeline stands.
type StepProgress struct {
	Name string
	Progress
	// LeftOut counts the rows that its filter left out.
	LeftOut int64
}

// ChildKey is the key of a child in its batch: there is one a parent. A parent that has a
// custom id, which is one in its batch, hands it on.
func ChildKey(parent uuid.UUID, customID string) string {
	if customID != "" {
		return "c:" + customID
	}
	return "p:" + parent.String()
}

// MaxSteps bounds the steps of a pipeline.
const MaxSteps = 9
