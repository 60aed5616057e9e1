package monitor

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
)

// jobPage is the data of a job's page.
type jobPage struct {
	jobs.Line
	jobs.Trail
	At       time.Time
	Timeline []happening
	// Waiting says why it waits.
	Waiting []fleet.Wait
	// Task leads to the task in Redis that carries it; empty: there is none, or it is not for
	// whoever looks.
	Task string
	// May reports whether whoever looks may give orders.
	May bool
	// Shown reports whether what was asked and answered is there.
	Shown bool
	// Asked is the request, and Answer the answer's text.
	Asked, Answer string
	Artifacts     []batches.ArtifactRef
}

// Retryable reports whether the job can be brought back to the queue.
func (p jobPage) Retryable() bool { return p.State == jobs.Failed || p.State == jobs.Expired }

// Settleable reports whether a person may say what came of its calls: one that was sent has an
// unknown outcome.
func (p jobPage) Settleable() bool {
	return p.State == jobs.Unknown || slices.ContainsFunc(p.Trail.Calls, func(c jobs.CallLine) bool { return c.Outcome == string(jobs.CallUnknown) })
}

// happening is one thing that has happened to a job.
type happening struct {
	At time.Time
	// State is a state of the job, or an outcome of a call.
	State, What, Why string
	// Cost is its share of a call's, or all that the job has cost; nil: nothing, or not known.
	Cost      *billing.NanoUSD
	Simulated bool
	// End holds the time at which a call ended; zero: it is no call, or runs.
	End time.Time
}

// timeline lists what has happened to a job, in order, with the reasons and the cost.
func timeline(l jobs.Line, t jobs.Trail) []happening {
	list := []happening{{At: l.CreatedAt, State: "accepted", What: "in the " + string(l.Lane) + " lane of " + cmp.Or(l.RequestedProvider, l.Provider)}}
	add := func(at time.Time, state, what, why string) {
		if !at.IsZero() {
			list = append(list, happening{At: at, State: state, What: what, Why: why})
		}
	}
	if l.RunAt.Sub(l.CreatedAt) > time.Second {
		add(l.RunAt, "due", "the time that it was asked for", "")
	}
	add(t.DispatchedAt, "delivered", "to Redis", "")
	add(t.PausedAt, "paused", "by an operator", "")
	add(t.CancelRequestedAt, "cancelling", "somebody asked for it", "")
	for _, c := range t.Calls {
		h := happening{At: c.StartedAt, State: c.Outcome, What: fmt.Sprintf("attempt %d: a call of %s", c.Attempt, c.Provider), Cost: c.Cost, Simulated: c.Simulated, End: c.EndedAt}
		if c.Model != "" {
			h.What += ", " + c.Model
		}
		if c.Gen > 1 {
			h.What += fmt.Sprintf(" (delivery %d)", c.Gen)
		}
		if h.Why = c.Error; c.Status >= http.StatusBadRequest {
			h.Why += fmt.Sprintf(" (HTTP %d)", c.Status)
		}
		if c.Message != "" {
			h.Why += ": " + c.Message
		}
		list = append(list, h)
	}
	if !l.FinishedAt.IsZero() {
		why := l.Error
		if l.Message != "" {
			why += ": " + l.Message
		}
		add(l.FinishedAt, string(l.State), "", why)
	}
	slices.SortStableFunc(list, func(a, b happening) int { return a.At.Compare(b.At) })
	return list
}

func (m *Monitor) jobPage(w http.ResponseWriter, r *http.Request) { m.showJob(w, r, false) }

// revealJob shows what was asked and answered. The record says who has looked.
func (m *Monitor) revealJob(w http.ResponseWriter, r *http.Request) { m.showJob(w, r, true) }

// maxShown bounds the text that is shown of a request or an answer, in bytes.
const maxShown = 200 << 10

func (m *Monitor) showJob(w http.ResponseWriter, r *http.Request, reveal bool) {
	id, line, err := m.job(r)
	p := jobPage{Line: line, At: time.Now(), Shown: reveal, May: access.From(r.Context()).Scope.Includes(access.Operate)}
	if err == nil {
		p.Trail, err = m.cfg.Jobs.JobTrail(r.Context(), id)
	}
	if err == nil && !line.State.Finished() && line.State != jobs.Running {
		p.Waiting, err = fleet.Waits(r.Context(), m.cfg.Store, "", line.ID)
	}
	if err == nil && reveal {
		err = m.reveal(r.Context(), id, &p)
	}
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	p.Timeline = timeline(p.Line, p.Trail)
	if a := access.From(r.Context()).Account; a == "" && p.Delivery != "" {
		p.Task = queuesPath + "queues/" + url.PathEscape(jobs.QueueName(cmp.Or(p.RequestedProvider, p.Provider), p.Lane)) + "/tasks/" + url.PathEscape(p.Delivery)
	}
	m.show(w, r, http.StatusOK, frame{Title: "Job " + p.ID, Here: "jobs", JSON: "/api/v1/jobs/" + p.ID, At: p.At, Still: reveal}, "job", p)
}

