package monitor_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"oneflow/monitor"
)

func TestReadinessNamesWhatIsDown(t *testing.T) {
	t.Parallel()
	down := &fake{err: errors.New("secret")}
	for name, c := range map[string]struct {
		store *fake
		redis asynq.RedisConnOpt
		code  int
		line  string
	}{
		"both answer":   {&fake{}, redisOf(t), http.StatusOK, "ready\n"},
		"Redis is down": {&fake{}, noRedis(), http.StatusServiceUnavailable, "Redis does not answer\n"},
		"Postgres too":  {down, noRedis(), http.StatusServiceUnavailable, "Postgres does not answer; Redis does not answer\n"},
		"only Postgres": {down, redisOf(t), http.StatusServiceUnavailable, "Postgres does not answer\n"},
		"silent Redis":  {&fake{}, asynq.RedisClientOpt{Addr: silent(t)}, http.StatusServiceUnavailable, "Redis does not answer\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMonitor(t, monitor.Config{Store: c.store, Redis: c.redis})
			if w := get(t, m, "/readyz"); w.Code != c.code || w.Body.String() != c.line {
				t.Errorf("%d %q", w.Code, w.Body)
			}
			if w := get(t, m, "/healthz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
				t.Errorf("%d %q", w.Code, w.Body)
			}
		})
	}
}

// silent is an address that takes connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", address)
	must(t, err)
	return l
}

func TestWithoutATokenOnlyThisMachineIsServed(t *testing.T) {
	t.Parallel()
	l := listen(t, "0.0.0.0:0")
	err := newMonitor(t, monitor.Config{}).Serve(t.Context(), l)
	if !errors.Is(err, monitor.ErrExposed) {
		t.Errorf("got %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
	for address, exposed := range map[string]bool{"127.0.0.1": false, "127.0.1.1": false, "::1": false, "0.0.0.0": true, "::": true, "192.0.2.1": true} {
		if got := monitor.Exposed(&net.TCPAddr{IP: net.ParseIP(address)}); got != exposed {
			t.Errorf("%s: exposed %t", address, got)
		}
	}
	if !monitor.Exposed(&net.TCPAddr{}) {
		t.Error("an address without a host is every address")
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]monitor.Config{"127.0.0.1:0": {}, "0.0.0.0:0": {Token: envToken}} {
		l := listen(t, name)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		m := newMonitor(t, cfg)
		go func() { served <- m.Serve(ctx, l) }()
		_, port, err := net.SplitHostPort(l.Addr().String())
		must(t, err)
		transport := &http.Transport{}
		client := &http.Client{Transport: transport}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/", http.NoBody)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+cfg.Token)
		answer, err := client.Do(r)
		must(t, err)
		body, err := io.ReadAll(answer.Body)
		must(t, errors.Join(err, answer.Body.Close()))
		if answer.StatusCode != http.StatusOK || !strings.Contains(string(body), "No batches yet") {
			t.Errorf("%s: %d %s", name, answer.StatusCode, body)
		}
		stop()
		if err := <-served; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		transport.CloseIdleConnections()
	}
}

func TestForeignNamesAreRefused(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{Hosts: []string{"box.local", ""}})
	for host, code := range map[string]int{
		"localhost": 200, "LOCALHOST:8080": 200, "127.0.0.1:8080": 200, "127.0.0.1": 200, "[::1]:8080": 200, "[::1]": 200, "box.local:8080": 200,
		"evil.example": 421, "evil.example:8080": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
		"192.0.2.1:8080": 421, "0.0.0.0:8080": 421, "[::]:8080": 421, "": 421, ":8080": 421,
	} {
		for _, path := range []string{"/", "/api/overview", "/asynqmon/"} {
			r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
			r.Host = host
			if w := do(t, m, r); w.Code != code {
				t.Errorf("%s as %q: %d, want %d", path, host, w.Code, code)
			}
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]monitor.Config{
		"Store":  {Access: &fake{}, Redis: noRedis()},
		"Access": {Store: &fake{}, Redis: noRedis()},
		"Redis":  {Store: &fake{}, Access: &fake{}},
		"Token":  {Store: &fake{}, Access: &fake{}, Redis: noRedis(), Token: "short"},
	} {
		if _, err := monitor.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
