package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

func newClient(t *testing.T, cfg wire.Config) *http.Client {
	t.Helper()
	client := wire.NewClient(cfg)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func post(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("canary prompt"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer canary-key")
	return req
}

// send sends a request as a client does.
func send(ctx context.Context, client *http.Client, req *http.Request) (wire.Answer, error) {
	a, failure := wire.Caller{Provider: "mine", Client: client}.Send(ctx, req, 0, "canary prompt", "canary-key")
	if failure != nil {
		return a, failure
	}
	return a, nil
}

// serve handles each connection to a listener on loopback by hand.
func serve(t *testing.T, handle func(conn *net.TCPConn, r *bufio.Reader)) (url string) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go handle(conn.(*net.TCPConn), bufio.NewReader(conn))
		}
	}()
	return "http://" + l.Addr().String()
}

func readRequest(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

func TestAPostIsNotRepeatedOnceItWasSent(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"plain": "", "with an idempotency key": "k"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			// The first request of a connection is answered, the second is read and
			// then the connection is reset: the case in which net/http repeats.
			url := serve(t, func(conn *net.TCPConn, r *bufio.Reader) {
				for i := 0; readRequest(r); i++ {
					requests.Add(1)
					if i == 1 {
						reset(conn)
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			client := newClient(t, wire.Config{})
			again := func() error {
				req := post(t, url)
				if key != "" {
					req.Header.Set("Idempotency-Key", key)
				}
				if req.GetBody == nil {
					t.Fatal("the request could not be repeated anyway")
				}
				_, err := send(t.Context(), client, req)
				return err
			}
			if err := again(); err != nil {
				t.Fatal(err)
			}
			e, ok := errors.AsType[*providers.Error](again())
			if !ok {
				t.Fatal("a reset connection is no success")
			}
			if e.Kind != providers.Connection || e.Billing != providers.BillingUnknown || !e.Sent {
				t.Errorf("got %s, %s, sent %v", e.Kind, e.Billing, e.Sent)
			}
			if n := requests.Load(); n != 2 {
				t.Errorf("the server read %d requests, want 2", n)
			}
		})
	}
}

func TestWhatWasNotSentIsNotBilled(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	tlsServer := httptest.NewUnstartedServer(http.NotFoundHandler())
	tlsServer.StartTLS()
	t.Cleanup(tlsServer.Close)
	for name, url := range map[string]string{
		"refused":                closed.URL,
		"unknown authority":      tlsServer.URL,
		"a name without address": "http://name.invalid",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := send(t.Context(), newClient(t, wire.Config{}), post(t, url+"/canary-path"))
			e, ok := errors.AsType[*providers.Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if e.Kind != providers.Connection && e.Kind != providers.Timeout || e.Billing != providers.Unbilled || e.Sent {
				t.Errorf("got %s, %s, sent %v", e.Kind, e.Billing, e.Sent)
			}
			if e.Err == nil || strings.Contains(e.Error(), "canary") {
				t.Errorf("text: %s", e.Error())
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	_, sent, err := wire.Do(t.Context(), newClient(t, wire.Config{RootCAs: pool}), post(t, server.URL)) //nolint:bodyclose // there is none
	if err == nil || sent {
		t.Errorf("sent %v, error %v", sent, err)
	}
	if e := wire.Failure("mine", err, sent); e.Billing != providers.Unbilled {
		t.Errorf("billing %s", e.Billing)
	}
}

func TestTLSIsSpokenAndBytesAreCountedThroughIt(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("protocol %s", r.Proto)
		}
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	client := newClient(t, wire.Config{RootCAs: pool})
	ctx, watch := wire.Watch(t.Context())
	res, err := client.Do(post(t, server.URL).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := wire.ReadBody(t.Context(), res.Body, wire.MaxAnswer, time.Minute)
	if err != nil || string(body) != "ok" || !watch() {
		t.Errorf("body %q, error %v, sent %v", body, err, watch())
	}
}

func TestARedirectIsAnErrorAndTheKeyStays(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(other.URL+"/canary", status))
		t.Cleanup(server.Close)
		_, err := send(t.Context(), newClient(t, wire.Config{}), post(t, server.URL))
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Kind != providers.NotFound || e.Billing != providers.Unbilled || e.Status != status || strings.Contains(e.Error(), "canary") {
			t.Errorf("HTTP %d: got %v", status, err)
		}
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestADeadlineAfterSendingLeavesTheBillUnknown(t *testing.T) {
	t.Parallel()
	ctx, end := providertest.Due(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		end()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	_, err := send(ctx, newClient(t, wire.Config{}), post(t, server.URL))
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Kind != providers.Timeout || e.Billing != providers.BillingUnknown || !e.Sent || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestACancelledCallIsNeitherTimeoutNorConnection(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel(errors.New("canary cause"))
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	_, err := send(ctx, newClient(t, wire.Config{}), post(t, server.URL))
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Kind != providers.Cancelled || e.Billing != providers.BillingUnknown || strings.Contains(e.Error(), "canary") {
		t.Errorf("got %v", err)
	}

	_, err = send(ctx, newClient(t, wire.Config{}), post(t, server.URL))
	e, ok = errors.AsType[*providers.Error](err)
	if !ok || e.Kind != providers.Cancelled || e.Billing != providers.Unbilled || e.Sent {
		t.Errorf("cancelled before the start: got %v", err)
	}
}

func TestAnAnswerThatNeverBeginsTimesOut(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	client := newClient(t, wire.Config{ResponseHeader: 30 * time.Millisecond})
	_, err := send(t.Context(), client, post(t, server.URL))
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Kind != providers.Timeout || e.Billing != providers.BillingUnknown {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatIsNoHTTPIsNotQuoted(t *testing.T) {
	t.Parallel()
	url := serve(t, func(conn *net.TCPConn, r *bufio.Reader) {
		readRequest(r)
		_, _ = io.WriteString(conn, "canary prompt\r\n\r\n")
		_ = conn.Close()
	})
	_, err := send(t.Context(), newClient(t, wire.Config{}), post(t, url))
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Kind != providers.Connection || e.Billing != providers.BillingUnknown || strings.Contains(e.Error(), "canary") {
		t.Errorf("got %v", err)
	}
}

func TestATruncatedAnswerIsNoSuccess(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"shorter than announced": "HTTP/1.1 200 OK\r\nX-Request-Id: r1\r\nContent-Length: 100\r\n\r\nhalf",
		"chunks without an end":  "HTTP/1.1 200 OK\r\nX-Request-Id: r1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(conn *net.TCPConn, r *bufio.Reader) {
				readRequest(r)
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			})
			_, err := send(t.Context(), newClient(t, wire.Config{}), post(t, url))
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Kind != providers.MalformedResponse || e.Billing != providers.BillingUnknown || e.Status != 200 || e.RequestID != "r1" || !errors.Is(err, wire.ErrTruncated) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestARefusalCountsThoughItsBodyBreaksOff(t *testing.T) {
	t.Parallel()
	url := serve(t, func(conn *net.TCPConn, r *bufio.Reader) {
		readRequest(r)
		_, _ = io.WriteString(conn, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n{\"err")
		_ = conn.Close()
	})
	_, err := send(t.Context(), newClient(t, wire.Config{}), post(t, url))
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Kind != providers.RateLimited || e.RetryAfter != 7*time.Second || string(e.Body) != `{"err` {
		t.Errorf("got %v", err)
	}
}

func TestABaseURLIsCheckedAndItsErrorNamesTheWayOut(t *testing.T) {
	t.Parallel()
	const fallback = "https://api.example.com/v1"
	for in, want := range map[string]string{
		"": fallback, "https://h/": "https://h", "http://127.0.0.1:8080/v1/": "http://127.0.0.1:8080/v1",
	} {
		if got, err := wire.BaseURL(in, fallback); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"ftp://h", "h", "https://", "https://user:canary@h", "https://h?key=canary", "https://h#canary", "https://h/%zzcanary"} {
		_, err := wire.BaseURL(in, fallback)
		if err == nil || strings.Contains(err.Error(), "canary") || !strings.HasPrefix(err.Error(), "base URL: ") {
			t.Errorf("%q: got %v", in, err)
		}
	}
}

func TestAKeyIsAskedForAndChecked(t *testing.T) {
	t.Parallel()
	source := func(key string, err error) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return key, err }
	}
	if key, failure := wire.Key(t.Context(), "mine", source(" sk-1\n", nil)); failure != nil || key != "sk-1" {
		t.Errorf("got %q, %v", key, failure)
	}
	for name, s := range map[string]func(context.Context) (string, error){
		"none": source("", nil), "failing": source("", errors.New("canary")), "two lines": source("canary\r\nx: y", nil), "not ASCII": source("canary–", nil),
	} {
		_, e := wire.Key(t.Context(), "mine", s)
		if e == nil || e.Kind != providers.Unauthorised || e.Billing != providers.Unbilled || e.Sent || e.Code != "no_key" || strings.Contains(e.Error(), "canary") {
			t.Errorf("%s: got %v", name, e)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, e := wire.Key(ctx, "mine", source("", context.Canceled)); e == nil || e.Kind != providers.Cancelled {
		t.Errorf("cancelled: got %v", e)
	}
}
