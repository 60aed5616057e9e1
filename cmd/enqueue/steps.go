package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
)

// stepFile is a step as people write it.
type stepFile struct {
	Name     string             `yaml:"name"`
	Template string             `yaml:"template"`
	Filter   words              `yaml:"filter"`
	Attach   bool               `yaml:"attach"`
	Task     string             `yaml:"task"`
	Provider string             `yaml:"provider"`
	Model    string             `yaml:"model"`
	Chain    []string           `yaml:"chain"`
	Fallback providers.Fallback `yaml:"fallback"`
	Lane     jobs.Lane          `yaml:"lane"`
	Unknown  jobs.OnUnknown     `yaml:"on_unknown"`
	Set      map[string]any     `yaml:"set"`
}

// words is a list, or the one of it.
type words []string

// UnmarshalYAML implements yaml.BytesUnmarshaler.
func (w *words) UnmarshalYAML(data []byte) error {
	var one string
	if err := yaml.Unmarshal(data, &one); err == nil {
		*w = words{one}
		return nil
	}
	return yaml.Unmarshal(data, (*[]string)(w))
}

// pipelineFile is a pipeline as people write it.
type pipelineFile struct {
	Input string     `yaml:"input"`
	Steps []stepFile `yaml:"steps"`
}

// maxStepFile bounds the files that describe steps, in bytes.
const maxStepFile = 4 << 20

// readYAML reads a file strictly.
func readYAML(path string, into any) error {
	f, err := os.Open(path) //nolint:gosec // the path is the user's own
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxStepFile+1))
	if err == nil && len(data) > maxStepFile {
		err = fmt.Errorf("is longer than %d MiB", maxStepFile>>20)
	}
	if err == nil {
		if err = yaml.UnmarshalWithOptions(data, into, yaml.Strict()); err != nil {
			err = errors.New(yaml.FormatError(err, false, true))
		}
	}
	if err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("%s: %w", path, err))
	}
	return nil
}

// isPipeline reports whether steps follow the batch.
func (c *batchCmd) isPipeline() bool { return len(c.Then)+len(c.following) > 0 }