func (m *Monitor) reveal(ctx context.Context, id uuid.UUID, p *jobPage) error {
	asked, err := m.cfg.Jobs.JobRequest(ctx, id)
	if err != nil {
		return err
	}
	p.Asked = cut(string(asked))
	return m.cfg.Jobs.Export(ctx, id.String(), func(rec batches.Record) error {
		p.Answer, p.Artifacts = cut(rec.Text), rec.Artifacts
		if p.Answer == "" && utf8.Valid(rec.Raw) {
			p.Answer = cut(string(rec.Raw))
		}
		return nil
	})
}

func cut(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "…"
}

func (m *Monitor) jobJSON(w http.ResponseWriter, r *http.Request) {
	id, line, err := m.job(r)
	var trail jobs.Trail
	if err == nil {
		trail, err = m.cfg.Jobs.JobTrail(r.Context(), id)
	}
	if trail.Calls == nil {
		trail.Calls = []jobs.CallLine{}
	}
	m.answer(w, r, struct {
		jobs.Line
		Ledger []jobs.CallLine `json:"ledger"`
	}{line, trail.Calls}, err)
}

// shownTypes are the media types that a browser is let show; anything else is downloaded.
func shownTypes() []string {
	return []string{"image/png", "image/jpeg", "image/webp", "image/gif", "audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "audio/aac", "video/mp4"}
}

// artifact sends a picture, sound or film of a job.
func (m *Monitor) artifact(w http.ResponseWriter, r *http.Request) {
	id, _, err := m.job(r)
	n, bad := strconv.Atoi(r.PathValue("n"))
	if err == nil && (bad != nil || n < 0 || m.cfg.OpenURL == nil) {
		err = jobs.ErrNotFound
	}
	var ref batches.ArtifactRef
	if err == nil {
		err = m.cfg.Jobs.Export(r.Context(), id.String(), func(rec batches.Record) error {
			if n >= len(rec.Artifacts) {
				return jobs.ErrNotFound
			}
			ref = rec.Artifacts[n]
			return nil
		})
	}
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	from, err := m.cfg.OpenURL(r.Context(), ref.URL)
	if err != nil {
		m.cfg.Log.Warn().Err(err).Stringer("job", id).Msg("artefact cannot be read")
		m.refuse(w, r, http.StatusNotFound, "the file is not there any more")
		return
	}
	defer func() { _ = from.Close() }()
	w.Header().Set("Content-Type", ref.MIME)
	if !slices.Contains(shownTypes(), ref.MIME) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", "attachment")
	}
	_, _ = io.Copy(w, from)
}

// callsCSV sends the calls of a job as a table.
func (m *Monitor) callsCSV(w http.ResponseWriter, r *http.Request) {
	id, _, err := m.job(r)
	var t jobs.Trail
	if err == nil {
		t, err = m.cfg.Jobs.JobTrail(r.Context(), id)
	}
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{
		"id", "attempt", "provider", "model", "outcome", "started_at", "ended_at", "http_status", "request_id", "error", "message", "jobs", "latency_ms", "input_tokens", "output_tokens",
		"simulated", "reserved_usd", "cost_usd",
	}}
	amount := func(n *billing.NanoUSD) string {
		if n == nil {
			return ""
		}
		return n.String()
	}
	for _, c := range t.Calls {
		latency := ""
		if c.LatencyMS != nil {
			latency = number(*c.LatencyMS)
		}
		rows = append(rows, []string{
			c.ID, strconv.Itoa(c.Attempt), c.Provider, c.Model, c.Outcome, stampOr(c.StartedAt), stampOr(c.EndedAt), strconv.Itoa(c.Status), c.RequestID, c.Error, c.Message, number(c.Jobs),
			latency, number(c.InputTokens), number(c.OutputTokens), strconv.FormatBool(c.Simulated), amount(c.Reserved), amount(c.Cost),
		})
	}
	sendTable(w, "calls.csv", rows)
}
