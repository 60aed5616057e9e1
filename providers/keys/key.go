// Package keys holds the API keys of providers: from the environment or from a
// file, several for each provider, taken in turn, paused one by one when a
// provider refuses them, and replaced without a restart when the file changes.
//
// A Key does not show itself: whatever prints, encodes or logs it gets at most
// its last four characters. Only Reveal returns the secret. No error
// of this package holds one.
//
// It may import package providers, for what keys look like, and nothing else of ours.
package keys

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Key is one API key of a provider. The zero Key is none. Keys are immutable: a
// call keeps the one that it picked, whatever happens to the store meanwhile.
type Key struct{ h *hidden }

// hidden is the content of a Key. The secret is behind a function, which no
// printer can see through, not even one that goes by reflection.
type hidden struct {
	provider string
	source   string
	masked   string
	id       string
	reveal   func() string
}

// newKey returns a key that came from source: a variable or a file.
func newKey(provider, source, secret string) Key {
	sum := sha256.Sum256([]byte("oneflow key\x00" + provider + "\x00" + secret))
	return Key{&hidden{
		provider: provider,
		source:   source,
		masked:   mask(secret),
		id:       hex.EncodeToString(sum[:6]),
		reveal:   func() string { return secret },
	}}
}

// mask returns what may be seen of a secret: its last four characters, and of a
// short one an eighth of it.
func mask(secret string) string {
	return "…" + secret[len(secret)-min(4, len(secret)/8):]
}

// Reveal returns the secret itself, to be put into a request's header and
// nowhere else. It is empty for the zero Key.
func (k Key) Reveal() string {
	if k.h == nil {
		return ""
	}
	return k.h.reveal()
}

// Provider returns the provider that the key is for.
func (k Key) Provider() string {
	if k.h == nil {
		return ""
	}
	return k.h.provider
}

// Source returns where the key came from: the name of an environment variable or
// the path of a file.
func (k Key) Source() string {
	if k.h == nil {
		return ""
	}
	return k.h.source
}

// ID returns a short name for the key that is the same in all processes and from
// which it cannot be computed, for rate limits and metrics by key.
func (k Key) ID() string {
	if k.h == nil {
		return ""
	}
	return k.h.id
}

// End returns what may be seen of the secret: its last four characters, and fewer of a
// short one.
func (k Key) End() string { return strings.TrimPrefix(k.String(), "…") }

// String returns the masked key, such as "…wxyz".
func (k Key) String() string {
	if k.h == nil {
		return "(no key)"
	}
	return k.h.masked
}

// GoString returns the masked key, for %#v.
func (k Key) GoString() string { return fmt.Sprintf("keys.Key(%q)", k.String()) }

// Format writes the masked key whatever the verb.
func (k Key) Format(f fmt.State, verb rune) {
	text := k.String()
	if verb == 'v' && f.Flag('#') {
		text = k.GoString()
	}
	_, _ = io.WriteString(f, text) // fmt keeps no errors of a Formatter
}

// MarshalJSON returns the masked key.
func (k Key) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// MarshalText returns the masked key.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue returns the masked key.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// same reports whether two keys are the same secret of the same provider.
func (k Key) same(other Key) bool {
	return k.h != nil && other.h != nil && k.h.provider == other.h.provider && k.h.reveal() == other.h.reveal()
}

// checkAddress refuses a base URL that would send a key in the clear: http is for
// this machine and for private addresses only.
func checkAddress(baseURL string) error {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" { // the text of err repeats the URL, which may hold anything
		return errors.New("key: the base URL is not of the form https://host/path")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !private(u.Hostname())) {
		return fmt.Errorf("key: %s://%s: a key must travel over https, except to this machine or a private address", u.Scheme, u.Host)
	}
	return nil
}

// private reports whether a host is this machine, a private address, or a name that
// the public DNS does not have, such as a container's.
func private(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		tld := host[strings.LastIndexByte(host, '.')+1:]
		return tld == host || slices.Contains([]string{"localhost", "local", "internal"}, tld)
	}
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
}
