package monitor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/access"
	"oneflow/config"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/monitor"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

// program asks a monitor that has all its parts, and no worker.
type program struct {
	db      *store.Store
	monitor *monitor.Monitor
	checks  validator.Validator
}

func openProgram(t *testing.T) *program {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Database(t))
	must(t, err)
	t.Cleanup(db.Close)
	dir := t.TempDir()
	cfg, err := config.Parse([]byte("providers:\n  mock: {}\nartifacts: "+filepath.Join(dir, "artifacts")+"\nkeys: "+filepath.Join(dir, "keys.json")+"\nstate: ''\n"), "oneflow.yaml")
	must(t, err)
	address := storetest.Redis(t)
	options, err := redis.ParseURL(address)
	must(t, err)
	parts, done, err := app.NewMonitor(t.Context(), cfg, db, storetest.Client(t, address), cli.ForAsynq(options), zerolog.New(zerolog.NewTestWriter(t)))
	must(t, err)
	m, err := monitor.New(parts)
	must(t, err)
	t.Cleanup(func() {
		must(t, m.Close())
		must(t, done())
	})
	must(t, db.Register(t.Context(), worker.Presence{ID: jobs.NewID(), Host: "alpha", PID: 7, Providers: []worker.Served{{Name: "mock", Kind: "mock", Simulated: true, Limits: providers.Limits{RPM: 60}, Concurrency: 3}}}))
	text, err := os.ReadFile("../api/openapi.yaml")
	must(t, err)
	document, err := libopenapi.NewDocument(text)
	must(t, err)
	checks, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, problems := checks.ValidateDocument(); !ok {
		t.Fatalf("openapi.yaml: %v", problems)
	}
	return &program{db, m, checks}
}

func (h *program) token(t *testing.T, scope access.Scope, account string) string {
	t.Helper()
	secret, prefix := access.NewSecret()
	must(t, h.db.AddToken(t.Context(), access.Token{Prefix: prefix, Name: "test", Scope: scope, Account: account, CreatedBy: "ada"}, access.Hash(secret)))
	return secret
}

// reply is an answer, whose body was held against the description.
type reply struct {
	status int
	header http.Header
	body   string
}

// field returns a value of the body.
func (r reply) field(t *testing.T, path ...any) any {
	t.Helper()
	var v any
	must(t, json.Unmarshal([]byte(r.body), &v))
	for _, p := range path {
		switch p := p.(type) {
		case string:
			o, _ := v.(map[string]any)
			v = o[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// ask sends a request, and fails the test where the answer is not as the description
// says, or the request is fine and the description refuses it.
func (h *program) ask(t *testing.T, method, path, token, body string, header ...string) reply {
	t.Helper()
	request := func() *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		if body == "" {
			r = httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
		} else {
			r.Header.Set("Content-Type", "application/json")
		}
		r.Host = "localhost:8080"
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	w := httptest.NewRecorder()
	h.monitor.Handler().ServeHTTP(w, request())
	answer := reply{w.Code, w.Header(), w.Body.String()}
	if ok, problems := h.checks.GetResponseBodyValidator().ValidateResponseBody(request(), &http.Response{
		StatusCode: w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())), Request: request(),
	}); !ok {
		for _, p := range problems {
			t.Errorf("%s %s answers %d %s: %s %s %v", method, path, w.Code, answer.body, p.Message, p.Reason, p.SchemaValidationErrors)
		}
	}
	// It knows JSON alone.
	if request().Header.Get("Content-Type") != "application/json" {
		return answer
	}
	if ok, problems := h.checks.GetRequestBodyValidator().ValidateRequestBody(request()); !ok && w.Code < 300 && len(problems) > 0 {
		t.Errorf("%s %s %s is fine, and the description refuses it: %s %s", method, path, body, problems[0].Message, problems[0].Reason)
	}
	return answer
}

// expect is ask for what must be answered with a status.
func (h *program) expect(t *testing.T, status int, method, path, token, body string, header ...string) reply {
	t.Helper()
	r := h.ask(t, method, path, token, body, header...)
	if r.status != status {
		t.Errorf("%s %s: %d instead of %d: %s", method, path, r.status, status, r.body)
	}
	if status >= http.StatusBadRequest && r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: an error as %s", method, path, r.header.Get("Content-Type"))
	}
	return r
}

func TestTheDescriptionIsOfTheRoutesThatThereAre(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	text, err := os.ReadFile("../api/openapi.yaml")
	must(t, err)
	var described struct {
		Paths      map[string]map[string]any
		Components struct{ Parameters map[string]any }
	}
	must(t, yaml.Unmarshal(text, &described))
	want, names := map[string]string{}, map[string][]string{}
	for path, methods := range described.Paths {
		for method, op := range methods {
			if o, ok := op.(map[string]any); ok {
				want[strings.ToUpper(method)+" "+path] = fmt.Sprint(o["description"])
				names[strings.ToUpper(method)+" "+path] = queryNames(described.Components.Parameters, o["parameters"], methods["parameters"])
			}
		}
	}
	for _, route := range h.monitor.Routes() {
		if !strings.Contains(route.Pattern, " /api/v1/") {
			continue
		}
		says, there := want[route.Pattern]
		if !there {
			t.Errorf("%s is not described", route.Pattern)
		}
		if !strings.HasPrefix(says, "Scope "+string(route.Scope)) || strings.Contains(says, "all accounts") != route.Fleet {
			t.Errorf("%s needs %s, of the fleet: %v; the description says %q", route.Pattern, route.Scope, route.Fleet, says)
		}
		if route.Query == nil || !slices.Equal(slices.Sorted(slices.Values(route.Query)), names[route.Pattern]) {
			t.Errorf("%s takes the parameters %q, and the description names %q", route.Pattern, route.Query, names[route.Pattern])
		}
		delete(want, route.Pattern)
	}
	if len(want) > 0 {
		t.Errorf("described, and not there: %v", slices.Sorted(maps.Keys(want)))
	}
	h.token(t, access.Read, "")
	served := h.ask(t, http.MethodGet, "/api/v1/openapi.yaml", h.token(t, access.Read, "x"), "")
	if served.body != string(text) {
		t.Error("another description is served")
	}
}

// queryNames are the names that a description lists of an address, sorted.
func queryNames(components map[string]any, lists ...any) (names []string) {
	for _, list := range lists {
		parameters, _ := list.([]any)
		for _, p := range parameters {
			one, _ := p.(map[string]any)
			if ref, ok := one["$ref"].(string); ok {
				one, _ = components[strings.TrimPrefix(ref, "#/components/parameters/")].(map[string]any)
			}
			if one["in"] == "query" {
				names = append(names, fmt.Sprint(one["name"]))
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestAWrongAnswerIsNotAsTheDescriptionSays(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/api/v1/accounts/x", http.NoBody)
	ok, _ := h.checks.GetResponseBodyValidator().ValidateResponseBody(r, &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"name":"x","balance_usd":5}`)), Request: r,
	})
	if ok {
		t.Error("anything passes")
	}
}
