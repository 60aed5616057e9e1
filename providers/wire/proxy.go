package wire

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// Proxy returns Config.Proxy for a proxy that the configuration names, such as
// "http://proxy.internal:3128", or, where that is empty, for the one in HTTPS_PROXY
// and HTTP_PROXY, in capitals or not. NO_PROXY holds for both; the own machine is
// never called through a proxy. Its error does not repeat the address, which may
// hold a password.
func Proxy(configured string, getenv func(string) string) (func(*url.URL) (*url.URL, error), error) {
	first := func(names ...string) string {
		for _, name := range names {
			if value := getenv(name); value != "" {
				return value
			}
		}
		return ""
	}
	cfg := httpproxy.Config{
		HTTPProxy:  first("HTTP_PROXY", "http_proxy"),
		HTTPSProxy: first("HTTPS_PROXY", "https_proxy"),
		NoProxy:    first("NO_PROXY", "no_proxy"),
	}
	from := "HTTPS_PROXY"
	if configured != "" {
		cfg.HTTPProxy, cfg.HTTPSProxy, from = configured, configured, "proxy"
	}
	for _, address := range []string{cfg.HTTPSProxy, cfg.HTTPProxy} {
		if err := checkProxy(address); err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		if configured == "" {
			from = "HTTP_PROXY"
		}
	}
	return cfg.ProxyFunc(), nil
}

// checkProxy refuses what would be taken for no proxy, in silence or at each call.
func checkProxy(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if !strings.Contains(address, "://") {
		u, err = url.Parse("http://" + address) // as the environment may have it
	}
	switch {
	case err != nil || u.Hostname() == "":
		return errors.New("cannot be read, give one such as http://proxy.internal:3128")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" && u.Scheme != "socks5h":
		return fmt.Errorf("scheme must be http, https, socks5 or socks5h, got %q", u.Scheme)
	}
	return nil
}

// Roots returns Config.RootCAs with the certificates of a PEM file, such as those
// of a private authority, beside the system's. It is nil, the system's alone, where
// no file is named; those are what SSL_CERT_FILE and SSL_CERT_DIR name on Linux.
func Roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // documented
	}
	pem, err := os.ReadFile(file) //nolint:gosec // the configuration names it
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s: holds no certificate in PEM form", file)
	}
	return pool, nil
}

// proxyError is a proxy that did not connect us. Nothing was sent to the provider.
type proxyError struct {
	// Status is the HTTP status that it answered with.
	Status int
}

// Error names the status.
func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy refuses to connect: HTTP %d %s", e.Status, http.StatusText(e.Status))
}
