package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"oneflow/batches/rows"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// Step says how rows are made of the answers of the step before.
type Step struct {
	Name string `json:"name"`
	// Template makes the prompt. Its columns are answer, artifact (the address of the
	// first picture, sound or film), custom_id, row (the columns of the input), each of
	// these by its own name, and the answers of earlier steps by the steps' names.
	Template string `json:"template"`
	// Filter are conditions on the same columns, such as answer.score >= 7: a row that
	// does not fulfil all is left out.
	Filter []string `json:"filter,omitempty"`
	// Attach hands the picture, sound or film on with the prompt.
	Attach bool `json:"attach,omitempty"`
	// Defaults and OnUnknown: see Input.
	Defaults  map[string]json.RawMessage `json:"defaults,omitempty"`
	OnUnknown jobs.OnUnknown             `json:"on_unknown,omitempty"`
}

// parseStep reads the definition of a step.
func parseStep(data []byte) (s Step, err error) {
	if err = json.Unmarshal(data, &s); err != nil {
		err = fmt.Errorf("the definition of a step cannot be read: %w", err)
	}
	return s, err
}

// StepBatchID is the id of a step's batch; place counts from 1, the pipeline's own.
func StepBatchID(pipeline string, place int, name string) string {
	if place == 1 {
		return pipeline
	}
	return fmt.Sprintf("%s.%d.%s", pipeline, place, name)
}

