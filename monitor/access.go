package monitor

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// authenticated lets requests through that may look: with a password, whoever knows it;
// without one, whoever calls this machine by a name of its own.
func (m *Monitor) authenticated(next http.Handler) http.Handler {
	if m.cfg.Password == "" {
		return m.ownName(next)
	}
	user, password := sha256.Sum256([]byte(m.cfg.User)), sha256.Sum256([]byte(m.cfg.Password))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		givenUser, givenPassword, _ := r.BasicAuth()
		u, p := sha256.Sum256([]byte(givenUser)), sha256.Sum256([]byte(givenPassword))
		// Hashes are of one length, and both are compared whatever the first says.
		if subtle.ConstantTimeCompare(u[:], user[:])&subtle.ConstantTimeCompare(p[:], password[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="OneFlow monitor", charset="UTF-8"`)
			http.Error(w, "user and password, please", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownName refuses requests for a foreign name: a website may have its own name
// resolved to a loopback address, and then read what is served there.
func (m *Monitor) ownName(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.isOwnName(r.Host) {
			http.Error(w, "this monitor answers to localhost only; give it a password (ONEFLOW_MONITOR_USER, ONEFLOW_MONITOR_PASSWORD) to call it by another name",
				http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (m *Monitor) isOwnName(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.IsLoopback()
	}
	same := func(own string) bool { return own != "" && strings.EqualFold(own, name) }
	return same("localhost") || slices.ContainsFunc(m.cfg.Hosts, same)
}

// ownPolicy lets our pages load their own style, script and pictures, and nothing
// else from anywhere.
const ownPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secured sets the headers that every answer has.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", ownPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
