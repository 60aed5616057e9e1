package wire_test

import (
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// tunnel is a proxy that connects everybody to one place, or refuses.
func tunnel(t *testing.T, to string, status int) (url string, asked func() string) {
	t.Helper()
	var host atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host.Store(r.Method + " " + r.Host)
		if status != http.StatusOK || r.Method != http.MethodConnect {
			http.Error(w, "canary of the proxy", status)
			return
		}
		there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", to)
		if err != nil {
			http.Error(w, "", http.StatusBadGateway)
			return
		}
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(there, buffered); _ = there.Close() }()
		_, _ = io.Copy(here, there)
		_ = here.Close()
	}))
	t.Cleanup(server.Close)
	return server.URL, func() string { s, _ := host.Load().(string); return s }
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestCallsGoThroughTheProxyThatTheEnvironmentNames(t *testing.T) {
	t.Parallel()
	provider := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	t.Cleanup(provider.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: provider.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := wire.Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		configured string
		vars       map[string]string
		through    bool
	}{
		"HTTPS_PROXY":        {"", map[string]string{"HTTPS_PROXY": "$"}, true},
		"https_proxy":        {"", map[string]string{"https_proxy": "$"}, true},
		"the configuration":  {"$", map[string]string{"HTTPS_PROXY": "http://127.0.0.1:1"}, true},
		"NO_PROXY":           {"", map[string]string{"HTTPS_PROXY": "$", "NO_PROXY": "example.com"}, false},
		"NO_PROXY, a domain": {"$", map[string]string{"no_proxy": ".com"}, false},
		"HTTP_PROXY alone":   {"", map[string]string{"HTTP_PROXY": "$"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, asked := tunnel(t, provider.Listener.Addr().String(), http.StatusOK)
			vars := map[string]string{}
			for name, value := range c.vars {
				vars[name] = strings.Replace(value, "$", url, 1)
			}
			proxy, err := wire.Proxy(strings.Replace(c.configured, "$", url, 1), environment(vars))
			if err != nil {
				t.Fatal(err)
			}
			// The certificate is for example.com, which is nowhere near.
			_, err = send(t.Context(), newClient(t, wire.Config{Proxy: proxy, RootCAs: roots}), post(t, "https://example.com:1/v1/x"))
			if c.through && (err != nil || asked() != "CONNECT example.com:1") {
				t.Errorf("asked %q, %v", asked(), err)
			}
			if !c.through && (err == nil || asked() != "") {
				t.Errorf("asked %q, %v", asked(), err)
			}
		})
	}
}

func TestAPlainServerIsCalledThroughHTTPProxyAndThisMachineNever(t *testing.T) {
	t.Parallel()
	url, asked := tunnel(t, "", http.StatusTeapot)
	proxy, err := wire.Proxy("", environment(map[string]string{"HTTP_PROXY": url, "HTTPS_PROXY": url}))
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, wire.Config{Proxy: proxy})
	if _, err := send(t.Context(), client, post(t, "http://example.com/v1/x")); err == nil || asked() != "POST example.com" {
		t.Errorf("asked %q, %v", asked(), err)
	}
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	t.Cleanup(here.Close)
	if _, err := send(t.Context(), client, post(t, here.URL)); err != nil {
		t.Error(err)
	}
}

func TestAProxyThatRefusesHasCostNothing(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]providers.Kind{403: providers.AccessDenied, 407: providers.AccessDenied, 502: providers.Connection, 503: providers.Connection} {
		url, _ := tunnel(t, "", status)
		proxy, err := wire.Proxy(url, environment(nil))
		if err != nil {
			t.Fatal(err)
		}
		_, err = send(t.Context(), newClient(t, wire.Config{Proxy: proxy}), post(t, "https://example.com/v1/x"))
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Kind != kind || e.Billing != free || e.Sent || !strings.Contains(e.Error(), "the proxy refuses to connect: HTTP ") || strings.Contains(e.Explain(), "canary") {
			t.Errorf("HTTP %d: got %+v: %v", status, e, err)
		}
	}
}

func TestAProxyThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"ftp://proxy", "http://user:canary@", "http://%zzcanary", "://canary"} {
		for _, vars := range []map[string]string{{}, {"HTTPS_PROXY": address}, {"HTTP_PROXY": address}} {
			configured := address
			if len(vars) > 0 {
				configured = ""
			}
			if _, err := wire.Proxy(configured, environment(vars)); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("%q, %v: got %v", address, vars, err)
			}
		}
	}
	for _, address := range []string{"", "http://proxy:3128", "proxy:3128", "https://user:secret@proxy", "socks5://proxy:1080"} {
		if _, err := wire.Proxy(address, environment(nil)); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestAPrivateAuthorityIsTrustedWhereItIsNamed(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca, none := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "none.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(none, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := wire.Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := send(t.Context(), newClient(t, wire.Config{RootCAs: roots}), post(t, server.URL)); err != nil {
		t.Error(err)
	}
	if _, err := send(t.Context(), newClient(t, wire.Config{}), post(t, server.URL)); err == nil {
		t.Error("an authority that nobody named is trusted")
	}
	for _, file := range []string{none, filepath.Join(dir, "missing.pem")} {
		if _, err := wire.Roots(file); err == nil || !strings.HasPrefix(err.Error(), "ca_file") {
			t.Errorf("%s: got %v", file, err)
		}
	}

	// SSL_CERT_FILE is read once in the life of a process.
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheSystemsAuthoritiesAreThoseOfSSLCertFile$")
	again.Env = append(os.Environ(), "SSL_CERT_FILE="+ca, "SSL_CERT_DIR="+dir, "ONEFLOW_TEST_URL="+server.URL)
	if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("with SSL_CERT_FILE: %v\n%s", err, out)
	}
}

// It is run by the test above, in a process of its own.
func TestTheSystemsAuthoritiesAreThoseOfSSLCertFile(t *testing.T) {
	t.Parallel()
	url := os.Getenv("ONEFLOW_TEST_URL")
	if url == "" {
		return // nothing to hold: see TestAPrivateAuthorityIsTrustedWhereItIsNamed
	}
	if _, err := send(t.Context(), newClient(t, wire.Config{}), post(t, url)); err != nil {
		t.Error(err)
	}
}
