package batches

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// Record is one job with all that came of it, as the store reads it.
type Record struct {
	ID       string
	CustomID string
	Row      int64 // its place in the input, from 1; 0 for a single job
	Task     providers.Task
	Provider string // that answered, or else that was asked
	Model    string
	// RequestedProvider and RequestedModel are what the job asked for.
	RequestedProvider string
	RequestedModel    string
	State             jobs.State
	FinishedAt        time.Time // zero until it has ended
	ErrorClass        string
	ErrorMessage      string
	Prompt            string          // empty where the job has a conversation
	Own               json.RawMessage // columns of its row that are no option, as an object; nil: none
	Calls             int
	Cost              billing.NanoUSD
	Simulated         billing.NanoUSD // of mocks and fakes: no part of Cost
	Charge            billing.NanoUSD // its account is charged so much
	Unpriced          bool
	// The rest is of the result; zero without one.
	HTTPStatus   int
	RequestID    string
	Text         string
	Vector       []float32 // of an embedding
	FinishReason string    // the provider's own word
	Raw          []byte
	LatencyMS    int64
	Usage        json.RawMessage // an object
	Artifacts    []ArtifactRef
}

// ArtifactRef says where a picture, sound or film is.
type ArtifactRef struct {
	URL string `json:"url"`
	// File is its path where the URL is of a file.
	File   string `json:"file,omitempty"`
	MIME   string `json:"mime"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// ExportStore reads what an export writes.
type ExportStore interface {
	// Export calls each for every job of a batch in input order, or for a single
	// job. It fails with jobs.ErrNotFound.
	Export(ctx context.Context, id string, each func(Record) error) error
	// OwnColumns returns the columns that rows of a batch have of their own, in the
	// order of the input; none for a single job or where nothing is found.
	OwnColumns(ctx context.Context, id string) ([]Column, error)
	// Holds says what else than texts a batch or a single job asks for.
	Holds(ctx context.Context, id string) (Holds, error)
}

// Holds says what results hold beside a text.
type Holds struct {
	Vectors bool // some are embeddings
	Answers bool // some may be several answers (n)
}

// Column is a column of the rows' own.
type Column struct {
	Name string
	// Type is that of all its values which are not null: "number", "boolean" or
	// "string"; "whole" for numbers without a fraction; "vector" for lists of numbers;
	// anything else is mixed.
	Type string
}

// line is one line of OpenAI's batch output, with our own fields beside.
type line struct {
	ID       string    `json:"id"`
	CustomID *string   `json:"custom_id"`
	Response *response `json:"response"`
	Error    *Failure  `json:"error"`
	OneFlow  oneflow   `json:"oneflow"`
}

type response struct {
	StatusCode int             `json:"status_code"`
	RequestID  string          `json:"request_id"`
	Body       json.RawMessage `json:"body"`
}

// Failure says why a job has no result: the class of the error, or else the state.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// oneflow is the same for every provider and format. It holds all its fields always.
type oneflow struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	requested
	Row          int64            `json:"row"`
	State        jobs.State       `json:"state"`
	Text         string           `json:"text"`
	Answers      []string         `json:"answers,omitempty"` // where several were asked for (n)
	Embedding    []float32        `json:"embedding,omitempty"`
	FinishReason string           `json:"finish_reason"`
	Usage        json.RawMessage  `json:"usage"`
	Artifacts    []ArtifactRef    `json:"artifacts"`
	CostUSD      *billing.NanoUSD `json:"cost_usd"` // null where a call has no known price
	ChargeUSD    billing.NanoUSD  `json:"charge_usd"`
	SimulatedUSD billing.NanoUSD  `json:"simulated_cost_usd"`
	Attempts     int              `json:"attempts"`
	LatencyMS    int64            `json:"latency_ms"`
	Columns      json.RawMessage  `json:"columns"` // of the row's own
}

// requested holds what the job asked for, where somebody else answered.
type requested struct {
	RequestedProvider string `json:"requested_provider,omitempty"`
	RequestedModel    string `json:"requested_model,omitempty"`
}

func (r Record) requested() requested {
	if r.RequestedProvider == "" || r.Provider == r.RequestedProvider {
		return requested{}
	}
	return requested{r.RequestedProvider, r.RequestedModel}
}

// Result is one job for a program that waits for it.
type Result struct {
	JobID    string     `json:"job_id"`
	State    jobs.State `json:"state"`
	Provider string     `json:"provider"`
	Model    string     `json:"model"`
	requested
	Text      string           `json:"text"`
	Answers   []string         `json:"answers,omitempty"` // where several were asked for (n)
	Embedding []float32        `json:"embedding,omitempty"`
	Artifacts []ArtifactRef    `json:"artifacts"` // never null
	Usage     json.RawMessage  `json:"usage"`     // never null
	CostUSD   *billing.NanoUSD `json:"cost_usd"`  // null where a call has no known price
	ChargeUSD billing.NanoUSD  `json:"charge_usd"`
	Simulated billing.NanoUSD  `json:"simulated_cost_usd"`
	LatencyMS int64            `json:"latency_ms"`
	Attempts  int              `json:"attempts"`
	Error     *Failure         `json:"error"` // null unless it ended without a result
	// Note says how the answer differs from what was asked for; empty: it does not.
	Note string `json:"note,omitempty"`
}

// Result returns the record in that shape.
func (r Record) Result() Result {
	return Result{
		JobID: r.ID, State: r.State, Provider: r.Provider, Model: r.Model, requested: r.requested(), Text: r.Text, Answers: r.Answers(), Embedding: r.Vector, Artifacts: r.artifacts(), Usage: r.usage(),
		CostUSD: r.cost(), ChargeUSD: r.Charge, Simulated: r.Simulated, LatencyMS: r.LatencyMS, Attempts: r.Calls, Error: r.failure(),
	}
}

// usage is never null.
func (r Record) usage() json.RawMessage {
	if len(r.Usage) == 0 {
		return json.RawMessage("{}")
	}
	return r.Usage
}

// own is never null.
func (r Record) own() json.RawMessage {
	if len(r.Own) == 0 {
		return json.RawMessage("{}")
	}
	return r.Own
}

// artifacts is never nil. Those that are files have their paths.
func (r Record) artifacts() []ArtifactRef {
	out := append([]ArtifactRef{}, r.Artifacts...)
	for i := range out {
		if out[i].File != "" {
			continue
		}
		if u, err := url.Parse(out[i].URL); err == nil && u.Scheme == "file" {
			out[i].File = u.Path
		}
	}
	return out
}

// cost is nil where it is not known.
func (r Record) cost() *billing.NanoUSD {
	if r.Unpriced {
		return nil
	}
	return &r.Cost
}

// failure is nil for a job that succeeded or has not finished.
func (r Record) failure() *Failure {
	if r.State == jobs.Succeeded || !r.State.Finished() {
		return nil
	}
	f := &Failure{Code: r.ErrorClass, Message: r.ErrorMessage}
	if f.Code == "" {
		f.Code = string(r.State)
	}
	return f
}

func (r Record) line(f Format) line {
	l := line{ID: r.ID, Error: r.failure(), OneFlow: oneflow{
		Provider: r.Provider, Model: r.Model, requested: r.requested(), Row: r.Row, State: r.State, Text: r.Text, Answers: r.Answers(), Embedding: r.Vector,
		Usage: r.usage(), Artifacts: r.artifacts(),
		CostUSD: r.cost(), ChargeUSD: r.Charge, SimulatedUSD: r.Simulated, Attempts: r.Calls, LatencyMS: r.LatencyMS, Columns: r.own(),
	}}
	if r.CustomID != "" {
		l.CustomID = &r.CustomID
	}
	if r.State == jobs.Succeeded {
		l.OneFlow.FinishReason = finishReason(r.FinishReason)
		l.Response = &response{StatusCode: r.HTTPStatus, RequestID: r.RequestID, Body: r.body(f)}
	}
	return l
}
