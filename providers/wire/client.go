package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config tunes a client. The zero value is a good one.
type Config struct {
	// Connect bounds the time to a TCP connection. Default 10 s.
	Connect time.Duration
	// TLSHandshake bounds the time of the TLS handshake. Default 10 s.
	TLSHandshake time.Duration
	// ResponseHeader bounds the time from the request to the answer's headers.
	// Models that think send nothing until they are done, so this only bounds what
	// a call's own deadline does not. Default 15 minutes.
	ResponseHeader time.Duration
	// Concurrency is the number of calls that run at once to one host: so many idle
	// connections are kept. Default 64. It is no limit: limiting is not done here.
	Concurrency int
	// Proxy says through which proxy a URL is called; nil for none: see Proxy. Of
	// an https request a proxy sees the host's name only.
	Proxy func(*url.URL) (*url.URL, error)
	// RootCAs are the authorities that certificates are checked against, for a
	// gateway with a certificate of its own. Nil means the system's.
	RootCAs *x509.CertPool
}

// NewClient returns an HTTP client for calls that carry a key and cost money.
//
//   - Certificates are verified, TLS is 1.2 or later.
//   - Redirects are not followed but fail with a *StatusError: the key must not
//     go to another host.
//   - A request with a body is never sent a second time once a byte of it was
//     written. net/http repeats by itself only what was not written at all, after
//     an idle connection turned out to be dead.
//   - It speaks HTTP/1.1 only. Over HTTP/2 all calls to a host share a connection,
//     and its loss would leave the bills of all of them unknown.
//   - It does not decompress: Caller and Fetch do, by what the answer says.
//
// It has no overall timeout: the context of each request is its deadline.
func NewClient(cfg Config) *http.Client {
	return newClient(cfg, &net.Dialer{Timeout: positive(cfg.Connect, 10*time.Second)})
}

func newClient(cfg Config, dialer *net.Dialer) *http.Client {
	concurrency := cfg.Concurrency
	if concurrency <= 0 {
		concurrency = 64
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	base := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &meteredConn{Conn: conn}, nil
		},
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		TLSHandshakeTimeout:   positive(cfg.TLSHandshake, 10*time.Second),
		ResponseHeaderTimeout: positive(cfg.ResponseHeader, 15*time.Minute),
		MaxIdleConns:          4 * concurrency,
		MaxIdleConnsPerHost:   concurrency,
		// Providers' load balancers drop idle connections after a minute or more;
		// leaving first avoids writing into a connection that is being closed.
		IdleConnTimeout:        50 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		DisableCompression:     true,
		Protocols:              protocols,
	}
	if cfg.Proxy != nil {
		base.Proxy = func(r *http.Request) (*url.URL, error) { return cfg.Proxy(r.URL) }
		base.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
			if res.StatusCode != http.StatusOK {
				return &proxyError{Status: res.StatusCode}
			}
			return nil
		}
	}
	return &http.Client{
		Transport:     &onceTransport{base: base},
		CheckRedirect: refuseRedirect,
	}
}

func refuseRedirect(req *http.Request, _ []*http.Request) error {
	status := http.StatusFound
	if req.Response != nil {
		status = req.Response.StatusCode
	}
	return &StatusError{Status: status}
}

// StatusError is an answer with a status that cannot be used, such as a redirect.
type StatusError struct {
	// Status is the HTTP status.
	Status int
}

// Error names the status. It never names where a redirect leads.
func (e *StatusError) Error() string {
	if e.Status >= 300 && e.Status < 400 {
		return fmt.Sprintf("HTTP %d: redirects are not followed, check the base URL", e.Status)
	}
	return fmt.Sprintf("HTTP %d instead of 200", e.Status)
}

// BaseURL checks a provider's address and returns it without a slash at its end.
// An empty one means fallback.
func BaseURL(raw, fallback string) (string, error) {
	if raw == "" {
		raw = fallback
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "", fmt.Errorf("base URL: cannot be read, give one such as %s", fallback)
	case u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("base URL: scheme must be https or http, got %q", u.Scheme)
	case u.Hostname() == "":
		return "", fmt.Errorf("base URL: names no host, give one such as %s", fallback)
	case u.User != nil:
		return "", fmt.Errorf("base URL: must hold no user or password, set the key beside it")
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("base URL: must end with its path, without ? or #")
	}
	return strings.TrimRight(raw, "/"), nil
}

// onceTransport keeps net/http from sending a request again after some of it was
// written, which it would do for an idempotency key.
type onceTransport struct{ base *http.Transport }

// RoundTrip sends req.
func (t *onceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	rewind := req.GetBody
	ctx, sent := watchSent(req.Context())
	req = req.WithContext(ctx)
	if rewind != nil {
		req.GetBody = func() (io.ReadCloser, error) {
			if sent.any() {
				return nil, ErrNotRepeated
			}
			return rewind()
		}
	}
	return t.base.RoundTrip(req)
}

// CloseIdleConnections closes what is not in use; http.Client looks for it.
func (t *onceTransport) CloseIdleConnections() { t.base.CloseIdleConnections() }

func positive(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}
