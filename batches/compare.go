package batches

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// A comparison is the same rows over several models: an ordinary batch for each of them,
// and for each judge that was asked which answers are the best. These tags of its batches
// hold it together.
const (
	TagComparison = "comparison" // its name
	TagModel      = "model"      // PROVIDER/MODEL, of a batch whose answers are compared
	TagJudge      = "judge"      // PROVIDER/MODEL, of one that compares them
)

// CompareStore reads comparisons.
type CompareStore interface {
	// Compared returns the batches of a comparison in the order in which they were made,
	// those of judges among them. It fails with jobs.ErrNotFound.
	Compared(ctx context.Context, name string) ([]ComparedBatch, error)
	// ComparedJobs calls each for the jobs of batches, by row and then by batch: those of
	// the first so many rows after a row, or of all rows after it where rows is 0.
	ComparedJobs(ctx context.Context, batches []string, after, rows int64, each func(ComparedJob) error) error
	// Comparisons lists the newest ones, the newest first: of an account, or of all where
	// it is empty. Two accounts' comparisons of one name are two.
	Comparisons(ctx context.Context, account string, limit int) ([]ComparisonSummary, error)
}

// ComparisonSummary is a comparison in a list.
type ComparisonSummary struct {
	Name      string    `json:"name"`
	Account   string    `json:"account"`
	Source    string    `json:"source"`
	CreatedAt time.Time `json:"created_at"`
	Models    []string  `json:"models"`
}

// ComparedBatch is a batch of a comparison as the store reads it.
type ComparedBatch struct {
	Summary
	Tags map[string]string
	// The tokens of its answers, and the time that half of them, and 95 of a hundred, took at
	// most.
	InputTokens, OutputTokens int64
	P50, P95                  time.Duration
}

// ComparedJob is a job of a comparison as the store reads it.
type ComparedJob struct {
	Batch    string
	Job      string
	Row      int64
	CustomID string
	State    jobs.State
	// Request is the job's, as JSON; Own holds its row's own columns.
	Request, Own []byte
	jobs.Money
	ErrorClass, ErrorMessage string
	// The rest is of the result; zero without one.
	Text         string
	FinishReason string // the provider's own word
	Usage        []byte
	LatencyMS    int64
	Artifacts    int
}

// Comparison holds where a comparison stands, and what has come out so far.
type Comparison struct {
	Name      string    `json:"name"`
	Account   string    `json:"account"`
	Source    string    `json:"source"`
	CreatedAt time.Time `json:"created_at"`
	// State is that of its batches together, as of one batch; judges do not count.
	State string `json:"state"`
	// Rows is the number of rows, as far as they are accepted.
	Rows   int64           `json:"rows"`
	Models []ComparedModel `json:"models"` // in the order in which they were named, never null
	Judges []JudgedModels  `json:"judges"` // never null
	// Cheapest has the lowest cost for each answer, Fastest the lowest median of time. Empty
	// where nobody knows, or two are alike.
	Cheapest string `json:"cheapest"`
	Fastest  string `json:"fastest"`
}

// ComparedModel sums up one model of a comparison.
type ComparedModel struct {
	// Model is PROVIDER/MODEL.
	Model   string `json:"model"`
	BatchID string `json:"batch_id"`
	State   string `json:"state"`
	Jobs    int64  `json:"jobs"`
	// Answers is the number of jobs that succeeded, Failed that of those that will not.
	Answers int64 `json:"answers"`
	Failed  int64 `json:"failed"`
	// The money of all its calls.
	jobs.Money
	// PerAnswer is that money, simulated money included, for each answer; nil without one, or
	// where calls have no known price.
	PerAnswer    *billing.NanoUSD `json:"usd_per_answer"`
	InputTokens  int64            `json:"input_tokens"`
	OutputTokens int64            `json:"output_tokens"`
	P50MS        int64            `json:"p50_ms"`
	P95MS        int64            `json:"p95_ms"`
}

