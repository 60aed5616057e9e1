package batches

import (
	"cmp"
	"math"
	"slices"
	"time"
	"unicode/utf16"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

const (
	// guessedAnswer is the length in tokens that an answer is expected to have where
	// nothing is known of the model's.
	guessedAnswer = 300
	// enoughAnswers is the number of answers from which a typical length is taken.
	enoughAnswers = 10
	// roughShare is the number of tokens that a text has, as a share of what an estimate without the
	// model's tokenizer says at most: see billing.EstimateTokens.
	roughShare = 0.5
	// lowShare is the least that is used, as a share of what is expected.
	lowShare = 0.6
)

// Answers holds what the ledger knows of a model's answers.
type Answers struct {
	Count        int64
	OutputTokens float64 // of one, on average
}

// ModelKey names a model of a provider.
type ModelKey struct{ Provider, Model string }

// String is PROVIDER/MODEL.
func (k ModelKey) String() string { return k.Provider + "/" + k.Model }

// Forecast adds up what jobs will use and cost.
type Forecast struct {
	Prices *billing.List
	// Kind returns the name that the price list has for a provider.
	Kind func(provider string) string
	// Known holds what the ledger knows, by provider and model.
	Known map[ModelKey]Answers
	// At is the time at which the jobs run: its prices count.
	At time.Time
	// Card says what their account is charged; nil: what providers charge.
	Card *billing.Card
	// Warm reports whether the first of those that begin alike is answered before the others
	// are sent.
	Warm bool
	// Cheaper looks for models that would cost less; nil: none are looked for.
	Cheaper *Cheaper

	lines map[lineKey]*ForecastLine
	// steps are the names of those of a pipeline, in their order.
	steps []string
	begin prefixes
	last  lastCombined
}

// lineKey names a line: a model, in a step of a pipeline.
type lineKey struct {
	step string
	ModelKey
}

// ForecastLine holds the expected use and cost of the jobs for one model.
type ForecastLine struct {
	// Step is the step of a pipeline that they are of; empty where there is none.
	Step     string `json:"step,omitempty"`
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Jobs     int64  `json:"jobs"`
	// Calls is the expected number of calls: fewer than jobs, where calls are shared.
	Calls int64 `json:"calls"`
	// CombiningSaves is the money that combining prompts is expected to save; negative: it costs more.
	CombiningSaves billing.NanoUSD `json:"combining_saves_usd,omitzero"`
	// InputTokens and OutputTokens are what is expected; 0 for anything but text.
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	// Low, Expected and High bound what they cost; High is what is reserved for them.
	Low      billing.NanoUSD `json:"low_usd"`
	Expected billing.NanoUSD `json:"expected_usd"`
	High     billing.NanoUSD `json:"high_usd"`
	// LowCharge, ExpectedCharge and HighCharge bound what their account is charged for them:
	// the same, where it has no rate card.
	LowCharge      billing.NanoUSD `json:"low_charge_usd"`
	ExpectedCharge billing.NanoUSD `json:"expected_charge_usd"`
	HighCharge     billing.NanoUSD `json:"high_charge_usd"`
	// Unpriced is the number of jobs that have no known price and are left out of the costs.
	Unpriced int64 `json:"unpriced_jobs"`
	// Measured reports whether the length of the answers comes from the ledger; else it is
	// guessed.
	Measured bool `json:"measured"`
	// Prefix says what the vendor's own cache would save; nil: nothing, or nobody knows.
	Prefix *Prefix `json:"prefix,omitempty"`
	// Cheaper are models that would cost less, the cheapest first.
	Cheaper []Alternative `json:"cheaper,omitempty"`

	calls float64 // see Calls
}

// Add adds a job, the first call of which succeeds.
func (f *Forecast) Add(job jobs.New) {
	low, expected, high := f.usage(job)
	f.add("", job, low, expected, high)
	f.begin.add(f.Kind(job.Provider), job, high)
}

// add adds a job of a step that uses so much. Where low uses nothing, it may not be made.
func (f *Forecast) add(step string, job jobs.New, low, expected, high providers.Usage) {
	key := lineKey{step, ModelKey{job.Provider, job.Request.Model}}
	if f.lines == nil {
		f.lines = map[lineKey]*ForecastLine{}
	}
	line := f.lines[key]
	if line == nil {
		line = &ForecastLine{Step: step, Provider: key.Provider, Model: key.Model, Measured: f.Known[key.ModelKey].Count >= enoughAnswers}
		f.lines[key] = line
	}
	line.Jobs++
	line.calls += f.callsOf(job, expected)
	line.InputTokens += expected.InputTokens
	line.OutputTokens += expected.OutputTokens
	var costs [3]*billing.NanoUSD
	if of := f.bounds(job, low, expected, high); of.Jobs > 0 {
		line.Low, line.Expected, line.High = add(line.Low, of.Low), add(line.Expected, of.Expected), add(line.High, of.High)
		costs = [3]*billing.NanoUSD{&of.Low, &of.Expected, &of.High}
		if combined(job.Request) {
			_, alone, _ := f.usageAlone(job)
			line.CombiningSaves = add(line.CombiningSaves, f.cost(f.Kind(job.Provider), job.Request.Model, alone, f.when(job), math.MaxInt64)-of.Expected)
		}
		if f.Cheaper != nil {
			f.Cheaper.add(key, job.Request, expected, of.Expected)
		}
	} else {
		line.Unpriced++
	}
	charges := [3]*billing.NanoUSD{&line.LowCharge, &line.ExpectedCharge, &line.HighCharge}
	for i, used := range []providers.Usage{low, expected, high} {
		if i == 0 && low == (providers.Usage{}) {
			continue
		}
		if amount, known := f.charge(job, used, costs[i], i == 2); known {
			*charges[i] = add(*charges[i], amount)
		}
	}
}

// bounds returns what a call costs that uses so much; of no job where no price is known.
func (f *Forecast) bounds(job jobs.New, low, expected, high providers.Usage) jobs.Estimate {
	kind, at := f.Kind(job.Provider), f.when(job)
	most, err := f.Prices.Reserve(kind, job.Request.Model, high, at)
	if err != nil || !most.Priced {
		return jobs.Estimate{}
	}
	of := jobs.Estimate{Jobs: 1, Expected: f.cost(kind, job.Request.Model, expected, at, most.Amount), High: most.Amount}
	if low != (providers.Usage{}) {
		of.Low = f.cost(kind, job.Request.Model, low, at, most.Amount)
	}
	return of
}

// wordTokens is the number of tokens of a word, in English prose.
const wordTokens = 4.0 / 3

// charge returns what the account is charged for a call that uses and costs so much; most:
// at most.
func (f *Forecast) charge(job jobs.New, used providers.Usage, cost *billing.NanoUSD, most bool) (billing.NanoUSD, bool) {
	task := job.Request.Task
	units := billing.MostUnits(task, used, kinds.Named(f.Kind(job.Provider), job.Request).N)
	if words := task == providers.Text || task == providers.Transcription; words && !most {
		units = max(1, share(units, 1/wordTokens))
	}
	return f.Card.Terms(task).Charge(units, cost)
}

// Lines returns the sums, those of a step together and the dearest first.
func (f *Forecast) Lines() []ForecastLine {
	if len(f.steps) == 0 {
		f.steps = []string{""}
	}
	list := make([]ForecastLine, 0, len(f.lines))
	for key, line := range f.lines {
		if key.step == f.steps[0] { // what the others begin with, answers decide
			line.Prefix = f.begin.of(f, key.ModelKey)
			f.count(line)
		}
		if f.Cheaper != nil {
			line.Cheaper = f.Cheaper.than(key)
		}
		line.Calls = int64(math.Ceil(line.calls - 1e-6)) // of what 1/n each sums up to
		list = append(list, *line)
	}
	slices.SortFunc(list, func(a, b ForecastLine) int {
		return cmp.Or(cmp.Compare(slices.Index(f.steps, a.Step), slices.Index(f.steps, b.Step)), cmp.Compare(b.Expected, a.Expected), cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Model, b.Model))
	})
	return list
}

