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
	m := newMonitor(t, monitor.Config{BasePath: "/oneflow", Redis: redisOf(t), Jobs: noJobs{}, Orders: noOrders{}})
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
					if strings.HasPrefix(link[1], "#") {
						continue // within the page
					}
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

func TestAnUncleanPathIsRedirectedUnderTheBasePath(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{BasePath: "/oneflow"})
	for path, want := range map[string]string{
		"/oneflow": "/oneflow/", "/oneflow//": "/oneflow/", "/oneflow//batches/b": "/oneflow/batches/b", "/oneflow/./api/overview?a=1": "/oneflow/api/overview?a=1",
		"//oneflow/batches/b": "/oneflow/batches/b", "/oneflow/x/../batches/b/": "/oneflow/batches/b/",
		// As it comes from a proxy that strips the prefix.
		"//batches/b": "/oneflow/batches/b", "/x/../api/overview": "/oneflow/api/overview", "//": "/oneflow/", "//evil.example/": "/oneflow/evil.example/",
	} {
		if w := get(t, m, path); w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != want {
			t.Errorf("%s: %d to %q, want %s", path, w.Code, w.Header().Get("Location"), want)
		}
	}
}

func TestAForeignNameIsRefusedBehindAProxyToo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  monitor.Config
		host string
		want int
	}{
		"a foreign name":          {monitor.Config{BasePath: "/oneflow"}, "evil.example", http.StatusMisdirectedRequest},
		"this machine":            {monitor.Config{BasePath: "/oneflow"}, "localhost:8080", http.StatusOK},
		"a name that was allowed": {monitor.Config{BasePath: "/oneflow", Hosts: []string{"jobs.example"}}, "Jobs.Example:443", http.StatusOK},
		"nobody gave a token":     {monitor.Config{BasePath: "/oneflow", Hosts: []string{"jobs.example"}, Token: envToken}, "jobs.example", http.StatusUnauthorized},
		"a foreign name, tokens":  {monitor.Config{BasePath: "/oneflow", Token: envToken}, "jobs.example", http.StatusMisdirectedRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMonitor(t, c.cfg)
			inner := httptest.NewServer(m.Handler())
			t.Cleanup(inner.Close)
			target, err := url.Parse(inner.URL)
			must(t, err)
			proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
			for kind, front := range map[string]http.Handler{"strips nothing": proxy, "strips the prefix": http.StripPrefix("/oneflow", proxy)} {
				for _, path := range []string{"/oneflow/", "/oneflow/api/overview", "/oneflow/batches/x"} {
					r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
					r.Host = c.host
					w := httptest.NewRecorder()
					front.ServeHTTP(w, r)
					if w.Code != c.want && (c.want != http.StatusOK || w.Code != http.StatusNotFound) {
						t.Errorf("%s, %s: %d, want %d", kind, path, w.Code, c.want)
					}
				}
			}
		})
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