// JudgedModels sums up what a judge has said.
type JudgedModels struct {
	// Judge is PROVIDER/MODEL.
	Judge   string `json:"judge"`
	BatchID string `json:"batch_id"`
	State   string `json:"state"`
	// Jobs is the number of rows that it was asked about, and Verdicts that of its answers.
	Jobs     int64 `json:"jobs"`
	Verdicts int64 `json:"verdicts"`
	Ties     int64 `json:"ties"`
	// Unclear is the number of answers that name no model.
	Unclear int64 `json:"unclear"`
	// Best is the number of rows in which each model was the best that it was shown.
	Best map[string]int64 `json:"best"`
	// Winner was the best most often; empty where nobody knows, or two are alike.
	Winner string `json:"winner"`
	// What the judge's own calls cost: no part of any model's.
	jobs.Money
}

// Judged reports whether the judge was shown an answer of a model: one that joined later is
// compared, but not judged.
func (g JudgedModels) Judged(model string) bool {
	_, judged := g.Best[model]
	return judged
}

// ComparedRow is one row of a comparison.
type ComparedRow struct {
	Row      int64  `json:"row"`
	CustomID string `json:"custom_id,omitempty"`
	Prompt   string `json:"prompt"`
	// Answers holds one for each of Comparison.Models, in their order.
	Answers []ComparedAnswer `json:"answers"`
	// Verdicts are those of judges; never null.
	Verdicts []Verdict `json:"verdicts"`
}

// ComparedAnswer is the answer of a model to a row.
type ComparedAnswer struct {
	Model string `json:"model"`
	// JobID and State are empty where the model was not asked: the row was refused for it.
	JobID string     `json:"job_id,omitempty"`
	State jobs.State `json:"state,omitempty"`
	Text  string     `json:"text"`
	// Artifacts is the number of pictures, sounds or films.
	Artifacts int              `json:"artifacts,omitempty"`
	Finish    providers.Finish `json:"finish_reason,omitempty"`
	jobs.Money
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	LatencyMS    int64 `json:"latency_ms"`
	// Error says why there is no answer; empty while it may still come.
	Error string `json:"error,omitempty"`
}

// Compare reads a comparison. It fails with jobs.ErrNotFound.
func Compare(ctx context.Context, store CompareStore, name string) (Comparison, error) {
	found, err := store.Compared(ctx, name)
	if err != nil {
		return Comparison{}, err
	}
	c := Comparison{Name: name, Models: []ComparedModel{}, Judges: []JudgedModels{}}
	var states []ComparedBatch
	for _, b := range found {
		if len(states) > 0 && b.Account != c.Account {
			continue // somebody else's of the same name
		}
		if judge := b.Tags[TagJudge]; judge != "" {
			c.Judges = append(c.Judges, JudgedModels{Judge: judge, BatchID: b.ID, State: b.StateNow(), Jobs: b.Total(), Best: map[string]int64{}, Money: b.Money})
			continue
		}
		if b.Tags[TagModel] == "" {
			continue // somebody's own tag
		}
		if len(states) == 0 {
			c.Account, c.Source, c.CreatedAt = b.Account, b.Source, b.CreatedAt
		}
		states = append(states, b)
		c.Models = append(c.Models, modelOf(b))
		c.Rows = max(c.Rows, b.Total())
	}
	if len(c.Models) == 0 {
		return Comparison{}, jobs.ErrNotFound
	}
	c.State = stateOf(states)
	c.Cheapest = leader(c.Models, func(m ComparedModel) (int64, bool) {
		if m.PerAnswer == nil {
			return 0, false
		}
		return int64(*m.PerAnswer), true
	})
	c.Fastest = leader(c.Models, func(m ComparedModel) (int64, bool) { return m.P50MS, m.Answers > 0 })
	for i := range c.Judges {
		if err := countVerdicts(ctx, store, c.Models, &c.Judges[i]); err != nil {
			return Comparison{}, err
		}
	}
	return c, nil
}

func modelOf(b ComparedBatch) ComparedModel {
	m := ComparedModel{
		Model: b.Tags[TagModel], BatchID: b.ID, State: b.StateNow(), Jobs: b.Total(), Answers: b.Counts[jobs.Succeeded], Failed: b.Failures() + b.Counts[jobs.Cancelled],
		Money: b.Money, InputTokens: b.InputTokens, OutputTokens: b.OutputTokens, P50MS: b.P50.Milliseconds(), P95MS: b.P95.Milliseconds(),
	}
	if m.Answers > 0 && m.Unpriced == 0 {
		m.PerAnswer = new(billing.NanoUSD(jobs.Sum(int64(b.Cost), int64(b.Simulated))) / billing.NanoUSD(m.Answers))
	}
	return m
}

