package access

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// serve serves one route, and answers a request.
func serve(t *testing.T, g *Gate, route Route, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	mux := g.Mux([]Route{route}, func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		Problem(w, status, message, nil)
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/x", strings.NewReader("body"))
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func ok(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(w, r.Body); err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}
}

func TestATokenComesAsVendorsClientsAndBrowsersSendIt(t *testing.T) {
	t.Parallel()
	k := newKept()
	secret := k.add(func(t *Token) { t.Scope = Operate })
	g := NewGate(k, "")
	route := Route{Pattern: "POST /x", Scope: Operate, Handle: http.HandlerFunc(ok)}
	for name, c := range map[string]struct {
		set    func(*http.Request)
		status int
	}{
		"nothing":         {nil, 401},
		"bearer":          {func(r *http.Request) { r.Header.Set("Authorization", "bearer "+secret) }, 200},
		"x-api-key":       {func(r *http.Request) { r.Header.Set("X-Api-Key", secret) }, 200},
		"cookie":          {func(r *http.Request) { r.AddCookie(&http.Cookie{Name: CookieName, Value: secret}) }, 200},
		"basic":           {func(r *http.Request) { r.SetBasicAuth("x", secret) }, 401},
		"query":           {func(r *http.Request) { r.URL.RawQuery = "token=" + secret }, 401},
		"another cookie":  {func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "token", Value: secret}) }, 401},
		"wrong, and good": {func(r *http.Request) { r.Header.Set("Authorization", "Bearer x"); r.Header.Set("X-Api-Key", secret) }, 401},
	} {
		if w := serve(t, g, route, c.set); w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestAHeaderDoesNotSayWhereAClientIs(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = "203.0.113.9:1234"
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Cf-Connecting-Ip", "True-Client-Ip"} {
		r.Header.Set(name, "127.0.0.1")
	}
	if at := ClientOf(r); at.String() != "203.0.113.9" {
		t.Errorf("the client is at %s", at)
	}
}

func TestARouteTakesWhatItSaysAndNoMore(t *testing.T) {
	t.Parallel()
	k := newKept()
	own := k.add(func(t *Token) { t.Scope, t.Account = Operate, "alpha" })
	low := k.add(nil)
	g := NewGate(k, "")
	as := func(secret string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
	}
	route := Route{Pattern: "POST /x", Scope: Operate, Fleet: true, Handle: http.HandlerFunc(ok)}
	if w := serve(t, g, route, as(own)); w.Code != http.StatusForbidden {
		t.Errorf("what is about all accounts, for one: %d", w.Code)
	}
	route.Fleet = false
	if w := serve(t, g, route, as(low)); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "scope operate") {
		t.Errorf("a lesser scope: %d %s", w.Code, w.Body)
	}
	route.Body = 3
	if w := serve(t, g, route, as(own)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a longer body: %d", w.Code)
	}
	if w := serve(t, g, route, func(r *http.Request) { as(own)(r); r.ContentLength = -1 }); w.Code != http.StatusRequestEntityTooLarge && w.Body.Len() > 3 {
		t.Errorf("a longer body that does not say so: %d %s", w.Code, w.Body)
	}
}

func TestAParameterThatARouteDoesNotHaveIsRefused(t *testing.T) {
	t.Parallel()
	k := newKept()
	secret := k.add(nil)
	g := NewGate(k, "")
	for query, want := range map[string]map[string]int{ // the status by the parameters that there are
		"":                {"any": 200, "none": 200, "state,limit": 200},
		"state=a":         {"any": 200, "none": 400, "state,limit": 200},
		"state=a&stat=b":  {"any": 200, "none": 400, "state,limit": 400},
		"limit=1&state=a": {"any": 200, "none": 400, "state,limit": 200},
	} {
		for names, status := range want {
			route := Route{Pattern: "POST /x", Scope: Read, Handle: http.HandlerFunc(ok)}
			switch names {
			case "any":
			case "none":
				route.Query = []string{}
			default:
				route.Query = strings.Split(names, ",")
			}
			w := serve(t, g, route, func(r *http.Request) { r.Header.Set("X-Api-Key", secret); r.URL.RawQuery = query })
			if w.Code != status {
				t.Errorf("%q where there are %s: %d %s", query, names, w.Code, w.Body)
			}
		}
	}
}

// Times of comparisons cannot be measured soundly in a test; that no secret is compared in another way can be read.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	t.Parallel()
	parsed, err := parser.ParseFile(token.NewFileSet(), "gate.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constant := 0
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			for _, side := range []ast.Expr{n.X, n.Y} {
				if name, ok := side.(*ast.Ident); ok && (name.Name == "sum" || name.Name == "want" || name.Name == "secret") {
					t.Errorf("%s is compared with %s", name.Name, n.Op)
				}
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "ConstantTimeCompare" {
				constant++
			}
		}
		return true
	})
	if constant != 2 {
		t.Errorf("%d comparisons in constant time", constant)
	}
}
