package monitor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/schedules"
)

//go:embed assets
var assets embed.FS

// pages are the templates and what they load.
type pages struct {
	templates *template.Template
}

// newPages reads the templates; their links stand under the base path.
func newPages(base string) (*pages, error) {
	t, err := template.New("").Funcs(functions(base)).ParseFS(assets, "assets/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	return &pages{templates: t}, nil
}

// frame holds the parts that every page has.
type frame struct {
	Title string
	Here  string
	// JSON is the path of the page's JSON, without the base path.
	JSON string
	At   time.Time
	// Still reports whether the page does not keep itself up to date.
	Still bool
	// Charts reports whether the page has charts.
	Charts bool
	// Menu leads to the pages that there are for whoever looks.
	Menu []menuItem
	// LoggedIn reports whether there is a login to end.
	LoggedIn bool
	Body     template.HTML
}

// menuItem leads to a page.
type menuItem struct{ Here, Path, Word string }

// menu lists the pages that there are, or those of one account.
func (m *Monitor) menu(oneAccount bool) (items []menuItem) {
	hasJobs, hasFleet, hasMoney := m.cfg.Jobs != nil && m.cfg.Orders != nil, m.cfg.Fleet != nil && m.cfg.FleetOrders != nil, m.cfg.Money != nil
	for _, i := range []struct {
		menuItem
		there, ofFleet bool
	}{
		{menuItem{"overview", "/", "Overview"}, true, true},
		{menuItem{"batches", "/batches", "Batches"}, hasJobs, false},
		{menuItem{"jobs", "/jobs", "Jobs"}, hasJobs, false},
		{menuItem{"dead-letters", "/dead-letters", "Dead letters"}, hasJobs, false},
		{menuItem{"pipelines", "/pipelines", "Pipelines"}, m.cfg.Pipelines != nil, false},
		{menuItem{"comparisons", "/comparisons", "Comparisons"}, m.cfg.Compare != nil, false},
		{menuItem{"schedules", "/schedules", "Schedules"}, m.cfg.Schedules != nil, false},
		{menuItem{"money", "/money", "Money"}, hasMoney, false},
		{menuItem{"providers", "/providers", "Providers"}, hasFleet, true},
		{menuItem{"workers", "/workers", "Workers"}, hasFleet, true},
		{menuItem{"alerts", "/alerts", "Alerts"}, hasMoney, true},
		{menuItem{"queues", queuesPath, "Queues"}, true, true},
	} {
		if i.there && (!oneAccount || !i.ofFleet) {
			items = append(items, i.menuItem)
		}
	}
	return items
}

// write renders a body in its frame. An error is answered with a plain line.
func (p *pages) write(w http.ResponseWriter, status int, f frame, body string, data any) error {
	var inner, whole bytes.Buffer
	err := p.templates.ExecuteTemplate(&inner, body, data)
	if err == nil {
		f.Body = template.HTML(inner.String()) //nolint:gosec // it comes out of a template, which has escaped it
		err = p.templates.ExecuteTemplate(&whole, "layout", f)
	}
	if err != nil {
		text(w, http.StatusInternalServerError, "the page cannot be shown")
		return fmt.Errorf("render %s: %w", body, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(whole.Bytes())
	return nil
}

// static serves style, script and icon. A browser asks each time whether its copy
// is still good.
func (p *pages) static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/static/")
		data, err := assets.ReadFile("assets/" + name)
		if err != nil || !slices.Contains([]string{".css", ".js", ".svg"}, path.Ext(name)) {
			http.NotFound(w, r)
			return
		}
		sum := sha256.Sum256(data)
		h := w.Header()
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
		h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	})
}

// summary is the data of the overview page.
type summary struct {
	Overview
	Notices []notice
}

// Peak is the largest number of requests in one minute of any provider, which all
// curves of the page are drawn against.
func (s summary) Peak() int64 {
	var peak int64
	for _, p := range s.Providers {
		peak = max(peak, slices.Max(append(p.Curve, 0)))
	}
	return peak
}

// Charts are those of the last hour.
func (s summary) Charts() []chart { return activityCharts(s.Activity) }

// MostQueued is the largest number of unfinished jobs of any queue, which all bars of the page
// are drawn against.
func (s summary) MostQueued() int64 {
	var most int64
	for _, q := range s.Queues {
		most = max(most, q.Unfinished())
	}
	return most
}

// notice is something that a person should act on.
type notice struct{ Heading, Text, Command string }

func (m *Monitor) overviewPage(w http.ResponseWriter, r *http.Request) {
	o, err := m.reader.Overview(r.Context())
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	s := summary{Overview: o}
	if err := m.redis.ping(r.Context()); err != nil {
		s.Notices = append(s.Notices, notice{
			Heading: "Redis does not answer.",
			Text:    "Jobs wait in Postgres and are delivered as soon as it is back; nothing is lost.",
		})
	}
	if o.Totals.Unfinished > 0 && o.Alive() == 0 {
		s.Notices = append(s.Notices, notice{
			Heading: "No worker is running,",
			Text:    "so that nobody works on the jobs that wait. Start one:",
			Command: "worker run",
		})
	}
	m.show(w, r, http.StatusOK, frame{Title: "Overview", Here: "overview", JSON: "/api/overview", At: o.At, Charts: true}, "overview", s)
}

