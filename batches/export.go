package batches

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// Record is one job with all that came of it, as the store reads it.
type Record struct {
	ID       string
	CustomID string
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
	HTTPStatus int
	RequestID  string
	Text       string
	Raw        []byte
	LatencyMS  int64
	Usage      json.RawMessage // an object; an export's lines do not hold it
	Artifacts  []ArtifactRef
}

// ArtifactRef says where a picture, sound or film is.
type ArtifactRef struct {
	URL    string `json:"url"`
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

type oneflow struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	requested
	CostUSD   *billing.NanoUSD `json:"cost_usd"` // null where a call has no known price
	Attempts  int              `json:"attempts"`
	LatencyMS int64            `json:"latency_ms"`
	State     jobs.State       `json:"state"`
	Artifacts []ArtifactRef    `json:"artifacts,omitempty"`
}

// requested is what the job asked for, where somebody else answered.
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

// ExportJSONL writes one line a job, in input order, in the shape of OpenAI's
// batch output. It returns how many lines it wrote.
func ExportJSONL(ctx context.Context, s ExportStore, id string, w io.Writer) (int, error) {
	buffered := bufio.NewWriterSize(w, 256<<10)
	encode := json.NewEncoder(buffered)
	encode.SetEscapeHTML(false)
	n := 0
	err := s.Export(ctx, id, func(r Record) error {
		n++
		return encode.Encode(r.line())
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
	LatencyMS int64            `json:"latency_ms"`
	Attempts  int              `json:"attempts"`
	Error     *Failure         `json:"error"` // null unless it ended without a result
}

// Result returns the record in that shape.
func (r Record) Result() Result {
	out := Result{
		JobID: r.ID, State: r.State, Provider: r.Provider, Model: r.Model, requested: r.requested(), Text: r.Text, Artifacts: r.Artifacts, Usage: r.Usage,
		CostUSD: r.cost(), LatencyMS: r.LatencyMS, Attempts: r.Calls, Error: r.failure(),
	}
	if out.Artifacts == nil {
		out.Artifacts = []ArtifactRef{}
	}
	if len(out.Usage) == 0 {
		out.Usage = json.RawMessage("{}")
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

func (r Record) line() line {
	l := line{ID: r.ID, Error: r.failure(), OneFlow: oneflow{
		CostUSD: r.cost(), Provider: r.Provider, Model: r.Model, requested: r.requested(), Attempts: r.Calls, LatencyMS: r.LatencyMS, State: r.State, Artifacts: r.Artifacts,
	}}
	if r.CustomID != "" {
		l.CustomID = &r.CustomID
	}
	if r.State == jobs.Succeeded {
		l.Response = &response{StatusCode: r.HTTPStatus, RequestID: r.RequestID, Body: r.body()}
	}
	return l
}

// body is the provider's own where that is JSON; else what was made of it. Bytes
// that are no UTF-8 become U+FFFD: a reader would stumble over the whole file.
func (r Record) body() json.RawMessage {
	if json.Valid(r.Raw) {
		return bytes.ToValidUTF8(r.Raw, []byte("\uFFFD"))
	}
	body, err := json.Marshal(struct {
		Text string        `json:"text,omitempty"`
		Data []ArtifactRef `json:"data,omitempty"`
	}{r.Text, r.Artifacts})
	if err != nil {
		return json.RawMessage("null")
	}
	return body
}