// Least returns the least that the account of a job is expected to be charged for it; 0
// where nobody knows.
func (f *Forecast) Least(job jobs.New) billing.NanoUSD {
	kind, at := f.Kind(job.Provider), f.when(job)
	low, _, high := f.usage(job)
	most, err := f.Prices.Reserve(kind, job.Request.Model, high, at)
	var cost *billing.NanoUSD
	if err == nil && most.Priced {
		least := f.cost(kind, job.Request.Model, low, at, most.Amount)
		cost = &least
	}
	amount, _ := f.charge(job, low, cost, false)
	return amount
}

// when is the time whose prices count for a job.
func (f *Forecast) when(job jobs.New) time.Time {
	if job.RunAt.After(f.At) {
		return job.RunAt
	}
	return f.At
}

// usage is the least, the expected and the most that a job uses.
func (f *Forecast) usage(job jobs.New) (low, expected, high providers.Usage) {
	low, expected, high = f.usageAlone(job)
	if combined(job.Request) {
		return f.together(job, low, expected, high)
	}
	return low, expected, high
}

// usageAlone is the usage of a job that has a call of its own.
func (f *Forecast) usageAlone(job jobs.New) (low, expected, high providers.Usage) {
	kind := f.Kind(job.Provider)
	high = f.Prices.UpperBound(kind, job.Request, f.At)
	if job.Request.Task == providers.Embedding {
		in, _ := billing.EstimateTokens(kind, job.Request)
		expected, low = high, high
		expected.InputTokens, low.InputTokens = min(in, high.InputTokens), min(share(in, lowShare), high.InputTokens)
		return low, expected, high
	}
	if job.Request.Task != providers.Text {
		low = high
		if job.Request.Task == providers.Transcription { // how long a sound is, only its bytes bound
			low.MilliSeconds, low.AudioInputTokens = share(high.MilliSeconds, 0.1), share(high.AudioInputTokens, 0.1)
		}
		low.Images, low.ImageOutputTokens = high.Images, share(high.ImageOutputTokens, lowShare)
		low.Characters = share(high.Characters, 0.5) // voices count differently
		expected = high
		expected.Characters = min(high.Characters, int64(len(utf16.Encode([]rune(job.Request.Prompt)))))
		return low, expected, high
	}
	in, most := tokensOf(kind, job.Request)
	out, known := int64(guessedAnswer), f.Known[ModelKey{job.Provider, job.Request.Model}]
	least := int64(1)
	if known.Count >= enoughAnswers {
		out = int64(math.Round(known.OutputTokens))
		least = share(out, lowShare)
	}
	n := int64(max(1, kinds.Named(kind, job.Request).N)) // answers
	out, least = out*n, least*n
	expected, low = high, high
	expected.InputTokens, expected.OutputTokens = in, min(out, most)
	low.InputTokens, low.OutputTokens, low.WebSearches = share(in, lowShare), min(least, most), 0
	expected.CacheWriteTokens, expected.CacheWrite1hTokens, low.CacheWriteTokens, low.CacheWrite1hTokens = 0, 0, 0, 0
	if high.CacheWriteTokens+high.CacheWrite1hTokens == 0 {
		return low, expected, high
	}
	// What is marked for the vendor's cache is written there, or, at best, read.
	if kept := min(in, marked(kind, job.Request)); kept > 0 {
		written := writing(high, kept)
		expected.InputTokens, expected.CacheWriteTokens, expected.CacheWrite1hTokens = in-kept, written.CacheWriteTokens, written.CacheWrite1hTokens
		low.InputTokens, low.CachedInputTokens = share(in-kept, lowShare), share(kept, lowShare)
	}
	return low, expected, high
}

