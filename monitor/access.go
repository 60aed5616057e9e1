package monitor

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"oneflow/access"
	"oneflow/jobs"
)

// ownName refuses requests for a foreign name: a website may have its own name
// resolved to an address of ours, and then read what is served there.
func (m *Monitor) ownName(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Where the database does not answer, the route says so.
		closed, err := m.gate.Closed(r.Context())
		if !m.isOwnName(r.Host, closed && err == nil) {
			m.problem(w, r, http.StatusMisdirectedRequest, "this monitor does not answer to that name; name it with --host to call it so")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwnName reports whether a host is one of ours: localhost, a loopback address, and those
// of the configuration. An address is never another site's name, so that any may be called
// where tokens are asked for.
func (m *Monitor) isOwnName(host string, closed bool) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if ip, err := netip.ParseAddr(name); err == nil {
		return closed || ip.IsLoopback()
	}
	same := func(own string) bool { return own != "" && strings.EqualFold(own, name) }
	return same("localhost") || slices.ContainsFunc(m.cfg.Hosts, same)
}

// ownPolicy lets our pages load their own style, script and pictures, send their own
// forms, and nothing else from anywhere.
const ownPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// secured sets the headers that every answer has.
func (m *Monitor) secured(next http.Handler) http.Handler {
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

// wantsPage reports whether a person looks, with a browser.
func wantsPage(r *http.Request) bool {
	return !strings.HasPrefix(r.URL.Path, "/api/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// refuse answers a request that its route is not for: a browser is sent to the login
// page, or told why.
func (m *Monitor) refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	switch {
	case r.Method == http.MethodGet && wantsPage(r) && status == http.StatusUnauthorized:
		to := url.URL{Path: m.cfg.BasePath + "/login", RawQuery: url.Values{"next": {r.URL.RequestURI()}}.Encode()}
		http.Redirect(w, r, to.String(), http.StatusSeeOther)
	case wantsPage(r) && status == http.StatusForbidden && r.URL.Path == "/":
		// The overview is of all accounts; who has one begins with its batches.
		http.Redirect(w, r, m.cfg.BasePath+"/batches", http.StatusSeeOther)
	case wantsPage(r) && status == http.StatusServiceUnavailable:
		t := trouble{"Postgres does not answer", "This page comes back by itself as soon as it does. The monitor's log says more."}
		m.show(w, r, status, frame{Title: t.Heading, At: time.Now()}, "problem", t)
	case wantsPage(r):
		t := trouble{Heading: http.StatusText(status), Text: message}
		m.show(w, r, status, frame{Title: t.Heading, At: time.Now()}, "problem", t)
	default:
		m.problem(w, r, status, message)
	}
}

// mine hides what belongs to another account: for whoever asks, it is not there.
func mine(r *http.Request, account string) error {
	if !access.From(r.Context()).Sees(account) {
		return jobs.ErrNotFound
	}
	return nil
}

// loginForm is the data of the login page.
type loginForm struct{ Next, Wrong string }

func (m *Monitor) loginPage(w http.ResponseWriter, r *http.Request) {
	m.show(w, r, http.StatusOK, frame{Title: "Log in", Here: "login", Still: true, At: time.Now()}, "login", loginForm{Next: ownPath(r.URL.Query().Get("next"))})
}

// loginFor is the time that a browser keeps a token.
const loginFor = 12 * time.Hour

// login takes a token from the form into a cookie that no script can read and that other
// sites' requests do not carry.
func (m *Monitor) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		m.problem(w, r, http.StatusBadRequest, "the form cannot be read")
		return
	}
	token, next := strings.TrimSpace(r.PostForm.Get("token")), ownPath(r.PostForm.Get("next"))
	p, err := m.gate.Authenticate(r.Context(), access.ClientOf(r), token)
	if err == nil {
		_, err = m.gate.Record(r, p, "login")
	}
	if err != nil {
		m.cfg.Log.Warn().Err(err).Stringer("client", access.ClientOf(r)).Msg("login refused")
		status, why := access.Explain(err)
		m.show(w, r, status, frame{Title: "Log in", Here: "login", Still: true, At: time.Now()}, "login", loginForm{Next: next, Wrong: why})
		return
	}
	m.setCookie(w, r, token, int(loginFor.Seconds()))
	http.Redirect(w, r, m.cfg.BasePath+next, http.StatusSeeOther) //nolint:gosec // ownPath lets only paths of ours through
}

func (m *Monitor) logout(w http.ResponseWriter, r *http.Request) {
	m.setCookie(w, r, "", -1)
	http.Redirect(w, r, m.cfg.BasePath+"/login", http.StatusSeeOther)
}

func (m *Monitor) setCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	// A proxy with TLS says so; who lies about it gets a cookie that is kept more closely.
	secure := r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where the browser comes by TLS: on loopback there is none
		Name: access.CookieName, Value: value, Path: m.cfg.BasePath + "/", MaxAge: seconds,
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	})
}

// ownPath is a path of ours to go on to, "/" for anything else: neither another site's
// address nor a path that a browser takes for one.
func ownPath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") ||
		strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}