// detail is the data of a batch's page.
type detail struct {
	Batch
	// May reports whether whoever looks may give orders.
	May bool
}

// Calls is the number of calls of all models.
func (d detail) Calls() int64 { return d.add(func(m batches.ModelUse) int64 { return m.Calls }) }

// InputTokens is that of all models.
func (d detail) InputTokens() int64 {
	return d.add(func(m batches.ModelUse) int64 { return m.InputTokens })
}

// OutputTokens is that of all models.
func (d detail) OutputTokens() int64 {
	return d.add(func(m batches.ModelUse) int64 { return m.OutputTokens })
}

func (d detail) add(of func(batches.ModelUse) int64) (n int64) {
	for _, m := range d.Models {
		n += of(m)
	}
	return n
}

// batch reads the batch that a path names, if whoever asks may see it.
func (m *Monitor) batch(r *http.Request) (Batch, error) { return m.batchBy(r, m.reader.Batch) }

// batchBy is batch, by a method of the reader.
func (m *Monitor) batchBy(r *http.Request, read func(ctx context.Context, id string) (Batch, error)) (Batch, error) {
	id := r.PathValue("id")
	if batches.CheckID(id) != nil {
		return Batch{}, jobs.ErrNotFound
	}
	d, err := read(r.Context(), id)
	if err == nil {
		err = mine(r, d.Account)
	}
	if err != nil {
		return Batch{}, err
	}
	return d, nil
}

func (m *Monitor) batchPage(w http.ResponseWriter, r *http.Request) {
	d, err := m.batchBy(r, m.reader.BatchSoon)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	f := frame{Title: d.ID, Here: "batch", JSON: "/api/batches/" + d.ID, At: d.At}
	m.show(w, r, http.StatusOK, f, "batch", detail{d, access.From(r.Context()).Scope.Includes(access.Operate)})
}

// trouble is a page that says what is wrong.
type trouble struct{ Heading, Text string }

func (m *Monitor) failPage(w http.ResponseWriter, r *http.Request, err error) {
	status, t := m.explain(r, err)
	if strings.HasPrefix(r.URL.Path, "/api/") {
		m.problem(w, r, status, t.Heading)
		return
	}
	m.show(w, r, status, frame{Title: t.Heading, JSON: "/api/overview", At: time.Now()}, "problem", t)
}

// queryError tells of an address that asks for what there cannot be.
type queryError struct{ error }

// explain says what an error means to whoever looks, and logs what they cannot
// help.
func (m *Monitor) explain(r *http.Request, err error) (int, trouble) {
	for _, missing := range []error{jobs.ErrNotFound, schedules.ErrNotFound, billing.ErrNoWallet} {
		if errors.Is(err, missing) {
			return http.StatusNotFound, trouble{"There is nothing of that name", fmt.Sprintf("Nothing is known of %q.", shorten(cmp.Or(r.PathValue("id"), r.PathValue("account"))))}
		}
	}
	if bad, ok := errors.AsType[*queryError](err); ok {
		return http.StatusBadRequest, trouble{bad.Error(), "The address asks for what there cannot be."}
	}
	if r.Context().Err() == nil {
		m.cfg.Log.Warn().Err(err).Str("path", r.URL.Path).Msg("monitor cannot read Postgres")
	}
	return http.StatusServiceUnavailable, trouble{"Postgres does not answer", "This page comes back by itself as soon as it does. The monitor's log says more."}
}

func (m *Monitor) nothingHere(w http.ResponseWriter, r *http.Request) {
	t := trouble{"There is no such page", "The pages are named above."}
	m.show(w, r, http.StatusNotFound, frame{Title: t.Heading, JSON: "/api/overview", At: time.Now()}, "problem", t)
}

func (m *Monitor) show(w http.ResponseWriter, r *http.Request, status int, f frame, body string, data any) {
	_, err := r.Cookie(access.CookieName)
	f.LoggedIn, f.Menu = err == nil, m.menu(access.From(r.Context()).Account != "")
	if err := m.pages.write(w, status, f, body, data); err != nil {
		m.cfg.Log.Error().Err(err).Str("path", r.URL.Path).Msg("page not shown")
	}
}

func (m *Monitor) overviewJSON(w http.ResponseWriter, r *http.Request) {
	o, err := m.reader.Overview(r.Context())
	m.answer(w, r, o, err)
}

func (m *Monitor) batchJSON(w http.ResponseWriter, r *http.Request) {
	d, err := m.batch(r)
	m.answer(w, r, d, err)
}

func (m *Monitor) answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	if err != nil {
		status, t := m.explain(r, err)
		m.problem(w, r, status, t.Heading)
		return
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		m.cfg.Log.Error().Err(err).Str("path", r.URL.Path).Msg("answer not encoded")
		m.problem(w, r, http.StatusInternalServerError, "the answer cannot be shown")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}

// shorten bounds what is repeated of a request.
func shorten(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