// thens reads the steps that --then names.
func (c *batchCmd) thens() ([]stepFile, error) {
	list := slices.Clone(c.following)
	for _, path := range c.Then {
		var step stepFile
		if err := readYAML(path, &step); err != nil {
			return nil, err
		}
		if step.Name == "" {
			step.Name = strings.ToLower(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
		}
		list = append(list, step)
	}
	if len(list) >= jobs.MaxSteps {
		return nil, cli.Fail(cli.Usage, fmt.Errorf("a pipeline has %d steps at most", jobs.MaxSteps))
	}
	return list, nil
}

// steps makes the steps of a batch: its own first; none where nothing follows it.
func (c *batchCmd) steps(s *session, cfg config.Config, batchID string) ([]jobs.Step, []*batches.CompiledStep, error) {
	list, err := c.thens()
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	first := c.first
	if first == "" {
		first = "first"
	}
	out := []jobs.Step{{Batch: batchID, Name: first, Definition: []byte("{}")}}
	var compiled []*batches.CompiledStep
	for i, of := range list {
		refuse := func(err error) error { return cli.Fail(cli.Usage, fmt.Errorf("step %s: %w", of.Name, err)) }
		step, err := c.step(s, cfg, of)
		if err != nil {
			return nil, nil, refuse(err)
		}
		ready, err := step.Compile()
		if err != nil {
			return nil, nil, refuse(err)
		}
		if of.Name == first || slices.ContainsFunc(compiled, func(before *batches.CompiledStep) bool { return before.Name == of.Name }) {
			return nil, nil, refuse(errors.New("name: another step has it"))
		}
		definition, err := json.Marshal(step)
		if err != nil {
			return nil, nil, refuse(err)
		}
		id := batches.StepBatchID(batchID, i+2, of.Name)
		if err := batches.CheckID(id); err != nil {
			return nil, nil, refuse(fmt.Errorf("%w: take a shorter --batch-id or name", err))
		}
		out, compiled = append(out, jobs.Step{Batch: id, Name: of.Name, Definition: definition}), append(compiled, ready)
	}
	return out, compiled, nil
}

// step makes a step of what a file says, as the flags of a batch say it.
func (c *batchCmd) step(s *session, cfg config.Config, of stepFile) (batches.Step, error) {
	if of.Task == "" {
		of.Task = string(providers.Text)
	}
	if of.Template == "" {
		return batches.Step{}, errors.New("template: is missing; it makes the prompt of the answer before, such as: Translate into French: {{answer}}")
	}
	flags := common{
		routing{Provider: of.Provider, Model: of.Model, Chain: of.Chain, Fallback: of.Fallback},
		asking{Lane: of.Lane, Account: c.Account, Set: map[string]string{}},
	}
	for name, value := range of.Set {
		encoded, err := json.Marshal(value)
		if err != nil {
			return batches.Step{}, fmt.Errorf("set.%s: %w", name, err)
		}
		flags.Set[name] = string(encoded)
	}
	in, err := flags.input(s, cfg, of.Task, jobs.Bulk)
	if err != nil {
		return batches.Step{}, err
	}
	provider, err := flags.choose(s, cfg, providers.Task(of.Task), "")
	if err != nil {
		return batches.Step{}, err
	}
	if len(of.Chain) == 0 {
		in.Defaults["provider"] = quote(provider)
	}
	return batches.Step{
		Name: of.Name, Template: of.Template, Filter: of.Filter, Attach: of.Attach, Defaults: in.Defaults, OnUnknown: of.Unknown,
	}, nil
}

// checkSteps reads the first row, and fails for a step that could make nothing of it.
func (c *batchCmd) checkSteps(in batches.Input, src *source, first string, steps []*batches.CompiledStep) error {
	if len(steps) == 0 {
		return nil
	}
	from, err := src.rows()
	if err != nil {
		return unread(err)
	}
	var row *jobs.New
	enough := errors.New("enough")
	err = in.Read(from, func(job jobs.New) error { row = &job; return enough }, func(*rows.LineError) {})
	if err := errors.Join(ignore(err, enough), from.Close()); err != nil || row == nil {
		return nil //nolint:nilerr // the intake tells what is wrong with the rows
	}
	return checkRow(in, *row, first, steps)
}

// checkRow fails for a step that could make nothing of this row of the first.
func checkRow(in batches.Input, row jobs.New, first string, steps []*batches.CompiledStep) error {
	before := []string{first}
	for _, step := range steps {
		if err := step.CheckColumns(row.Own, slices.Clone(before)); err != nil {
			return cli.Fail(cli.Usage, fmt.Errorf("step %s: %w", step.Name, err))
		}
		if err := step.CheckRequest(in); err != nil {
			return cli.Fail(cli.Usage, fmt.Errorf("step %s: %w", step.Name, err))
		}
		before = append(before, step.Name)
	}
	return nil
}

// ignore is err, unless it is of that kind.
func ignore(err, of error) error {
	if errors.Is(err, of) {
		return nil
	}
	return err
}

// pipelineCmd enqueues rows that go through several steps.
type pipelineCmd struct {
	Pipeline string            `arg:"" name:"file" help:"A pipeline: a YAML file with the input and the steps. See docs/pipelines.md."`
	Input    string            `arg:"" optional:"" help:"The rows of the first step, in place of the file's input."`
	Format   string            `help:"How the rows are written; default: what they look like." enum:"auto,jsonl,json,openai,anthropic,csv,lines,parquet,files" default:"auto" placeholder:"FORMAT"`
	BatchID  string            `help:"The pipeline's id; default: a new one. With the id of an earlier run, only what is missing is added." placeholder:"ID"`
	Account  string            `help:"Who pays." default:"default" placeholder:"NAME"`
	Limit    positive          `help:"Take the first N rows only." placeholder:"N"`
	Tag      map[string]string `help:"A name and a value of your own, shown in lists." placeholder:"NAME=VALUE" mapsep:"none"`
	Watch    bool              `aliases:"wait" help:"Follow the pipeline until it has finished; --wait is the same."`
	spending
	webhookFlags
	cli.OutputFlag
}

// Run accepts the rows of the first step, as `enqueue batch --then` does.
func (c *pipelineCmd) Run(s *session) error {
	b, err := c.batch()
	if err != nil {
		return err
	}
	return b.Run(s)
}

// batch is the batch of the first step, which the others follow.
func (c *pipelineCmd) batch() (*batchCmd, error) {
	var file pipelineFile
	if err := readYAML(c.Pipeline, &file); err != nil {
		return nil, err
	}
	input := c.Input
	switch {
	case len(file.Steps) < 2:
		return nil, cli.Fail(cli.Usage, fmt.Errorf("%s: steps: a pipeline has two at least; for one, use enqueue batch", c.Pipeline))
	case input == "" && file.Input == "":
		return nil, cli.Fail(cli.Usage, fmt.Errorf("%s: input: is missing: name the file of rows there, or after the pipeline's", c.Pipeline))
	case input == "" && (filepath.IsAbs(file.Input) || strings.Contains(file.Input, "://")):
		input = file.Input
	case input == "":
		input = filepath.Join(filepath.Dir(c.Pipeline), file.Input)
	}
	first := file.Steps[0]
	if len(first.Filter) > 0 || first.Attach {
		return nil, cli.Fail(cli.Usage, fmt.Errorf("step %s: filter and attach are about the answers of a step before, and it is the first", first.Name))
	}
	for i := range file.Steps {
		if file.Steps[i].Name == "" {
			return nil, cli.Fail(cli.Usage, fmt.Errorf("%s: steps[%d].name: is missing", c.Pipeline, i))
		}
	}
	b := batchCmd{
		File: input, BatchID: c.BatchID, Tag: c.Tag, Watch: c.Watch,
		reading:  reading{Format: c.Format, Task: first.Task, Template: first.Template, Limit: c.Limit, Seed: 1},
		spending: c.spending, webhookFlags: c.webhookFlags, first: first.Name, following: file.Steps[1:],
	}
	if b.Task == "" {
		b.Task = string(providers.Text)
	}
	b.common = common{
		routing{Provider: first.Provider, Model: first.Model, Chain: first.Chain, Fallback: first.Fallback},
		asking{Lane: first.Lane, OnUnknown: first.Unknown, Account: c.Account, Set: map[string]string{}, OutputFlag: c.OutputFlag},
	}
	for _, name := range slices.Sorted(maps.Keys(first.Set)) {
		encoded, err := json.Marshal(first.Set[name])
		if err != nil {
			return nil, cli.Fail(cli.Usage, fmt.Errorf("step %s: set.%s: %w", first.Name, name, err))
		}
		b.Set[name] = string(encoded)
	}
	return &b, nil
}
