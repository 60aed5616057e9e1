package monitor

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/jobs"
)

const (
	batchesPerPage = 50
	// batchesPerFile bounds a table that is downloaded.
	batchesPerFile = 5000
)

// batchesPage is the data of the page of batches.
type batchesPage struct {
	At      time.Time
	Batches []batches.Summary
	Query   map[string]string
	States  []string
	// NextPage leads to older batches; empty: there are none.
	NextPage, CSV string
	OneAccount    bool
}

// batchFilter reads a filter of batches.
func batchFilter(r *http.Request) (f batches.Filter, err error) {
	q := r.URL.Query()
	for _, name := range []string{"state", "source", "tag", "account", "cursor"} {
		if v := q.Get(name); len(v) > 200 || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return f, errors.New(name + ": must be text of at most 200 bytes")
		}
	}
	f = batches.Filter{State: q.Get("state"), Source: q.Get("source"), Tag: q.Get("tag"), Account: q.Get("account"), Before: q.Get("cursor"), Limit: batchesList}
	if s := q.Get("limit"); s != "" {
		if f.Limit, err = strconv.Atoi(s); err != nil || f.Limit < 1 || f.Limit > 1000 {
			return f, errors.New("limit: must be from 1 to 1000")
		}
	}
	if own := access.From(r.Context()).Account; own != "" {
		f.Account = own
	}
	return f, nil
}

// batches lists those that a request asks for, so many where it does not say.
func (m *Monitor) batches(r *http.Request, most int) ([]batches.Summary, error) {
	f, err := batchFilter(r)
	if err != nil {
		return nil, &queryError{err}
	}
	if r.URL.Query().Get("limit") == "" {
		f.Limit = most
	}
	list, err := m.cfg.Jobs.Batches(r.Context(), f)
	if list == nil {
		list = []batches.Summary{}
	}
	return list, err
}

func (m *Monitor) batchesPage(w http.ResponseWriter, r *http.Request) {
	list, err := m.batches(r, batchesPerPage)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	q := r.URL.Query()
	p := batchesPage{
		At: time.Now(), Batches: list, OneAccount: access.From(r.Context()).Account != "", CSV: "/batches.csv?" + q.Encode(),
		Query:  map[string]string{"state": q.Get("state"), "source": q.Get("source"), "account": q.Get("account")},
		States: []string{jobs.BatchOpen, jobs.BatchRunning, jobs.BatchPaused, jobs.BatchFinished, jobs.BatchPartial, jobs.BatchCancelling, jobs.BatchCancelled, jobs.BatchRemoved},
	}
	if len(list) == batchesPerPage && q.Get("limit") == "" {
		next := maps.Clone(q)
		next.Set("cursor", list[len(list)-1].ID)
		p.NextPage = "/batches?" + next.Encode()
	}
	m.show(w, r, http.StatusOK, frame{Title: "Batches", Here: "batches", JSON: "/api/v1/batches?" + q.Encode(), At: p.At}, "batches", p)
}

func (m *Monitor) batchesJSON(w http.ResponseWriter, r *http.Request) {
	f, err := batchFilter(r)
	if err != nil {
		m.problem(w, r, http.StatusBadRequest, err.Error())
		return
	}
	list, err := m.cfg.Jobs.Batches(r.Context(), f)
	p := struct {
		Batches []batches.Summary `json:"batches"`
		Next    string            `json:"next,omitempty"`
	}{Batches: list}
	if list == nil {
		p.Batches = []batches.Summary{}
	}
	if len(list) == f.Limit {
		p.Next = list[f.Limit-1].ID
	}
	m.answer(w, r, p, err)
}

func (m *Monitor) batchesCSV(w http.ResponseWriter, r *http.Request) {
	list, err := m.batches(r, batchesPerFile)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	t := newTable(w, "batches.csv")
	t.write("id", "source", "account", "state", "jobs", "done", "failed", "cost_usd", "simulated_cost_usd", "unpriced_calls",
		"estimated_jobs", "estimate_low_usd", "estimate_expected_usd", "estimate_high_usd", "created_at")
	for _, b := range list {
		t.write(b.ID, b.Source, b.Account, b.State, strconv.FormatInt(b.Total(), 10), strconv.FormatInt(b.Done(), 10), strconv.FormatInt(b.Failures(), 10),
			b.Cost.String(), b.Simulated.String(), strconv.FormatInt(b.Unpriced, 10),
			strconv.FormatInt(b.Estimate.Jobs, 10), b.Estimate.Low.String(), b.Estimate.Expected.String(), b.Estimate.High.String(), stampOr(b.CreatedAt))
	}
	t.Flush()
}
