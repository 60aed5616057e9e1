package monitor

import (
	"cmp"
	"context"
	"errors"
	"maps"
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
	"oneflow/config"
	"oneflow/jobs"
	"oneflow/providers"
)

// JobStore reads single jobs and lists of batches.
type JobStore interface {
	// Jobs lists the jobs that a filter selects, the newest first.
	Jobs(ctx context.Context, f jobs.Filter) (jobs.Lines, error)
	// JobLine reads one job. It and JobRequest fail with jobs.ErrNotFound.
	JobLine(ctx context.Context, id uuid.UUID) (jobs.Line, error)
	// JobTrail returns what has happened to a job.
	JobTrail(ctx context.Context, id uuid.UUID) (jobs.Trail, error)
	// JobRequest returns what a job asks for, as JSON.
	JobRequest(ctx context.Context, id uuid.UUID) ([]byte, error)
	// ExportStore reads what came of a job, or of a batch's jobs.
	batches.ExportStore
	// Batches lists the batches that a filter selects, the newest first.
	Batches(ctx context.Context, f batches.Filter) ([]batches.Summary, error)
}

// OrderStore does what people order of jobs and batches, by their ids. Each fails with
// jobs.ErrNotFound.
type OrderStore interface {
	// StopJobs cancels; what was sent already may finish.
	StopJobs(ctx context.Context, id string) error
	// RetryFailed brings what has failed or expired back to the queue.
	RetryFailed(ctx context.Context, id string) error
	// RetryGroup brings those jobs of a batch back that ended in one state for one reason.
	RetryGroup(ctx context.Context, id string, state jobs.State, class string) error
	// SettleUnknown settles the calls whose outcome is not known: the provider billed them,
	// at their reserved price, or did not. The jobs that are unknown because of them fail, or
	// are sent again.
	SettleUnknown(ctx context.Context, id string, billed, retry bool) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
}

const (
	jobsPerPage = 50
	// jobsPerFile bounds a table that is downloaded.
	jobsPerFile = 10_000
	batchesList = 200
)

// jobsPage is the data of the page of jobs.
type jobsPage struct {
	jobs.Lines
	At time.Time
	// Path, Title and Here are those of the page: of all jobs, or of dead letters.
	Path, Title, Here string
	// May reports whether whoever looks may give orders.
	May bool
	// Query is the filter as it was asked for, and NextPage and CSV lead to the next part
	// and to the table.
	Query         map[string]string
	States        []jobs.State
	NextPage, CSV string
	OneAccount    bool
}

// Dead reports whether this is the page of dead letters.
func (p jobsPage) Dead() bool { return p.Here == "dead-letters" }

// jobFilters are the names of a filter's fields in an address.
func jobFilters() []string {
	return []string{"state", "provider", "model", "batch", "account", "task", "tag", "error", "since", "before"}
}

// filter reads a filter of jobs; an account's token lists its own only.
func filter(r *http.Request) (f jobs.Filter, err error) {
	q := r.URL.Query()
	for _, name := range append(jobFilters(), "cursor") {
		if v := q.Get(name); len(v) > 200 || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return f, errors.New(name + ": must be text of at most 200 bytes")
		}
	}
	f = jobs.Filter{
		State: jobs.State(q.Get("state")), Provider: q.Get("provider"), Model: q.Get("model"), BatchID: q.Get("batch"), Account: q.Get("account"),
		Task: providers.Task(q.Get("task")), Tag: q.Get("tag"), Error: q.Get("error"), Limit: jobsPerPage,
	}
	if s := q.Get("limit"); s != "" {
		if f.Limit, err = strconv.Atoi(s); err != nil || f.Limit < 1 || f.Limit > 1000 {
			return f, errors.New("limit: must be from 1 to 1000")
		}
	}
	if f.State != "" && !slices.Contains(jobs.States(), f.State) {
		return f, errors.New("state: there is no such state")
	}
	if s := cmp.Or(q.Get("cursor"), q.Get("before")); s != "" {
		if f.Before, err = uuid.Parse(s); err != nil {
			return f, errors.New("before: must be the id of a job")
		}
	}
	if s := q.Get("since"); s != "" {
		if f.From, err = since(s, time.Now()); err != nil {
			return f, err
		}
	}
	if own := access.From(r.Context()).Account; own != "" {
		f.Account = own
	}
	f.Dead = q.Get("dead") != ""
	return f, nil
}

// since reads a time: a span before now, such as 2h, or a date or time.
func since(s string, now time.Time) (time.Time, error) {
	if d, err := config.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("since: must be a span such as 2h or 7d, a date or a time such as 2026-01-31T18:00:00Z")
}

func (m *Monitor) jobsPage(w http.ResponseWriter, r *http.Request) {
	m.listJobs(w, r, jobsPage{Path: "/jobs", Title: "Jobs", Here: "jobs", States: jobs.States()})
}

// deadLettersPage lists what has ended without an answer.
func (m *Monitor) deadLettersPage(w http.ResponseWriter, r *http.Request) {
	m.listJobs(w, r, jobsPage{Path: "/dead-letters", Title: "Dead letters", Here: "dead-letters", States: []jobs.State{jobs.Failed, jobs.Expired, jobs.Unknown}})
}

