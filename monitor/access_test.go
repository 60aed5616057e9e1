package monitor_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"oneflow/access"
	"oneflow/api"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/monitor"
	"oneflow/store"
)

const envToken = "a-token-of-the-environment"

// token makes a token.
func token(t *testing.T, db *store.Store, scope access.Scope, account string, expires time.Time) string {
	t.Helper()
	secret, prefix := access.NewSecret()
	must(t, db.AddToken(t.Context(), access.Token{Prefix: prefix, Name: "test", Scope: scope, Account: account, CreatedBy: "ada", ExpiresAt: expires}, access.Hash(secret)))
	return secret
}

// ask sends a request with a token, as a program does.
func ask(t *testing.T, m *monitor.Monitor, method, path, token string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader("{}"))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if path != "/events" && path != "/api/v1/events" {
		return do(t, m, r)
	}
	r.Host = "localhost:8080"
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(hungUp{w}, r.WithContext(t.Context()))
	return w
}

// hungUp is of a client that has gone.
type hungUp struct{ *httptest.ResponseRecorder }

func (hungUp) Write([]byte) (int, error) { return 0, net.ErrClosed }

// noOrders carries nothing out.
type noOrders struct{}

func (noOrders) StopJobs(context.Context, string) error                       { return nil }
func (noOrders) RetryFailed(context.Context, string) error                    { return nil }
func (noOrders) RetryGroup(context.Context, string, jobs.State, string) error { return nil }
func (noOrders) SettleUnknown(context.Context, string, bool, bool) error      { return nil }
func (noOrders) Pause(context.Context, string) error                          { return nil }
func (noOrders) Resume(context.Context, string) error                         { return nil }

// kept keeps its schedules.
type kept struct{ api.ScheduleStore }

func (kept) RemoveSchedule(context.Context, string) error { return nil }

// noJobs has none.
type noJobs struct{ monitor.JobStore }

func (noJobs) Jobs(context.Context, jobs.Filter) (jobs.Lines, error) { return jobs.Lines{}, nil }

func (noJobs) Batches(context.Context, batches.Filter) ([]batches.Summary, error) { return nil, nil }

func noObject(context.Context, string) (io.ReadCloser, error) { return nil, jobs.ErrNotFound }

// aJob is a job that has an answer.
func aJob(t *testing.T, db *store.Store) string {
	t.Helper()
	list, err := db.Jobs(t.Context(), jobs.Filter{State: jobs.Succeeded, Limit: 1})
	if err != nil || len(list.Jobs) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	return list.Jobs[0].ID
}

// Public routes, each of which shows nothing of anybody's.
var public = []string{"GET /static/", "GET /login", "POST /login", "POST /logout"}

