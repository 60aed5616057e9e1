package batches

import (
	"strings"

	"oneflow/batches/rows"
	"oneflow/jobs"
	"oneflow/providers"
)

const (
	// fieldTokens is the number of tokens that one field of an answer in JSON is expected to
	// have.
	fieldTokens = 20
	// tokenBytes is the number of characters of a token, about.
	tokenBytes = 4
	// foreignTokens is the most tokens that another model may count for one of an answer.
	foreignTokens = 2
)

// PipelineForecast adds up what the jobs of a pipeline will use and cost: each row is taken
// to pass the filters, and each answer to be as long as the model's usually are. What a step
// attaches is not counted.
type PipelineForecast struct {
	sums  *Forecast
	first string
	steps []forecastStep
}

// forecastStep is a step that follows the first.
type forecastStep struct {
	*CompiledStep
	decoder *decoder
}

// Pipeline prepares adding jobs of the first step, which has this name, with what follows.
// in knows the providers.
func (f *Forecast) Pipeline(in Input, first string, steps []*CompiledStep) *PipelineForecast {
	p := &PipelineForecast{sums: f, first: first}
	f.steps = []string{first}
	for _, step := range steps {
		p.steps, f.steps = append(p.steps, forecastStep{step, newDecoder(step.input(in))}), append(f.steps, step.Name)
	}
	return p
}

// span is the least, the expected and the most of something.
type span [3]int64

// Add adds a job of the first step, and those that it leads to.
func (p *PipelineForecast) Add(job jobs.New) {
	f := p.sums
	var used [3]providers.Usage
	used[0], used[1], used[2] = f.usage(job)
	f.add(p.first, job, used[0], used[1], used[2])
	f.begin.add(f.Kind(job.Provider), job, used[2])
	row := Answer{Parent: jobs.Parent{Seq: job.Seq, CustomID: job.CustomID, Own: job.Own}}
	answers, name, maybe := map[string]span{}, p.first, false
	for _, step := range p.steps {
		length := span{used[0].TotalOutput(), used[1].TotalOutput(), used[2].TotalOutput()}
		answers["answer"], answers[name] = length, length
		child, more, ok := step.sketch(row, answers)
		if !ok {
			return // it will be a failed job, which costs nothing
		}
		used[0], used[1], used[2] = f.usage(child)
		for i := range used {
			used[i] = grown(used[i], more[i])
		}
		least := used[0]
		if maybe = maybe || len(step.filter) > 0; maybe {
			least = providers.Usage{}
		}
		f.add(step.Name, child, least, used[1], used[2])
		name = step.Name
	}
}

// grown returns the usage of a request whose prompt is so many tokens longer.
func grown(u providers.Usage, tokens int64) providers.Usage {
	switch {
	case u.Characters > 0:
		u.Characters += tokens * tokenBytes
	case u.CacheWriteTokens > 0:
		u.CacheWriteTokens += tokens
	case u.InputTokens > 0:
		u.InputTokens += tokens
	}
	return u
}

// sketch makes the step's job without the answers before it, and how many tokens these add
// to it; ok is false where it can be no job.
func (s forecastStep) sketch(a Answer, answers map[string]span) (job jobs.New, more span, ok bool) {
	row, err := a.row()
	if err != nil {
		return job, more, false
	}
	var prompt strings.Builder
	for i, path := range s.template.columns {
		prompt.WriteString(s.template.texts[i])
		length, answered := answers[path[0]]
		switch {
		case answered && len(path) == 1:
			more[0], more[1], more[2] = more[0]+length[0], more[1]+length[1], more[2]+length[2]*foreignTokens
		case answered:
			more[1], more[2] = more[1]+min(length[1], fieldTokens), more[2]+length[2]*foreignTokens
		case path[0] == "artifact":
			prompt.WriteString(strings.Repeat("x", 100))
		default:
			value, err := lookUp(row, path)
			if err != nil {
				return job, more, false
			}
			prompt.WriteString(value)
		}
	}
	prompt.WriteString(s.template.texts[len(s.template.columns)])
	said := prompt.String()
	if strings.TrimSpace(said) == "" {
		said = "x"
	}
	job, err = s.decoder.decode(rows.Row{Place: a.Parent.Seq, Fields: rows.Fields{"prompt": quote(said)}, Names: []string{"prompt"}})
	return job, more, err == nil
}
