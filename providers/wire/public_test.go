package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestOnlyThePublicInternetIsCalled(t *testing.T) {
	t.Parallel()
	for _, a := range []string{
		"127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "100.127.255.255", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1",
		"192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1",
		"::", "::1", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::7f00:1",
		"64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "100::1", "3fff::1", "5f00::1",
	} {
		if !refusedAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s would be called", a)
		}
	}
	for _, a := range []string{"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"} {
		if refusedAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s would be refused", a)
		}
	}
}

func TestAGuardedClientRefusesByTheResolvedAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the guard was passed") }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := PublicClient(PublicConfig{})
	t.Cleanup(client.CloseIdleConnections)
	for _, address := range []string{
		server.URL + "/canary", "http://localhost:" + port + "/canary", "http://[::1]:" + port, "http://[::ffff:127.0.0.1]:" + port,
		"http://2130706433:" + port, "http://0x7f.1:" + port, "http://127.1:" + port, // names to the resolver, if anything
		"http://169.254.169.254/latest/meta-data/canary", "file:///etc/canary", "gopher://8.8.8.8/canary",
		"http://user:canary@" + server.Listener.Addr().String(), "http://[canary", "", "//canary",
	} {
		data, err := Fetch(t.Context(), client, address, 100)
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %q, %v", address, data, err)
		}
	}
	if _, err := Fetch(t.Context(), client, server.URL, 100); !isRefused(err) {
		t.Errorf("got %v", err)
	}
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*RefusedError](err)
	return ok
}

func TestFetchIsBounded(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "picture") })
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	})
	mux.Handle("/moved", http.RedirectHandler("/small", http.StatusFound))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	nothing := func(netip.Addr) bool { return false }
	open := publicClient(PublicConfig{}, nothing)
	allowed := PublicClient(PublicConfig{Allow: []string{server.Listener.Addr().String()}})
	for name, client := range map[string]*http.Client{"public": open, "allowed": allowed} {
		t.Cleanup(client.CloseIdleConnections)
		if data, err := Fetch(t.Context(), client, server.URL+"/small", 7); err != nil || string(data) != "picture" {
			t.Errorf("%s: got %q, %v", name, data, err)
		}
		for path, want := range map[string]error{"/small": ErrTooLarge, "/large": ErrTooLarge, "/empty": ErrEmpty} {
			if _, err := Fetch(t.Context(), client, server.URL+path, 6); !errors.Is(err, want) {
				t.Errorf("%s: %s: got %v", name, path, err)
			}
		}
		if _, err := Fetch(t.Context(), client, server.URL+"/short", 100); !errors.Is(err, ErrTruncated) {
			t.Errorf("%s: got %v", name, err)
		}
		for path, want := range map[string]int{"/moved": 302, "/missing": 404} {
			_, err := Fetch(t.Context(), client, server.URL+path, 100)
			if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != want {
				t.Errorf("%s: %s: got %v", name, path, err)
			}
		}
	}
}

func TestOnlyBytesOfTheRequestCountAsSent(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	go func() { _, _ = io.Copy(io.Discard, far) }()
	conn := &meteredConn{Conn: near}
	if _, err := conn.Write([]byte("handshake")); err != nil {
		t.Fatal(err)
	}
	s := &sent{}
	if s.any() {
		t.Error("nothing was sent without a connection")
	}
	s.use(tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12}))
	if s.any() {
		t.Error("what was written before the request counts")
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if !s.any() {
		t.Error("what was written does not count")
	}
	blind := &sent{}
	blind.use(near)
	if !blind.any() {
		t.Error("of a foreign connection nothing is known, so it may have been sent")
	}
}
