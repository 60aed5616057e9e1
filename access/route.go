package access

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// CookieName is the name of the cookie that holds the token of somebody who has logged
// in with a browser.
const CookieName = "oneflow_token"

// MaxBody is the most that a request may bring where its route says nothing.
const MaxBody = 64 << 10

// Route serves one pattern of a mux to those who may. What a route does not say is
// refused.
type Route struct {
	// Pattern is as http.ServeMux has it.
	Pattern string
	// Scope is the one that a request needs; empty: none, anybody may ask.
	Scope Scope
	// Fleet reports whether the route shows or changes what concerns all accounts: the token of
	// one account is refused.
	Fleet bool
	// Query are the names that the address may have after its ?; nil: any.
	Query []string
	// Body is the most bytes that a request may bring; 0: MaxBody.
	Body int64
	// Slow reports whether the whole may take longer than the server's limits: each read and
	// each write has its own.
	Slow bool
	// Record reports whether each request is recorded before it is carried out.
	Record bool
	// Refuse answers a request that is not carried out, in the words of the route's
	// clients; nil: Mux's own.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, message string)
	Handle http.Handler
}

type principalKey struct{}

// From returns whom a request is from; nobody, who sees nothing, on a public route.
func From(ctx context.Context) Principal {
	p, ok := ctx.Value(principalKey{}).(Principal)
	if !ok {
		return Principal{Name: "nobody", nobody: true}
	}
	return p
}

// Mux serves routes, each to those who may. refuse answers for routes that have no words
// of their own.
func (g *Gate) Mux(routes []Route, refuse func(http.ResponseWriter, *http.Request, int, string)) *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range routes {
		if route.Refuse == nil {
			route.Refuse = refuse
		}
		if route.Body == 0 {
			route.Body = MaxBody
		}
		mux.Handle(route.Pattern, g.guard(route))
	}
	return mux
}

// guard lets the requests through that a route is for.
func (g *Gate) guard(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > route.Body {
			route.Refuse(w, r, http.StatusRequestEntityTooLarge, "the request is larger than "+strconv.FormatInt(route.Body, 10)+" bytes")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, route.Body)
		if route.Scope != "" {
			p, status, why := g.admit(r, route)
			if status != 0 {
				if status == http.StatusUnauthorized {
					w.Header().Set("WWW-Authenticate", `Bearer realm="OneFlow"`)
				}
				if status == http.StatusTooManyRequests {
					w.Header().Set("Retry-After", strconv.Itoa(int(guessesEvery.Seconds())))
				}
				route.Refuse(w, r, status, why)
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), principalKey{}, p))
		}
		if why := unknownQuery(r, route.Query); why != "" {
			route.Refuse(w, r, http.StatusBadRequest, why)
			return
		}
		if route.Slow {
			w, r = slow(w, r)
		}
		if !route.Record {
			route.Handle.ServeHTTP(w, r)
			return
		}
		g.recorded(w, r, route)
	})
}

// unknownQuery says which name of an address there is not, where a filter that is passed over
// would select everything; empty: there is none.
func unknownQuery(r *http.Request, names []string) string {
	if names == nil || r.URL.RawQuery == "" {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(r.URL.Query())) {
		switch {
		case slices.Contains(names, name):
		case len(names) == 0:
			return strconv.QuoteToASCII(name[:min(len(name), 40)]) + ": this address has no parameters"
		default:
			return strconv.QuoteToASCII(name[:min(len(name), 40)]) + ": there is no such parameter; there are " + strings.Join(names, ", ")
		}
	}
	return ""
}

// admit returns whom a request is from; status is not 0 where it may not pass.
func (g *Gate) admit(r *http.Request, route Route) (p Principal, status int, why string) {
	closed, err := g.Closed(r.Context())
	if err != nil {
		return p, http.StatusServiceUnavailable, "the database does not answer"
	}
	if !closed {
		return Principal{Name: "this machine", Scope: Admin}, 0, ""
	}
	secret := credentials(r)
	if secret == "" {
		return p, http.StatusUnauthorized, "this needs a token: Authorization: Bearer …; make one with `monitor token create`"
	}
	if p, err = g.Authenticate(r.Context(), ClientOf(r), secret); err != nil {
		status, why = Explain(err)
		return p, status, why
	}
	switch {
	case !p.Scope.Includes(route.Scope):
		return p, http.StatusForbidden, "this needs a token of scope " + string(route.Scope) + "; this one has " + string(p.Scope)
	case route.Fleet && p.Account != "":
		return p, http.StatusForbidden, "this concerns all accounts, and the token is for one"
	}
	return p, 0, ""
}

// Explain returns the status and the words for an error of Authenticate.
func Explain(err error) (status int, why string) {
	switch {
	case errors.Is(err, ErrUnknownToken):
		return http.StatusUnauthorized, ErrUnknownToken.Error()
	case errors.Is(err, ErrThrottled):
		return http.StatusTooManyRequests, ErrThrottled.Error() + ": wait a moment"
	}
	return http.StatusServiceUnavailable, "the database does not answer"
}

// credentials are the token that a request brings, as the vendors' clients and browsers do.
func credentials(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	if key := r.Header.Get("X-Api-Key"); key != "" {
		return key
	}
	if c, err := r.Cookie(CookieName); err == nil {
		return c.Value
	}
	return ""
}

// ClientOf is the address of a client, or of the proxy before us: what a header says of
// it is not believed.
func ClientOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// Record records that somebody is about to do something by a request.
func (g *Gate) Record(r *http.Request, p Principal, what string) (id int64, err error) {
	from := ""
	if at := ClientOf(r); at.IsValid() {
		from = at.String()
	}
	const longest = 200
	object := strings.ReplaceAll(r.URL.Path, "\x00", "")
	object = strings.ToValidUTF8(object[:min(len(object), longest)], "")
	return g.store.BeginAction(r.Context(), Action{Actor: p.Name, Account: p.Account, From: from, What: what, Object: object})
}

// recorded carries a request out once it stands in the record, and adds how it was answered.
func (g *Gate) recorded(w http.ResponseWriter, r *http.Request, route Route) {
	id, err := g.Record(r, From(r.Context()), route.Pattern)
	if err != nil {
		route.Refuse(w, r, http.StatusServiceUnavailable, "the action cannot be recorded, so that it was not carried out")
		return
	}
	answer := &statusKept{ResponseWriter: w, status: http.StatusOK}
	// Also where the handler panics, or the client has gone away. What fails here is a
	// record without its status, which says as much.
	defer func() { _ = g.store.EndAction(context.WithoutCancel(r.Context()), id, answer.status) }() //nolint:contextcheck // it is r.Context()
	route.Handle.ServeHTTP(answer, r)
}

// statusKept remembers the status of an answer.
type statusKept struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (s *statusKept) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s *statusKept) Unwrap() http.ResponseWriter { return s.ResponseWriter }
