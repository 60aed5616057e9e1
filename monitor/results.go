package monitor

import (
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"oneflow/batches"
	"oneflow/jobs"
)

// resultFormats are the formats that a batch's results are downloaded in.
func resultFormats() []batches.Format {
	return []batches.Format{batches.FormatJSONL, batches.FormatCSV, batches.FormatParquet, batches.FormatOpenAI, batches.FormatAnthropic, batches.FormatRaw}
}

// formatName says what a format is.
func formatName(f batches.Format) string {
	switch f {
	case batches.FormatOpenAI:
		return "OpenAI's batch output"
	case batches.FormatAnthropic:
		return "Anthropic's batch results"
	case batches.FormatRaw:
		return "JSON lines, with the vendor's own body"
	case batches.FormatCSV:
		return "CSV"
	case batches.FormatParquet:
		return "Parquet"
	case batches.FormatJSONL:
	}
	return "JSON lines, with the row's columns"
}

// results sends what came of a batch's jobs, in the format that is asked for, as enqueue export
// writes it. The record says who has downloaded it.
func (m *Monitor) results(w http.ResponseWriter, r *http.Request) {
	b, err := m.batch(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	e := batches.Export{Format: batches.Format(r.URL.Query().Get("format"))}
	if e.Format == "" {
		e.Format = batches.FormatJSONL
	}
	if !slices.Contains(resultFormats(), e.Format) {
		m.refuse(w, r, http.StatusBadRequest, "format: must be jsonl, csv, parquet, openai, anthropic or raw")
		return
	}
	switch only := r.URL.Query().Get("only"); only {
	case "":
	case "failed":
		e.Failed = true
	case "succeeded":
		e.Succeeded = true
	default:
		m.refuse(w, r, http.StatusBadRequest, "only: must be failed or succeeded")
		return
	}
	if b.State == jobs.BatchRemoved {
		m.refuse(w, r, http.StatusGone, "the jobs of this batch and their results were removed")
		return
	}
	kind, ending := "application/x-ndjson", ".jsonl"
	switch e.Format {
	case batches.FormatCSV:
		kind, ending = "text/csv; charset=utf-8", ".csv"
	case batches.FormatParquet:
		kind, ending = "application/vnd.apache.parquet", ".parquet"
	case batches.FormatJSONL, batches.FormatOpenAI, batches.FormatAnthropic, batches.FormatRaw:
		if e.Format != batches.FormatJSONL {
			ending = "." + string(e.Format) + ending
		}
	}
	out := &begun{Writer: w}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": b.ID + ending}))
	if _, err := e.Write(r.Context(), m.cfg.Jobs, b.ID, out); err != nil {
		if out.yes {
			m.cfg.Log.Warn().Err(err).Str("batch", b.ID).Msg("a download broke off")
			panic(http.ErrAbortHandler) // the whole was promised
		}
		w.Header().Del("Content-Disposition")
		m.failPage(w, r, err)
	}
}

// begun knows whether something was written.
type begun struct {
	io.Writer
	yes bool
}

// Write implements io.Writer.
func (b *begun) Write(data []byte) (int, error) {
	b.yes = true
	return b.Writer.Write(data)
}

// batchTable sends a table that is made of a batch.
func (m *Monitor) batchTable(w http.ResponseWriter, r *http.Request, name string, rows func(Batch) [][]string) {
	b, err := m.batch(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	sendTable(w, name, rows(b))
}

// statesCSV sends how many of a batch's jobs are in each state.
func (m *Monitor) statesCSV(w http.ResponseWriter, r *http.Request) {
	m.batchTable(w, r, "states.csv", func(b Batch) [][]string {
		rows := [][]string{{"state", "jobs"}}
		for _, s := range states(b.Tally) {
			rows = append(rows, []string{s.Word, number(s.Jobs)})
		}
		return rows
	})
}

// modelsCSV sends what was called for a batch.
func (m *Monitor) modelsCSV(w http.ResponseWriter, r *http.Request) {
	m.batchTable(w, r, "models.csv", func(b Batch) [][]string {
		rows := [][]string{{"provider", "model", "calls", "succeeded", "input_tokens", "output_tokens", "cost_usd", "simulated_cost_usd", "unpriced_calls"}}
		for _, u := range b.Models {
			rows = append(rows, []string{
				u.Provider, u.Model, number(u.Calls), number(u.Succeeded), number(u.InputTokens), number(u.OutputTokens), u.Cost.String(), u.Simulated.String(), number(u.Unpriced),
			})
		}
		return rows
	})
}

// problemsCSV sends why a batch's jobs have failed, a row for each sample.
func (m *Monitor) problemsCSV(w http.ResponseWriter, r *http.Request) {
	m.batchTable(w, r, "problems.csv", func(b Batch) [][]string {
		rows := [][]string{{"class", "state", "jobs", "sample_job", "sample_message", "sample_at"}}
		for _, p := range b.Problems {
			for _, s := range p.Samples {
				rows = append(rows, []string{p.Class, string(p.State), number(p.Jobs), s.JobID, strings.TrimSpace(s.Message), stampOr(s.At)})
			}
		}
		return rows
	})
}