func TestAllRoutesAskForTheirScopeAndHideOtherAccounts(t *testing.T) {
	t.Parallel()
	db := filled(t)
	tokens := map[access.Scope]string{}
	for _, s := range access.Scopes() {
		tokens[s] = token(t, db, s, "", time.Time{})
	}
	stranger := token(t, db, access.Operate, "others", time.Time{})
	expired := token(t, db, access.Admin, "", time.Now().Add(-time.Minute))
	revoked := token(t, db, access.Admin, "", time.Time{})
	must(t, db.RevokeToken(t.Context(), revoked[:strings.LastIndex(revoked, "_")], "ada"))
	job := aJob(t, db)
	addSchedule(t, db, "nightly", "default", "prompts.jsonl")
	_, err := db.Deposit(t.Context(), "default", billing.USD, "of alpha", "ada")
	must(t, err)
	_, err = db.SetBudget(t.Context(), billing.Budget{Scope: billing.Scope{Account: "default", Tag: "of=alpha"}, Period: billing.Day, Zone: "UTC", Limit: billing.USD})
	must(t, err)
	aComparison(t, db, "theirs", "default", secretPrompt, secretAnswer)
	aPipeline(t, db, "line", "default")
	full := monitor.Config{
		Store: db, Jobs: db, Orders: noOrders{}, Redis: redisOf(t), OpenURL: noObject,
		Money: db, Fleet: db, FleetOrders: fleet.NewOrders(db, fleet.Config{}), Schedules: db, Metrics: http.NotFoundHandler(),
		Compare: db, Pipelines: db,
	}
	programs, err := api.New(api.Config{
		Schedules: kept{db}, Fleet: db, Money: db, Spending: db, Alerts: db, Orders: fleet.NewOrders(db, fleet.Config{}),
		Input: batches.Input{Kind: func(string) (string, bool) { return "", false }},
	})
	must(t, err)
	full.API = programs.Routes()
	m := newMonitor(t, full)
	open := 0
	for _, route := range m.Routes() {
		method, path, _ := strings.Cut(route.Pattern, " ")
		id := "b-1"
		switch {
		case strings.Contains(path, "/jobs/"):
			id = job
		case strings.Contains(path, "/accounts/"):
			id = "default"
		case strings.Contains(path, "/schedules/"):
			id = "nightly"
		case strings.Contains(path, "/providers/"):
			id = "mock"
		case strings.Contains(path, "/comparisons/"):
			id = "theirs"
		case strings.Contains(path, "/pipelines/"):
			id = "line"
		}
		path = strings.NewReplacer("{$}", "", "{id}", id, "{name}", id, "{n}", "0", "{account}", "default", "{queue}", "mock.default").Replace(path)
		if route.Scope == "" {
			open++
			continue
		}
		for name, secret := range map[string]string{
			"no token": "", "a wrong one": "oneflow_aaaaaaaaaa_WRONG", "no token of ours": "sk-1", "expired": expired, "revoked": revoked,
			"cut": tokens[access.Admin][:len(tokens[access.Admin])-1], "longer": tokens[access.Admin] + "A",
		} {
			// A monitor of its own: wrong tokens are throttled.
			fresh := newMonitor(t, full)
			if w := ask(t, fresh, method, path, secret); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: %d %s", route.Pattern, name, w.Code, w.Body)
			}
		}
		for _, s := range access.Scopes() {
			w := ask(t, m, method, path, tokens[s])
			if refused := w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized; refused == s.Includes(route.Scope) {
				t.Errorf("%s with scope %s: %d %s", route.Pattern, s, w.Code, w.Body)
			}
		}
		w := ask(t, m, method, path, stranger)
		body := w.Body.String()
		if (strings.Contains(route.Pattern, "{id}") || strings.Contains(route.Pattern, "{account}") || strings.Contains(route.Pattern, "{name}")) && w.Code != http.StatusNotFound && !route.Fleet {
			t.Errorf("%s of another account: %d %s", route.Pattern, w.Code, body)
		}
		for _, theirs := range []string{"b-1", job, "prompts", "nightly", "0.0015", "alpha", secretPrompt, secretAnswer} {
			if w.Code < 300 && strings.Contains(body, theirs) {
				t.Errorf("%s shows another account %q:\n%s", route.Pattern, theirs, body)
			}
		}
		if route.Fleet && w.Code != http.StatusForbidden {
			t.Errorf("%s with the token of one account: %d", route.Pattern, w.Code)
		}
	}
	if open != len(public) {
		t.Errorf("%d routes are for anybody, want %v", open, public)
	}
}

func TestWrongTokensAreThrottledAndRightOnesGoOn(t *testing.T) {
	t.Parallel()
	db := filled(t)
	good, later := token(t, db, access.Read, "", time.Time{}), token(t, db, access.Read, "", time.Time{})
	m := newMonitor(t, monitor.Config{Store: db})
	if w := ask(t, m, http.MethodGet, "/api/overview", good); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	codes := map[int]int{}
	for range 30 {
		w := ask(t, m, http.MethodGet, "/api/overview", "oneflow_aaaaaaaaaa_GUESS")
		codes[w.Code]++
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("it does not say when to try again")
		}
	}
	// One more is let through every six seconds, on a machine that takes as long.
	if n := codes[http.StatusUnauthorized]; n < 10 || n > 15 || n+codes[http.StatusTooManyRequests] != 30 {
		t.Errorf("answers: %v", codes)
	}
	// Nobody learns of a right guess; whoever was there before is not held back.
	if w := ask(t, m, http.MethodGet, "/api/overview", later); w.Code != http.StatusTooManyRequests {
		t.Errorf("a right guess: %d", w.Code)
	}
	if w := ask(t, m, http.MethodGet, "/api/overview", good); w.Code != http.StatusOK {
		t.Errorf("the one who was there: %d", w.Code)
	}
}

