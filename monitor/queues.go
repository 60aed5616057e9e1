package monitor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
)

// queuesPath is where asynqmon is mounted.
const queuesPath = "/asynqmon/"

// queues is asynqmon, which shows what Redis holds. It is read-only: what it
// could change, Postgres would not know of.
type queues struct {
	*asynqmon.HTTPHandler
	policy string
}

func newQueues(opt asynq.RedisConnOpt) (*queues, error) {
	q := &queues{HTTPHandler: asynqmon.New(asynqmon.Options{
		RootPath: strings.TrimSuffix(queuesPath, "/"), RedisConnOpt: opt, ReadOnly: true,
	})}
	index := page{header: http.Header{}}
	q.HTTPHandler.ServeHTTP(&index, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: queuesPath}})
	hashes := inlineScripts(index.body.Bytes())
	if len(hashes) == 0 {
		return nil, errors.Join(errors.New("asynqmon's page is not what was expected: it has no script"), q.Close())
	}
	// Its own scripts by their hashes. It puts styles into the page as it runs,
	// and its fonts are on another server, which it does well without.
	q.policy = "default-src 'none'; script-src 'self' " + strings.Join(hashes, " ") + "; " +
		"style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return q, nil
}

// ServeHTTP serves asynqmon under its own policy.
func (q *queues) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", q.policy)
	if strings.HasPrefix(r.URL.Path, queuesPath+"static/") {
		w.Header().Set("Cache-Control", "private, max-age=3600") // 1.5 MB, with a hash in the name
	}
	q.HTTPHandler.ServeHTTP(w, r)
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