// tokensOf is the number of tokens that a request for a text is expected to have, and the
// most that its answer may have.
func tokensOf(kind string, req providers.Request) (in, most int64) {
	in, most = billing.EstimateTokens(kind, req)
	if d, _ := kinds.Of(kind); d.Tokenizer == "" {
		in = share(in, roughShare)
	}
	return in, most
}

// marked is the number of tokens of a request up to the last that it marks for the vendor's
// cache, and 0 where these are too few for it.
func marked(kind string, req providers.Request) int64 {
	req = kinds.Named(kind, req)
	last, part := -1, 0
	for i, m := range req.Messages {
		for j, p := range m.Parts {
			if p.Cache != providers.NoCache {
				last, part = i, j
			}
		}
	}
	switch {
	case last >= 0:
		req.Messages = slices.Clone(req.Messages[:last+1])
		req.Messages[last].Parts = req.Messages[last].Parts[:part+1]
	default: // a tool's, or one in the vendor's own words
		req.Messages, req.Prompt = nil, ""
	}
	d, _ := kinds.Of(kind)
	if in, _ := tokensOf(kind, req); in >= d.Cache.MinTokens {
		return in
	}
	return 0
}

// cost returns the price of a usage, but no more than most.
func (f *Forecast) cost(kind, model string, u providers.Usage, at time.Time, most billing.NanoUSD) billing.NanoUSD {
	charge, err := f.Prices.Cost(kind, model, u, at)
	if err != nil || !charge.Priced {
		return most
	}
	return min(charge.Amount, most)
}

func share(n int64, of float64) int64 { return int64(math.Round(float64(n) * of)) }

func add(a, b billing.NanoUSD) billing.NanoUSD {
	return billing.NanoUSD(jobs.Sum(int64(a), int64(b)))
}