func TestTheFirstTokenClosesTheMonitorForGood(t *testing.T) {
	t.Parallel()
	db := filled(t)
	running := newMonitor(t, monitor.Config{Store: db})
	if w := ask(t, running, http.MethodGet, "/api/overview", ""); w.Code != http.StatusOK {
		t.Errorf("without any token: %d", w.Code)
	}
	secret := token(t, db, access.Read, "", time.Time{})
	must(t, db.RevokeToken(t.Context(), secret[:strings.LastIndex(secret, "_")], "ada"))
	if w := ask(t, running, http.MethodGet, "/api/overview", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("of a monitor that runs already: %d", w.Code)
	}
	if w := ask(t, newMonitor(t, monitor.Config{Store: db}), http.MethodGet, "/api/overview", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("with a token that was revoked: %d", w.Code)
	}
}

func TestPeopleLogInIntoACookie(t *testing.T) {
	t.Parallel()
	db := filled(t)
	secret := token(t, db, access.Read, "", time.Time{})
	m := newMonitor(t, monitor.Config{Store: db, BasePath: "/oneflow"})
	page := func(path string, cookie *http.Cookie) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		r.Header.Set("Accept", "text/html")
		if cookie != nil {
			r.AddCookie(cookie)
		}
		return do(t, m, r)
	}
	w := page("/oneflow/batches/b-1?x=1", nil)
	to := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || to != "/oneflow/login?next=%2Fbatches%2Fb-1%3Fx%3D1" {
		t.Fatalf("%d to %q", w.Code, to)
	}
	if w := page(to, nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `name="next" value="/batches/b-1?x=1"`) || strings.Contains(w.Body.String(), "monitor.js") {
		t.Errorf("the login page: %d %s", w.Code, w.Body)
	}
	login := func(values url.Values, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/oneflow/login", strings.NewReader(values.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return do(t, m, r)
	}
	for _, wrong := range []string{"", "sk-1", "oneflow_aaaaaaaaaa_WRONG", `"><script>alert(1)</script>`} {
		if w := login(url.Values{"token": {wrong}}); w.Code != http.StatusUnauthorized || len(w.Result().Cookies()) > 0 || strings.Contains(w.Body.String(), "<script>alert") {
			t.Errorf("%q: %d %s", wrong, w.Code, w.Body)
		}
	}
	if w := login(url.Values{"token": {secret}}, "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
		t.Errorf("another site logs in: %d", w.Code)
	}
	w = login(url.Values{"token": {secret}, "next": {"/batches/b-1?x=1"}}, "X-Forwarded-Proto", "https")
	cookies := w.Result().Cookies()
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/oneflow/batches/b-1?x=1" || len(cookies) != 1 {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	c := cookies[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/oneflow/" || c.MaxAge <= 0 {
		t.Errorf("cookie %+v", c)
	}
	if w := page("/oneflow/batches/b-1", c); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "b-1") {
		t.Errorf("with the cookie: %d", w.Code)
	}
	for _, next := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "javascript:alert(1)", "/\t/evil.example", "evil", ""} {
		if w := login(url.Values{"token": {secret}, "next": {next}}); w.Header().Get("Location") != "/oneflow/" {
			t.Errorf("next %q leads to %q", next, w.Header().Get("Location"))
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/oneflow/logout", http.NoBody)
	if out := do(t, m, r).Result().Cookies(); len(out) != 1 || out[0].MaxAge >= 0 || out[0].Value != "" {
		t.Errorf("logging out leaves %v", out)
	}
	actions, err := db.Actions(t.Context(), 0, 100)
	must(t, err)
	logins := 0
	for _, a := range actions {
		if a.What == "login" && strings.HasPrefix(secret, strings.Fields(a.Actor)[0]) {
			logins++
		}
		if strings.Contains(a.Object+a.Actor, secret) {
			t.Errorf("the record holds the token: %+v", a)
		}
	}
	if logins != 8 {
		t.Errorf("%d logins are recorded", logins)
	}
}

func TestBodiesAreBoundedWhateverTheirLengthSays(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, monitor.Config{})
	big := strings.Repeat("x", access.MaxBody+1)
	for name, body := range map[string]io.Reader{"with a length": strings.NewReader(big), "without one": io.MultiReader(strings.NewReader("token="), strings.NewReader(big))} {
		r := httptest.NewRequest(http.MethodPost, "/login", body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if w := do(t, m, r); w.Code != http.StatusRequestEntityTooLarge && w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestASlowClientIsCutOff(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	m := newMonitor(t, monitor.Config{})
	go func() { served <- m.Serve(ctx, l) }()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	must(t, err)
	_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "))
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	if b, err := io.ReadAll(conn); err != nil {
		t.Errorf("not cut off within a minute: %v %q", err, b)
	}
	must(t, conn.Close())
	stop()
	must(t, <-served)
}
