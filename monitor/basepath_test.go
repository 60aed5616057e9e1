package monitor_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"oneflow/monitor"
)

func TestBehindAReverseProxyEverythingStandsUnderTheBasePath(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{BasePath: "/oneflow", Redis: redisOf(t)})
	inner := httptest.NewServer(m.Handler())
	t.Cleanup(inner.Close)
	target, err := url.Parse(inner.URL)
	must(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	for name, handler := range map[string]http.Handler{"strips nothing": proxy, "strips the prefix": http.StripPrefix("/oneflow", proxy)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Whatever is outside of the prefix belongs to others.
			front := http.NewServeMux()
			front.Handle("/oneflow/", handler)
			linked := regexp.MustCompile(`(?:href|src)="([^"]*)"`)
			for path, want := range map[string]int{
				"/oneflow/": 200, "/oneflow/healthz": 200, "/oneflow/readyz": 200, "/oneflow/api/overview": 200, "/oneflow/batches/none": 404,
				"/oneflow/asynqmon/": 200, "/oneflow/asynqmon/queues/x": 200, "/oneflow/asynqmon/api/queues": 200, "/oneflow/static/monitor.css": 200,
			} {
				w := fetch(t, front, path)
				if w.Code != want {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
				for _, link := range linked.FindAllStringSubmatch(w.Body.String(), -1) {
					if !strings.HasPrefix(link[1], "/oneflow/") {
						t.Errorf("%s leads to %s", path, link[1])
					} else if answer := fetch(t, front, link[1]); answer.Code != http.StatusOK {
						t.Errorf("%s leads to %s: %d", path, link[1], answer.Code)
					}
				}
			}
			w := fetch(t, front, "/oneflow/asynqmon")
			if to := w.Header().Get("Location"); to != "/oneflow/asynqmon/" {
				t.Errorf("asynqmon without a slash: %d, to %q", w.Code, to)
			}
		})
	}
	if w := get(t, m, "/oneflow"); w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != "/oneflow/" {
		t.Errorf("without the slash: %d %v", w.Code, w.Header())
	}
}

func fetch(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestABasePathIsChecked(t *testing.T) {
	t.Parallel()
	for path, ok := range map[string]bool{
		"": true, "/oneflow": true, "/a/b.c": true,
		"/": false, "oneflow": false, "/oneflow/": false, "//x": false, "/..": false, "/a/../b": false, `/"x`: false, "/a b": false, "/<x>": false,
	} {
		if err := monitor.CheckBasePath(path); (err == nil) != ok {
			t.Errorf("%q: %v", path, err)
		}
	}
}
