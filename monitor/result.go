package monitor

import (
	"encoding/json"
	"fmt"
	"net/http"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// jobAnswer holds the outcome of a single job, for programs.
type jobAnswer struct {
	ID       string         `json:"id"`
	CustomID string         `json:"custom_id,omitempty"`
	State    jobs.State     `json:"state"`
	Task     providers.Task `json:"task"`
	Provider string         `json:"provider"`
	Model    string         `json:"model"`
	Text     string         `json:"text,omitempty"`
	Vector   []float32      `json:"vector,omitempty"`
	// Body is the vendor's own answer where that is neither text, vector nor file, such as the
	// call of a tool.
	Body         json.RawMessage  `json:"body,omitempty"`
	Artifacts    []answerArtifact `json:"artifacts"`
	FinishReason string           `json:"finish_reason,omitempty"`
	Usage        json.RawMessage  `json:"usage,omitempty"`
	Error        string           `json:"error,omitempty"`
	Message      string           `json:"message,omitempty"`
	Cost         billing.NanoUSD  `json:"cost_usd"`
	Simulated    billing.NanoUSD  `json:"simulated_cost_usd"`
}

// answerArtifact is a picture, sound or film of an answer.
type answerArtifact struct {
	URL    string `json:"url"` // a path of the monitor's
	MIME   string `json:"mime"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// jobResult answers with what came of a job that has ended. The record says who has looked.
func (m *Monitor) jobResult(w http.ResponseWriter, r *http.Request) {
	id, line, err := m.job(r)
	if err == nil && !line.State.Finished() {
		m.problem(w, r, http.StatusConflict, "the job has not ended: it is "+string(line.State))
		return
	}
	var a jobAnswer
	if err == nil {
		err = m.cfg.Jobs.Export(r.Context(), id.String(), func(rec batches.Record) error {
			a = m.answerOf(rec)
			return nil
		})
	}
	m.answer(w, r, a, err)
}

func (m *Monitor) answerOf(rec batches.Record) jobAnswer {
	a := jobAnswer{
		ID: rec.ID, CustomID: rec.CustomID, State: rec.State, Task: rec.Task, Provider: rec.Provider, Model: rec.Model, Text: rec.Text, Vector: rec.Vector,
		Artifacts: []answerArtifact{}, FinishReason: rec.FinishReason, Usage: rec.Usage, Error: rec.ErrorClass, Message: rec.ErrorMessage, Cost: rec.Cost, Simulated: rec.Simulated,
	}
	for n, ref := range rec.Artifacts {
		a.Artifacts = append(a.Artifacts, answerArtifact{fmt.Sprintf("%s/api/v1/jobs/%s/artifacts/%d", m.cfg.BasePath, rec.ID, n), ref.MIME, ref.Size, ref.SHA256})
	}
	if a.Text == "" && a.Vector == nil && len(a.Artifacts) == 0 && json.Valid(rec.Raw) {
		a.Body = rec.Raw
	}
	return a
}
