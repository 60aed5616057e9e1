package monitor_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/jobs"
	"oneflow/monitor"
)

func TestPagesShowWhatIsInTheDatabase(t *testing.T) {
	t.Parallel()
	holds := func(context.Context) (map[string][]string, error) {
		return map[string][]string{"mock": {"others use about 40 of 60 requests/min"}, "gone": {"nobody's"}}, nil
	}
	m := newMonitor(t, monitor.Config{Store: filled(t), Redis: redisOf(t), Holds: holds})
	for path, wants := range map[string][]string{
		"/": {
			"b-1", "&lt;b&gt;prompts&lt;/b&gt;.jsonl", "3 of 6 done", "2 succeeded", "1 failed", "1 retrying", "1 running", "1 queued",
			"$0.0015", "1 unpriced", ">running<", "alpha", "1 running", "<b>100 %</b>", "250ms", "1 worker × 3",
			"others use about 40 of 60 requests/min",
		},
		"/batches/b-1": {
			"b-1", "3 of 6 done", "$0.0015", "1 call without a known price", "mock-text", "2,000", "invalid_request",
			// What the vendor said, and of what.
			"Unsupported size: &lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;", "size", "(HTTP 400)", "https://api.example/v1/images", "enqueue watch b-1",
		},
	} {
		w := get(t, m, path)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d\n%s", path, w.Code, w.Body)
		}
		for _, want := range wants {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s does not show %q:\n%s", path, want, w.Body)
			}
		}
		for _, never := range []string{secretPrompt, secretAnswer, "<script>", "<b>prompts", "Redis does not answer", "No worker"} {
			if strings.Contains(w.Body.String(), never) {
				t.Errorf("%s shows %q", path, never)
			}
		}
	}
}

func TestJSONSaysTheSame(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{Store: filled(t)})
	var o monitor.Overview
	decode(t, get(t, m, "/api/overview"), &o)
	wantCounts := map[jobs.State]int64{
		jobs.Succeeded: 2, jobs.Failed: 1, jobs.Retrying: 1, jobs.Running: 1, jobs.Queued: 1,
		jobs.Scheduled: 0, jobs.Cancelled: 0, jobs.Expired: 0, jobs.Unknown: 0,
	}
	if len(o.Batches) != 1 || o.Batches[0].State != jobs.BatchRunning || !cmp.Equal(o.Batches[0].Counts, wantCounts) ||
		o.Batches[0].Cost != 1_500_000 || o.Batches[0].Unpriced != 1 {
		t.Errorf("batches: %+v", o.Batches)
	}
	if o.Totals.Unfinished != 3 || o.Totals.Running != 1 || o.Totals.Day.Succeeded != 2 || o.Alive() != 1 {
		t.Errorf("totals %+v, workers %+v", o.Totals, o.Workers)
	}
	var d batches.Breakdown
	w := get(t, m, "/api/batches/b-1")
	decode(t, w, &d)
	if !cmp.Equal(d.Counts, wantCounts) || len(d.Models) != 1 || d.Models[0].OutputTokens != 2_000 || len(d.Problems) != 2 {
		t.Errorf("batch: %s", w.Body)
	}
	for _, path := range []string{"/api/overview", "/api/batches/b-1"} {
		body := get(t, m, path).Body.String()
		if strings.Contains(body, secretPrompt) || strings.Contains(body, secretAnswer) {
			t.Errorf("%s holds a prompt or an answer", path)
		}
	}
}

func TestUnknownBatchIs404AndNotRepeatedAsItCame(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{})
	for _, id := range []string{"none", "%3Cscript%3Ealert(1)%3C%2Fscript%3E", "%00", "a%20b", strings.Repeat("x", 500), "%2e%2e%2fx"} {
		for _, path := range []string{"/batches/" + id, "/api/batches/" + id} {
			w := get(t, m, path)
			if w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "<script>alert") || w.Body.Len() > 3_000 {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	}
	if w := get(t, m, "/nothing"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "There is no such page") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestEmptyDatabaseTellsWhatToDo(t *testing.T) {
	t.Parallel()
	w := get(t, newMonitor(t, monitor.Config{}), "/")
	for _, want := range []string{"No batches yet", "enqueue batch prompts.jsonl --watch", "worker run", "Redis does not answer."} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestPostgresDownIsSaidWithoutDetails(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{Store: &fake{err: errors.New("dial postgres://user:secret@db")}})
	for _, path := range []string{"/", "/api/overview"} {
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		r.Header.Set("Accept", "text/html")
		w := do(t, m, r)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "does not answer") || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestEverythingIsReadOnly(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{"/", "/batches/x", "/api/overview", "/healthz", "/asynqmon/", "/asynqmon/api/queues/mock.default:pause", "/asynqmon/api/queues/mock.default"} {
			if w := do(t, m, httptest.NewRequest(method, path, strings.NewReader("{}"))); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/asynqmon/api/queues/mock.default:pause", http.NoBody)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if w := do(t, m, r); w.Code != http.StatusForbidden {
		t.Errorf("a website's request: %d", w.Code)
	}
}

func TestAnswersCarryTheirPolicy(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{})
	for _, path := range []string{"/", "/batches/x", "/api/overview", "/healthz", "/readyz", "/static/monitor.css", "/asynqmon/", "/nothing"} {
		h := get(t, m, path).Header()
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %s", path, policy, want)
			}
		}
		_, scripts, found := strings.Cut(policy, "script-src")
		scripts, _, _ = strings.Cut(scripts, ";")
		if !found {
			t.Errorf("%s: policy %q says nothing of scripts", path, policy)
		}
		if strings.Contains(scripts, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %q lets too much in", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
}

func TestAsynqmonIsServedWithItsScriptsAllowed(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{Redis: redisOf(t)})
	w := get(t, m, "/asynqmon/")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `FLAG_READ_ONLY="true"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := strings.Count(w.Header().Get("Content-Security-Policy"), "'sha256-"); got != strings.Count(w.Body.String(), "<script>") {
		t.Errorf("%d scripts of the page are allowed", got)
	}
	if body := w.Body.String(); strings.Contains(body, "://fonts") || !strings.Contains(body, `<a id="oneflow" href="/"`) {
		t.Errorf("the page loads fonts from elsewhere, or has no way back:\n%s", body)
	}
	if w := get(t, m, "/asynqmon/queues/mock.default"); !strings.Contains(w.Body.String(), `<a id="oneflow" href="/"`) || strings.Contains(w.Body.String(), "fonts") {
		t.Errorf("a page within: %d %s", w.Code, w.Body)
	}
	if w := get(t, m, "/asynqmon/api/queues"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"queues"`) {
		t.Errorf("its API: %d %s", w.Code, w.Body)
	}
	if w := get(t, m, "/asynqmon"); w.Header().Get("Location") != "/asynqmon/" {
		t.Errorf("without the slash: %d %v", w.Code, w.Header())
	}
}

func TestStaticFilesAreAskedForAgainButNotSentAgain(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{})
	for path, kind := range map[string]string{"/static/monitor.css": "text/css", "/static/monitor.js": "text/javascript", "/static/favicon.svg": "image/svg+xml"} {
		w := get(t, m, path)
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		r.Header.Set("If-None-Match", w.Header().Get("ETag"))
		if w := do(t, m, r); w.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/static/", "/static/none.css", "/static/overview.html", "/static/x/monitor.css"} {
		if w := get(t, m, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
