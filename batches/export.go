package batches

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"

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
	ErrorClass        string
	ErrorMessage      string
	Calls             int
	Cost              billing.NanoUSD
	Simulated         billing.NanoUSD // of mocks and fakes: no part of Cost
	Unpriced          bool
	// The rest is of the result; zero without one.
	HTTPStatus   int
	RequestID    string
	Text         string
	FinishReason string // the provider's own word
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
	FinishReason string           `json:"finish_reason"`
	Usage        json.RawMessage  `json:"usage"`
	Artifacts    []ArtifactRef    `json:"artifacts"`
	CostUSD      *billing.NanoUSD `json:"cost_usd"` // null where a call has no known price
	SimulatedUSD billing.NanoUSD  `json:"simulated_cost_usd"`
	Attempts     int              `json:"attempts"`
	LatencyMS    int64            `json:"latency_ms"`
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

// Format names the shape of response.body in an export's lines.
type Format string

// FormatOpenAI is the shape of OpenAI's API whoever answered, FormatRaw the vendor's
// own body.
const (
	FormatOpenAI Format = "openai"
	FormatRaw    Format = "raw"
)

// Export says what of a batch or a job is written, and how.
type Export struct {
	// Format is FormatOpenAI where it is empty.
	Format Format
	// Failed and Succeeded leave out all other jobs: Failed those that have finished
	// without a result and that nobody cancelled.
	Failed, Succeeded bool
}

// Exported counts what was written.
type Exported struct {
	Lines int64
	// Unfinished counts the jobs that have not finished, whether they are written or not.
	Unfinished int64
}

// WriteJSONL writes one line a job, in input order, in the frame of OpenAI's batch
// output.
func (e Export) WriteJSONL(ctx context.Context, s ExportStore, id string, w io.Writer) (n Exported, err error) {
	buffered := bufio.NewWriterSize(w, 256<<10)
	encode := json.NewEncoder(buffered)
	encode.SetEscapeHTML(false)
	err = s.Export(ctx, id, func(r Record) error {
		if !r.State.Finished() {
			n.Unfinished++
		}
		failed := r.State.Finished() && r.State != jobs.Succeeded && r.State != jobs.Cancelled
		if e.Failed && !failed || e.Succeeded && r.State != jobs.Succeeded {
			return nil
		}
		n.Lines++
		return encode.Encode(r.line(e.Format))
	})
	if err != nil {
		return n, fmt.Errorf("export %s: %w", id, err)
	}
	if err := buffered.Flush(); err != nil {
		return n, fmt.Errorf("export %s: %w", id, err)
	}
	return n, nil
}

// Result is one job for a program that waits for it.
type Result struct {
	JobID    string     `json:"job_id"`
	State    jobs.State `json:"state"`
	Provider string     `json:"provider"`
	Model    string     `json:"model"`
	requested
	Text      string           `json:"text"`
	Artifacts []ArtifactRef    `json:"artifacts"` // never null
	Usage     json.RawMessage  `json:"usage"`     // never null
	CostUSD   *billing.NanoUSD `json:"cost_usd"`  // null where a call has no known price
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
		JobID: r.ID, State: r.State, Provider: r.Provider, Model: r.Model, requested: r.requested(), Text: r.Text, Artifacts: r.artifacts(), Usage: r.usage(),
		CostUSD: r.cost(), Simulated: r.Simulated, LatencyMS: r.LatencyMS, Attempts: r.Calls, Error: r.failure(),
	}
}

// usage is never null.
func (r Record) usage() json.RawMessage {
	if len(r.Usage) == 0 {
		return json.RawMessage("{}")
	}
	return r.Usage
}

// artifacts is never nil. Those that are files have their paths.
func (r Record) artifacts() []ArtifactRef {
	out := append([]ArtifactRef{}, r.Artifacts...)
	for i := range out {
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
		Provider: r.Provider, Model: r.Model, requested: r.requested(), Row: r.Row, State: r.State, Text: r.Text,
		Usage: r.usage(), Artifacts: r.artifacts(),
		CostUSD: r.cost(), SimulatedUSD: r.Simulated, Attempts: r.Calls, LatencyMS: r.LatencyMS,
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
