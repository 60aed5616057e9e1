package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"oneflow/batches/rows"
	"oneflow/jobs"
)

// Kept is an input in a form that is stored, so that its rows can be read later, by
// another process.
type Kept struct {
	// Name is the name of its file, for messages; URL is where its rows are, if they are
	// not kept with it.
	Name string `json:"name"`
	URL  string `json:"url,omitempty"`
	// Format, Shape, Map, Defaults, OnUnknown: see Input; Template is the text of one.
	Format    rows.Format                `json:"format,omitempty"`
	Shape     Shape                      `json:"shape,omitempty"`
	Map       map[string]string          `json:"map,omitempty"`
	Template  string                     `json:"template,omitempty"`
	Defaults  map[string]json.RawMessage `json:"defaults,omitempty"`
	OnUnknown jobs.OnUnknown             `json:"on_unknown,omitempty"`
	// Limit bounds the rows that are taken; 0: all are.
	Limit int64 `json:"limit,omitempty"`
	// Within is the time after their acceptance by which jobs must be done, in
	// nanoseconds; 0: the default.
	Within time.Duration `json:"within_ns,omitempty"`
	// Webhook and PerJob: see jobs.Batch.
	Webhook string `json:"webhook,omitempty"`
	PerJob  bool   `json:"webhook_per_job,omitempty"`
	// Steps are those of a pipeline, the first of which makes its rows of the input; none: it
	// is none.
	Steps []KeptStep `json:"steps,omitempty"`
}

// KeptStep is a step of a pipeline; Definition is that of a Step, and {} of the first.
type KeptStep struct {
	Name       string          `json:"name"`
	Definition json.RawMessage `json:"definition"`
}

// Following returns the steps after the first.
func (k Kept) Following() (steps []*CompiledStep, err error) {
	for i, kept := range k.Steps {
		if i == 0 {
			continue
		}
		step, err := parseStep(kept.Definition)
		if err != nil {
			return nil, err
		}
		ready, err := step.Compile()
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", kept.Name, err)
		}
		steps = append(steps, ready)
	}
	return steps, nil
}

// PipelineTag is the tag of the batches of a pipeline's steps; its value is the pipeline.
const PipelineTag = "pipeline"

// Batch is the batch of this id that is made of the kept rows, with the steps that follow.
func (k Kept) Batch(id string, tags map[string]string) jobs.Batch {
	b := jobs.Batch{ID: id, Tags: tags, Webhook: k.Webhook, PerJob: k.PerJob}
	if len(k.Steps) == 0 {
		return b
	}
	b.Tags = maps.Clone(tags)
	if b.Tags == nil {
		b.Tags = map[string]string{}
	}
	b.Tags[PipelineTag] = id
	for i, step := range k.Steps {
		b.Steps = append(b.Steps, jobs.Step{Batch: StepBatchID(id, i+1, step.Name), Name: step.Name, Definition: step.Definition})
	}
	return b
}

// ParseKept reads what was stored.
func ParseKept(data []byte) (k Kept, err error) {
	if err = json.Unmarshal(data, &k); err != nil {
		err = fmt.Errorf("the kept input cannot be read: %w", err)
	}
	return k, err
}

// Input adds what is kept to base, which knows the providers. now is when the jobs are
// accepted.
func (k Kept) Input(base Input, now time.Time) (Input, error) {
	base.Map, base.Shape, base.Defaults, base.OnUnknown = k.Map, k.Shape, k.Defaults, k.OnUnknown
	if k.Within > 0 {
		base.Deadline = now.Add(k.Within)
	}
	if k.Template == "" {
		return base, nil
	}
	var err error
	base.Template, err = ParseTemplate(k.Template)
	return base, err
}

// Source reads the rows from what open opens.
func (k Kept) Source(open func() (io.ReadCloser, error)) rows.Source {
	options := rows.Options{Format: k.Format, Columns: TableColumns(k.Map)}
	source := rows.Files([]rows.File{{Name: k.Name, Open: open}}, options)
	if k.Limit > 0 {
		source = rows.Limit(source, k.Limit)
	}
	return source
}

// Check reads all rows, and hands each to accept, and the bad ones to reject.
func (k Kept) Check(base Input, open func() (io.ReadCloser, error), accept func(jobs.New) error, reject func(*rows.LineError)) error {
	in, err := k.Input(base, time.Now())
	if err != nil {
		return err
	}
	source := k.Source(open)
	err = in.Read(source, accept, reject)
	return errors.Join(err, source.Close())
}
