package wire

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// PublicConfig tunes a client of public addresses. The zero value is a good one.
type PublicConfig struct {
	// Config holds the time limits; here ResponseHeader is 1 minute by default. Its
	// proxy setting is ignored: a proxy would resolve the names, and nothing could
	// be checked.
	Config

	// Allow lists what may be called although its address is refused: host:port,
	// as they stand in the URL, port included. It is for servers that the
	// configuration names itself, such as a local one that answers with the
	// addresses of pictures on itself.
	Allow []string
}

// PublicClient returns an HTTP client for addresses that come from a job or from
// an answer: the address of a picture, or a webhook. It refuses, with a
// *RefusedError, every address that is not on the public internet, at the moment
// of connecting, so that no name can resolve to one thing when it is checked and
// to another when it is used. It calls http and https only, follows no redirect
// and uses no proxy.
func PublicClient(cfg PublicConfig) *http.Client {
	return publicClient(cfg, refusedAddress)
}

func publicClient(cfg PublicConfig, refused func(netip.Addr) bool) *http.Client {
	cfg.Proxy = nil
	cfg.ResponseHeader = positive(cfg.ResponseHeader, time.Minute)
	control := func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || refused(ap.Addr()) {
			return &RefusedError{Reason: "the address is not on the public internet"}
		}
		return nil
	}
	timeout := positive(cfg.Connect, 10*time.Second)
	client := newClient(cfg.Config, &net.Dialer{Timeout: timeout, Control: control})
	client.Transport = &publicTransport{
		guarded: client.Transport,
		open:    newClient(cfg.Config, &net.Dialer{Timeout: timeout}).Transport,
		allow:   slices.Clone(cfg.Allow),
	}
	return client
}

// RefusedError is an address that the guard does not call.
type RefusedError struct {
	// Reason says why. It does not repeat the address.
	Reason string
}

// Error says why.
func (e *RefusedError) Error() string { return "address refused: " + e.Reason }

// Fetch gets what is at address with a client from PublicClient, at most limit
// bytes of it, and gives up when the answer stands still for IdleTimeout. No error
// repeats the address.
func Fetch(ctx context.Context, client *http.Client, address string, limit int64) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, &RefusedError{Reason: "it cannot be read as a URL"}
	}
	if u.User != nil {
		return nil, &RefusedError{Reason: "it holds a user or password"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, &RefusedError{Reason: "it cannot be read as a URL"}
	}
	req.Header.Set("Accept-Encoding", acceptEncoding)
	res, _, err := do(ctx, client, req)
	if err != nil {
		return nil, orUnreachable(err)
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, &StatusError{Status: res.StatusCode}
	}
	raw, err := readBody(ctx, res.Body, limit, IdleTimeout)
	if err != nil {
		return nil, orUnreachable(err)
	}
	data, err := decode(res.Header, raw, limit)
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0:
		return nil, ErrEmpty
	}
	return data, nil
}

func orUnreachable(err error) error {
	if shown := presentable(err); shown != nil {
		return shown
	}
	return fmt.Errorf("the connection failed")
}

// publicTransport sends to the allowed hosts by one way and to all others by another.
type publicTransport struct {
	guarded, open http.RoundTripper
	allow         []string
}

// RoundTrip sends req, or refuses to.
func (t *publicTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return nil, refuse(req, "only http and https are called")
	}
	host := req.URL.Host
	if req.URL.Port() == "" {
		port := "80"
		if req.URL.Scheme == "https" {
			port = "443"
		}
		host = net.JoinHostPort(req.URL.Hostname(), port)
	}
	if slices.Contains(t.allow, host) {
		return t.open.RoundTrip(req)
	}
	return t.guarded.RoundTrip(req)
}

// CloseIdleConnections closes what is not in use; http.Client looks for it.
func (t *publicTransport) CloseIdleConnections() {
	for _, rt := range []http.RoundTripper{t.guarded, t.open} {
		if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

func refuse(req *http.Request, reason string) error {
	if req.Body != nil {
		_ = req.Body.Close() // as a RoundTripper must
	}
	return &RefusedError{Reason: reason}
}

// refusedAddress reports whether a is not on the public internet.
func refusedAddress(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Zone() != "" {
		return true // loopback, link-local, multicast, unspecified, broadcast; private, ULA
	}
	if nat64 := netip.MustParsePrefix("64:ff9b::/96"); nat64.Contains(a) {
		// An IPv4 address behind a translator: that decides.
		b := a.As16()
		return refusedAddress(netip.AddrFrom4([4]byte(b[12:])))
	}
	return slices.ContainsFunc(specialPrefixes(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// specialPrefixes are IANA's special-purpose blocks that netip does not know. Of
// IPv6 only 2000::/3 is in use at all.
func specialPrefixes() []netip.Prefix {
	blocks := []string{
		"0.0.0.0/8",       // this network
		"100.64.0.0/10",   // shared by a carrier's customers (CGNAT)
		"192.0.0.0/24",    // protocol assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // 6to4 relays
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"240.0.0.0/4",     // reserved
		"::/3",            // IPv4-compatible, NAT64 for local use, discard
		"2001::/23",       // Teredo and other tunnels
		"2001:db8::/32",   // documentation
		"2002::/16",       // 6to4, which holds an IPv4 address
		"3fff::/20",       // documentation
		"4000::/2",        // not assigned
		"8000::/1",        // not assigned, site-local
	}
	prefixes := make([]netip.Prefix, len(blocks))
	for i, b := range blocks {
		prefixes[i] = netip.MustParsePrefix(b)
	}
	return prefixes
}