// listJobs shows a page of jobs.
func (m *Monitor) listJobs(w http.ResponseWriter, r *http.Request, p jobsPage) {
	f, err := filter(r)
	if err != nil {
		m.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	f.Dead = f.Dead || p.Dead()
	if p.Lines, err = m.cfg.Jobs.Jobs(r.Context(), f); err != nil {
		m.failPage(w, r, err)
		return
	}
	p.At, p.Query, p.OneAccount = time.Now(), map[string]string{}, access.From(r.Context()).Account != ""
	p.May = access.From(r.Context()).Scope.Includes(access.Operate)
	kept := url.Values{}
	for _, name := range jobFilters() {
		if v := r.URL.Query().Get(name); v != "" {
			p.Query[name] = v
			if name != "before" {
				kept.Set(name, v)
			}
		}
	}
	if p.Next != "" {
		next := maps.Clone(kept)
		next.Set("before", p.Next)
		p.NextPage = p.Path + "?" + next.Encode()
	}
	if p.Dead() {
		kept.Set("dead", "1")
	}
	p.CSV = "/jobs.csv?" + kept.Encode()
	m.show(w, r, http.StatusOK, frame{Title: p.Title, Here: p.Here, JSON: "/api/v1/jobs?" + kept.Encode(), At: p.At}, "jobs", p)
}

func (m *Monitor) jobsJSON(w http.ResponseWriter, r *http.Request) {
	f, err := filter(r)
	if err != nil {
		m.problem(w, r, http.StatusBadRequest, err.Error())
		return
	}
	lines, err := m.cfg.Jobs.Jobs(r.Context(), f)
	if lines.Jobs == nil {
		lines.Jobs = []jobs.Line{}
	}
	m.answer(w, r, lines, err)
}

// jobsCSV sends a table of the jobs that a filter selects, part by part.
func (m *Monitor) jobsCSV(w http.ResponseWriter, r *http.Request) {
	f, err := filter(r)
	if err != nil {
		m.problem(w, r, http.StatusBadRequest, err.Error())
		return
	}
	f.Limit = 1000
	var lines jobs.Lines
	if lines, err = m.cfg.Jobs.Jobs(r.Context(), f); err != nil {
		m.failPage(w, r, err)
		return
	}
	table := newTable(w, "jobs.csv")
	table.write("id", "batch", "custom_id", "account", "task", "provider", "model", "state", "attempts", "calls", "cost_usd", "simulated_cost_usd", "unpriced_calls", "error", "message", "created_at", "finished_at")
	for n := 0; ; {
		for _, l := range lines.Jobs {
			table.write(l.ID, l.BatchID, l.CustomID, l.Account, string(l.Task), l.Provider, l.Model, string(l.State), strconv.Itoa(l.Attempt), strconv.FormatInt(l.Calls, 10),
				l.Cost.String(), l.Simulated.String(), strconv.FormatInt(l.Unpriced, 10), l.Error, l.Message, stampOr(l.CreatedAt), stampOr(l.FinishedAt))
		}
		if n += len(lines.Jobs); lines.Next == "" || n >= jobsPerFile {
			break
		}
		if f.Before, err = uuid.Parse(lines.Next); err == nil {
			lines, err = m.cfg.Jobs.Jobs(r.Context(), f)
		}
		if err != nil {
			m.cfg.Log.Warn().Err(err).Msg("a table broke off")
			panic(http.ErrAbortHandler) // a whole table was promised
		}
	}
	table.Flush()
}

// job reads the job that a path names, if whoever asks may see it.
func (m *Monitor) job(r *http.Request) (uuid.UUID, jobs.Line, error) {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		return id, jobs.Line{}, jobs.ErrNotFound
	}
	l, err := m.cfg.Jobs.JobLine(r.Context(), id)
	if err == nil {
		err = mine(r, l.Account)
	}
	return id, l, err
}

// order carries out what a person orders of a job or a batch, and leads back to its page.
func (m *Monitor) order(path string, owner func(*http.Request) (id string, err error), do func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := owner(r)
		if err == nil {
			err = do(r.Context(), id)
		}
		switch {
		case errors.Is(err, jobs.ErrBatchCancelled):
			m.refuse(w, r, http.StatusConflict, "the batch was cancelled: nothing of it goes on")
		case err != nil:
			status, t := m.explain(r, err)
			m.refuse(w, r, status, t.Heading)
		case strings.HasPrefix(r.URL.Path, "/api/"):
			w.WriteHeader(http.StatusNoContent)
		default:
			http.Redirect(w, r, m.cfg.BasePath+path+url.PathEscape(id), http.StatusSeeOther)
		}
	}
}

// retryGroup brings those jobs of a batch back that ended in one state for one reason.
func (m *Monitor) retryGroup(w http.ResponseWriter, r *http.Request) {
	if _, err := m.ownBatch(r); err != nil {
		m.failPage(w, r, err)
		return
	}
	if err := r.ParseForm(); err != nil {
		m.refuse(w, r, http.StatusBadRequest, "the form cannot be read")
		return
	}
	state, class := jobs.State(r.PostForm.Get("state")), r.PostForm.Get("class")
	if state != jobs.Failed && state != jobs.Expired {
		m.refuse(w, r, http.StatusBadRequest, "state: must be failed or expired")
		return
	}
	m.order("/batches/", m.ownBatch, func(ctx context.Context, id string) error { return m.cfg.Orders.RetryGroup(ctx, id, state, class) })(w, r)
}

func (m *Monitor) ownJob(r *http.Request) (string, error) {
	_, l, err := m.job(r)
	return l.ID, err
}

func (m *Monitor) ownBatch(r *http.Request) (string, error) {
	b, err := m.batch(r)
	return b.ID, err
}
