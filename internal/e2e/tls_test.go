package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/harness"
)

// certificate is one for 127.0.0.1 that signs itself, and the file that says so.
func certificate(t *testing.T) (cert tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: t.Name()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// tlsProxy speaks TLS in front of a server that does not. It returns its address,
// and how many connections came through.
func tlsProxy(t *testing.T, cert tls.Certificate, server string, hello func(net.Conn) error) (addr string, through *atomic.Int64) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	through = new(atomic.Int64)
	serve := func(raw net.Conn) {
		defer func() { _ = raw.Close() }()
		if hello(raw) != nil {
			return
		}
		secure := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
		if secure.HandshakeContext(context.Background()) != nil {
			return
		}
		back, err := new(net.Dialer).DialContext(context.Background(), "tcp", server)
		if err != nil {
			return
		}
		defer func() { _ = back.Close() }()
		through.Add(1)
		go func() {
			_, _ = io.Copy(back, secure)
			_ = back.Close()
		}()
		_, _ = io.Copy(secure, back)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String(), through
}

// postgresHello answers the request for TLS with which a Postgres client begins,
// and ends a connection that begins in plain text.
func postgresHello(c net.Conn) error {
	request := make([]byte, 8)
	if _, err := io.ReadFull(c, request); err != nil {
		return err
	}
	if string(request) != "\x00\x00\x00\x08\x04\xd2\x16\x2f" {
		return errors.New("not a request for TLS")
	}
	_, err := c.Write([]byte("S"))
	return err
}

// with is an address with another host and other parameters.
func with(t *testing.T, address, scheme, host string, query url.Values) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme, u.Host, u.RawQuery = scheme, host, query.Encode()
	return u.String()
}

func hostOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func TestPostgresAndRedisAreSpokenToOverTLSAndOnlyToWhoseCertificateIsKnown(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "latency: 1ms")
	cert, ca := certificate(t)
	_, stranger := certificate(t)
	pgAddr, pgThrough := tlsProxy(t, cert, hostOf(t, sut.DatabaseURL), postgresHello)
	redisAddr, redisThrough := tlsProxy(t, cert, hostOf(t, sut.RedisURL), func(net.Conn) error { return nil })
	secure := func(postgresCA, redisCA string) []string {
		return []string{
			"DATABASE_URL=" + with(t, sut.DatabaseURL, "postgres", pgAddr, url.Values{"sslmode": {"verify-full"}, "sslrootcert": {postgresCA}}),
			"REDIS_URL=" + with(t, sut.RedisURL, "rediss", redisAddr, nil),
			"SSL_CERT_FILE=" + redisCA, "SSL_CERT_DIR=/nowhere",
		}
	}

	sut.Env = secure(ca, ca)
	worker := sut.worker()
	out := sut.run(cli.OK, "enqueue", "text", canaryPrompt, "--provider", "mock", "--wait", "-o", "json")
	if !strings.Contains(out, `"succeeded"`) {
		t.Errorf("the job did not run: %s", out)
	}
	if err := stop(worker, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if pgThrough.Load() == 0 || redisThrough.Load() == 0 {
		t.Errorf("%d connections to Postgres and %d to Redis came through TLS", pgThrough.Load(), redisThrough.Load())
	}

	// A certificate that nobody here knows: waiting would not mend it.
	refused := func(what string, env []string, name string, args ...string) {
		t.Helper()
		pg, redis := pgThrough.Load(), redisThrough.Load()
		sut.Env = env
		p := sut.background(name, append(args, "--connect-timeout", "1h")...)
		if code := harness.ExitCode(p.Wait()); code != cli.Usage || !strings.Contains(p.Text(), what) || !strings.Contains(p.Text(), "certificate signed by unknown authority") {
			t.Errorf("%s: exit code %d: %s", what, code, p.Text())
		}
		if what == "Postgres" && pgThrough.Load() != pg || what == "Redis" && redisThrough.Load() != redis {
			t.Errorf("%s: a connection came through", what)
		}
	}
	refused("Postgres", secure(stranger, ca), "enqueue", "text", canaryPrompt, "--provider", "mock")
	refused("Redis", secure(ca, stranger), "worker", "run", "--provider", "mock")
	if n := sut.number(`SELECT count(*) FROM jobs`); n != 1 {
		t.Errorf("%d jobs", n)
	}
	// Nor does a producer bring its jobs there: waiting would not mend it.
	before := redisThrough.Load()
	sut.Env = secure(ca, stranger)
	sut.run(cli.Usage, "enqueue", "text", canaryPrompt, "--provider", "mock")
	if n := sut.number(`SELECT count(*) FROM jobs`); n != 1 || redisThrough.Load() != before {
		t.Errorf("%d jobs, %d connections to Redis", n, redisThrough.Load()-before)
	}
}