// stepName matches the names that a step may have: its answer is a column of this name.
var stepName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,29}$`)

// taken are the columns that a step has beside those of its row.
func taken() []string { return []string{"answer", "artifact", "custom_id", "row"} }

// Compile checks a step and makes it ready to be used.
func (s Step) Compile() (*CompiledStep, error) {
	if !stepName.MatchString(s.Name) || slices.Contains(taken(), s.Name) {
		return nil, fmt.Errorf("name %s: must be 1 to 30 small letters, digits, - and _, the first a letter, and not %s", rows.Quoted(s.Name), strings.Join(taken(), ", "))
	}
	c := &CompiledStep{Step: s}
	var err error
	if c.template, err = ParseTemplate(s.Template); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	for _, text := range s.Filter {
		f, err := parseCondition(text)
		if err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
		c.filter = append(c.filter, f)
	}
	return c, nil
}

// CompiledStep is a step that is ready to be used.
type CompiledStep struct {
	Step
	template *Template
	filter   []condition
}

// columns lists the columns that it takes, each once.
func (c *CompiledStep) columns() []string {
	names := c.template.names()
	for _, f := range c.filter {
		if !slices.Contains(names, f.path[0]) {
			names = append(names, f.path[0])
		}
	}
	return names
}

// CheckColumns fails for a column that the rows of a pipeline do not have. own are the
// row's, and before the names of the steps before this one.
func (c *CompiledStep) CheckColumns(own []byte, before []string) error {
	var fields Fields
	if own != nil {
		if err := json.Unmarshal(own, &fields); err != nil {
			return err
		}
	}
	for _, name := range c.columns() {
		_, there := fields[name]
		if !there && !slices.Contains(taken(), name) && !slices.Contains(before, name) {
			all := slices.Concat(taken(), before)
			for own := range fields {
				all = append(all, own)
			}
			slices.Sort(all)
			return fmt.Errorf("there is no column %s; there are %s", rows.Quoted(name), rows.Shorten(names(all)))
		}
	}
	for _, name := range append(before, c.Name) {
		if _, there := fields[name]; there {
			return fmt.Errorf("a step is called %s, as a column of the input is: the answer of the step would hide it; give the step another name", name)
		}
	}
	return nil
}

// input returns the Input of the step's jobs, where in knows the providers.
func (c *CompiledStep) input(in Input) Input {
	in.Defaults, in.OnUnknown, in.Files, in.Map, in.Template, in.Shape, in.Ask, in.Mark = c.Defaults, c.OnUnknown, nil, nil, nil, "", nil, false
	in.OfFiles = false
	return in
}

// CheckRequest fails where no row of the step could be a job, whatever the answers are.
func (c *CompiledStep) CheckRequest(in Input) error {
	if c.Attach {
		return nil // what is attached is not known yet
	}
	_, err := newDecoder(c.input(in)).decode(rows.Row{Place: 1, Fields: rows.Fields{"prompt": quote("an answer")}, Names: []string{"prompt"}})
	return err
}

// Answer holds the answer that a step makes its row of, and what else it knows.
type Answer struct {
	ID     uuid.UUID // of the parent
	Step   string    // that the parent is of
	Parent jobs.Parent
	// Account is the parent's, who pays for the child, too.
	Account   string
	Text      string
	Artifacts []jobs.Artifact
	// Files has the first of these as "artifact", where Attach asks for it.
	Files fs.FS
}

// Child makes the next step's job, in the batch. What is wrong is its failure: it never
// fails itself. afford sets the least that it costs, and refuses it where the account has
// no money for that; nil: no wallet limits it.
func (c *CompiledStep) Child(in Input, batch string, a Answer, now time.Time, afford func(*jobs.New) error) *jobs.Child {
	row, err := a.row()
	if err != nil {
		return c.refused(batch, a, err)
	}
	for _, f := range c.filter {
		holds, err := f.holds(row)
		if err != nil {
			return c.refused(batch, a, fmt.Errorf("filter: %w", err))
		}
		if !holds {
			return &jobs.Child{Batch: batch}
		}
	}
	job, err := c.job(in, row, a)
	if err != nil {
		return c.refused(batch, a, err)
	}
	child := &jobs.Child{Batch: batch, New: &job}
	if afford == nil {
		return child
	}
	if err := afford(child.New); err != nil {
		child.Class, child.Message = "out_of_funds", fmt.Sprintf("step %s: %s", c.Name, rows.Printable(err))
		if _, short := errors.AsType[*billing.FundsError](err); !short {
			child.Class = "internal"
		}
	}
	return child
}

// job renders and checks.
func (c *CompiledStep) job(in Input, row rows.Row, a Answer) (jobs.New, error) {
	prompt, err := c.template.render(row)
	if err != nil {
		return jobs.New{}, err
	}
	fields := Fields{"prompt": prompt}
	if c.Attach {
		if len(a.Artifacts) == 0 || a.Files == nil {
			return jobs.New{}, errors.New("attach: the step before made no picture, sound or film")
		}
		kind, _, _ := strings.Cut(a.Artifacts[0].MIME, "/")
		if kind == "application" {
			kind = "document"
		}
		content, err := json.Marshal([]any{map[string]any{
			"role": "user", "content": []any{
				map[string]any{"type": "text", "text": prompt},
				map[string]any{"type": kind, "file": "artifact"},
			},
		}})
		if err != nil {
			return jobs.New{}, err
		}
		fields = Fields{"messages": content}
	}
	in = c.input(in)
	in.Account, in.Files = a.Account, a.Files
	job, err := newDecoder(in).decode(rows.Row{Place: a.Parent.Seq, Fields: rows.Fields(fields), Names: []string{"prompt"}})
	if err != nil {
		return jobs.New{}, err
	}
	if err := jobs.NewKeys().Assign(&job); err != nil {
		return jobs.New{}, err
	}
	if len(job.Encoded) > rows.MaxRow {
		return jobs.New{}, fmt.Errorf("the request has %d bytes, and may have %d MiB: let the steps before answer less, or attach less", len(job.Encoded), rows.MaxRow>>20)
	}
	job.CustomID, job.Key = a.Parent.CustomID, jobs.ChildKey(a.ID, a.Parent.CustomID)
	job.Own, err = a.handedOn()
	return job, err
}

// refused is a child that failed before it could be a job. It has no request, and is not
// retried.
func (c *CompiledStep) refused(batch string, a Answer, why error) *jobs.Child {
	task := providers.Text
	if name := c.Defaults["task"]; len(name) > 0 {
		task = providers.Task(text(name))
	}
	job := jobs.New{
		ID: jobs.NewID(), Seq: a.Parent.Seq, Account: a.Account, Provider: text(c.Defaults["provider"]), Lane: jobs.Bulk,
		Request: providers.Request{Task: task}, Own: a.Parent.Own,
	}
	if len(c.Defaults["provider"]) == 0 {
		job.Provider = ""
	}
	if own, err := a.handedOn(); err == nil { // it comes back with the others
		job.Own = own
	}
	if no, ok := errors.AsType[*noObjectError](why); ok && !strings.Contains(no.in, ".") {
		why = fmt.Errorf("%w: response_format, among what the step before sets, asks for JSON", why)
	}
	if err := jobs.NewKeys().Assign(&job); err != nil {
		why = errors.Join(why, err)
	}
	job.CustomID, job.Key = a.Parent.CustomID, jobs.ChildKey(a.ID, a.Parent.CustomID)
	return &jobs.Child{Batch: batch, New: &job, Class: "refused", Message: fmt.Sprintf("step %s: %s", c.Name, rows.Printable(why))}
}

// row holds the columns that a step's template and filter know.
func (a Answer) row() (rows.Row, error) {
	row := rows.Row{Place: a.Parent.Seq, Fields: rows.Fields{}}
	if a.Parent.Own != nil {
		if err := json.Unmarshal(a.Parent.Own, &row.Fields); err != nil {
			return row, errors.New("the columns of the row cannot be read")
		}
		row.Fields["row"] = a.Parent.Own
	}
	row.Fields["answer"] = quote(a.Text)
	if a.Step != "" {
		row.Fields[a.Step] = quote(a.Text)
	}
	if a.Parent.CustomID != "" {
		row.Fields["custom_id"] = quote(a.Parent.CustomID)
	}
	if len(a.Artifacts) > 0 {
		row.Fields["artifact"] = quote(a.Artifacts[0].URL)
	}
	for name := range row.Fields {
		row.Names = append(row.Names, name)
	}
	slices.Sort(row.Names)
	return row, nil
}

// handedOn are the columns of the child's row: the parent's, and the parent's answer under
// the name of its step.
func (a Answer) handedOn() ([]byte, error) {
	own := append(quote(a.Step), ':')
	own = append(own, quote(a.Text)...)
	before := strings.TrimSpace(string(a.Parent.Own))
	if a.Step == "" {
		return a.Parent.Own, nil
	}
	if len(before) > 2 { // more than {}
		own = append([]byte(before[:len(before)-1]+","), own...)
	} else {
		own = append([]byte{'{'}, own...)
	}
	own = append(own, '}')
	if len(own) > rows.MaxRow {
		return nil, fmt.Errorf("the answers of the steps before have %d bytes, and may have %d MiB together: let them answer less", len(own), rows.MaxRow>>20)
	}
	return own, nil
}
