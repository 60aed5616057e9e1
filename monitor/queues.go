package monitor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
)

// queuesPath is the path of asynqmon.
const queuesPath = "/asynqmon/"

// queues is asynqmon, which shows what Redis holds. It is read-only: what it
// could change, Postgres would not know of.
type queues struct {
	*asynqmon.HTTPHandler
	base   string
	index  []byte
	policy string
}

// backLink leads from asynqmon to our pages: from a task to its jobs, else to the first page.
// It stands beside what asynqmon draws.
const backLink = `<script src="%s/static/queues.js" defer></script><nav aria-label="OneFlow"><a id="oneflow" href="%s/" style="position:fixed;right:16px;bottom:12px;z-index:2000;padding:6px 12px;border-radius:16px;` +
	`background:#2456c9;color:#fff;font:13px system-ui,sans-serif;text-decoration:none">← OneFlow monitor</a></nav>`

// newQueues makes asynqmon under the monitor's base path.
func newQueues(opt asynq.RedisConnOpt, base string) (*queues, error) {
	q := &queues{base: base, HTTPHandler: asynqmon.New(asynqmon.Options{
		RootPath: base + strings.TrimSuffix(queuesPath, "/"), RedisConnOpt: opt, ReadOnly: true,
	})}
	index := page{header: http.Header{}}
	q.HTTPHandler.ServeHTTP(&index, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: base + queuesPath}})
	// Its fonts are on another server: without them it falls back to the browser's. Its manifest
	// is asked for without the cookie of a login.
	foreign := regexp.MustCompile(`<link[^>]*(?:href="(?:https?:)?//|rel="manifest")[^>]*>`)
	q.index = foreign.ReplaceAll(index.body.Bytes(), nil)
	q.index = bytes.Replace(q.index, []byte("</body>"), fmt.Appendf(nil, backLink+"</body>", base, base), 1)
	hashes := inlineScripts(q.index)
	if len(hashes) == 0 || !bytes.Contains(q.index, []byte("OneFlow")) {
		return nil, errors.Join(errors.New("asynqmon's page is not what was expected: it has no script or no body"), q.Close())
	}
	// Its own scripts by their hashes. It puts styles into the page as it runs.
	q.policy = "default-src 'none'; script-src 'self' " + strings.Join(hashes, " ") + "; " +
		"style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return q, nil
}

// ServeHTTP serves asynqmon under its own policy. What is neither a file of its own
// nor its API is its page, which finds its way by the address.
func (q *queues) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", q.policy)
	full := r.Clone(r.Context())
	full.URL.Path = q.base + r.URL.Path
	if r.URL.RawPath != "" {
		full.URL.RawPath = q.base + r.URL.RawPath
	}
	answer := &indexReplaced{ResponseWriter: w, index: q.index}
	if strings.HasPrefix(r.URL.Path, queuesPath+"static/") {
		w.Header().Set("Cache-Control", "private, max-age=3600") // 1.5 MB, with a hash in the name
	}
	q.HTTPHandler.ServeHTTP(answer, full)
}

// indexReplaced writes index instead of asynqmon's own page.
type indexReplaced struct {
	http.ResponseWriter
	index []byte
	done  bool
}

// Write implements http.ResponseWriter.
func (r *indexReplaced) Write(b []byte) (int, error) {
	if r.done {
		return len(b), nil
	}
	if bytes.HasPrefix(b, []byte("<!doctype html>")) {
		r.done = true
		r.Header().Set("Content-Type", "text/html; charset=utf-8")
		if _, err := r.ResponseWriter.Write(r.index); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return r.ResponseWriter.Write(b)
}

// inlineScripts returns the CSP sources of the scripts that stand in a page.
func inlineScripts(html []byte) []string {
	var sources []string
	for _, m := range regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllSubmatch(html, -1) {
		sum := sha256.Sum256(m[1])
		sources = append(sources, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	return sources
}

// page is a ResponseWriter that keeps what is written.
type page struct {
	header http.Header
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (p *page) Header() http.Header { return p.header }

// Write implements http.ResponseWriter.
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }

// WriteHeader implements http.ResponseWriter.
func (p *page) WriteHeader(int) {}

// lanesCSV sends what waits and runs in each queue as a table.
func (m *Monitor) lanesCSV(w http.ResponseWriter, r *http.Request) {
	o, err := m.reader.Overview(r.Context())
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"provider", "lane", "running", "in_redis", "in_postgres"}}
	for _, q := range o.Queues {
		rows = append(rows, []string{q.Provider, string(q.Lane), number(q.Running), number(q.Delivered), number(q.Waiting)})
	}
	sendTable(w, "queues.csv", rows)
}

// waitsCSV sends what jobs wait for as a table.
func (m *Monitor) waitsCSV(w http.ResponseWriter, r *http.Request) {
	o, err := m.reader.Overview(r.Context())
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"reason", "provider", "jobs", "since", "until", "text"}}
	for _, x := range o.Waits {
		rows = append(rows, []string{string(x.Reason), x.Provider, number(x.Jobs), stampOr(x.Since), stampOr(x.Until), x.Text})
	}
	sendTable(w, "waits.csv", rows)
}