// stateOf returns the state of several batches as if they were one.
func stateOf(all []ComparedBatch) string {
	counts, sealed, paused, cancelled := map[jobs.State]int64{}, true, false, true
	for _, b := range all {
		for state, n := range b.Counts {
			counts[state] += n
		}
		sealed = sealed && !b.SealedAt.IsZero()
		paused, cancelled = paused || !b.PausedAt.IsZero(), cancelled && !b.CancelledAt.IsZero()
	}
	return jobs.BatchState(sealed, paused, cancelled, counts)
}

// leader returns the model with the lowest figure. It is empty where a model has none, or
// two have the lowest.
func leader(models []ComparedModel, figure func(ComparedModel) (int64, bool)) string {
	type placed struct {
		model string
		n     int64
	}
	var list []placed
	for _, m := range models {
		if n, ok := figure(m); ok {
			list = append(list, placed{m.Model, n})
		}
	}
	slices.SortFunc(list, func(a, b placed) int { return cmp.Compare(a.n, b.n) })
	if len(list) < 2 || list[0].n == list[1].n {
		return ""
	}
	return list[0].model
}

// Finished reports whether the models' answers change no more.
func (c Comparison) Finished() bool { return jobs.BatchEnded(c.State) }

// Batches lists the ids of the batches whose answers are compared.
func (c Comparison) Batches() []string {
	ids := make([]string, len(c.Models))
	for i, m := range c.Models {
		ids[i] = m.BatchID
	}
	return ids
}

// EachRow calls each for the first so many rows after a row, or for all after it where
// rows is 0. A row that was edited between two runs comes once for each of its texts.
func (c Comparison) EachRow(ctx context.Context, store CompareStore, after, rows int64, each func(ComparedRow) error) error {
	ids := c.Batches()
	for _, j := range c.Judges {
		ids = append(ids, j.BatchID)
	}
	var open []ComparedRow // of one row: one for each of its texts
	flush := func() error {
		for _, r := range open {
			if err := each(r); err != nil {
				return err
			}
		}
		open = open[:0]
		return nil
	}
	err := store.ComparedJobs(ctx, ids, after, rows, func(j ComparedJob) error {
		if len(open) > 0 && open[0].Row != j.Row {
			if err := flush(); err != nil {
				return err
			}
		}
		if i := slices.IndexFunc(c.Judges, func(g JudgedModels) bool { return g.BatchID == j.Batch }); i >= 0 {
			c.judged(open, c.Judges[i].Judge, j)
			return nil
		}
		place := slices.IndexFunc(c.Models, func(m ComparedModel) bool { return m.BatchID == j.Batch })
		at := slices.IndexFunc(open, func(r ComparedRow) bool { return r.Answers[place].JobID == "" })
		if at < 0 {
			open, at = append(open, c.row(j)), len(open)
		}
		open[at].Answers[place] = answerOf(c.Models[place].Model, j)
		return nil
	})
	return errors.Join(err, flush())
}

// row is a row without answers.
func (c Comparison) row(j ComparedJob) ComparedRow {
	r := ComparedRow{Row: j.Row, CustomID: j.CustomID, Prompt: j.prompt(), Answers: make([]ComparedAnswer, len(c.Models)), Verdicts: []Verdict{}}
	for i, m := range c.Models {
		r.Answers[i].Model = m.Model
	}
	return r
}

func answerOf(model string, j ComparedJob) ComparedAnswer {
	var u providers.Usage
	_ = json.Unmarshal(j.Usage, &u) // what cannot be read is not known
	a := ComparedAnswer{
		Model: model, JobID: j.Job, State: j.State, Text: j.Text, Artifacts: j.Artifacts, Finish: providers.FinishOf(j.FinishReason), Money: j.Money,
		InputTokens: u.TotalInput(), OutputTokens: u.TotalOutput(), LatencyMS: j.LatencyMS,
	}
	if j.State.Finished() && j.State != jobs.Succeeded {
		a.Error = cmp.Or(j.ErrorClass, string(j.State))
		if j.ErrorMessage != "" {
			a.Error += ": " + j.ErrorMessage
		}
	}
	return a
}
