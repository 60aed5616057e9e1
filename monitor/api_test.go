package monitor_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/uuid"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/access"
	"oneflow/billing"
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
		Paths map[string]map[string]any
	}
	must(t, yaml.Unmarshal(text, &described))
	want := map[string]string{}
	for path, methods := range described.Paths {
		for method, op := range methods {
			if o, ok := op.(map[string]any); ok {
				want[strings.ToUpper(method)+" "+path] = fmt.Sprint(o["description"])
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

const aRow = `{"model":"mock/mock-text","prompt":"hello"}`

func TestProgramsBringJobsOnceAndSeeWhatBecomesOfThem(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	mine := h.token(t, access.Operate, "mine")
	made := h.expect(t, 202, "POST", "/api/v1/jobs", mine, aRow, "Idempotency-Key", "k")
	id, _ := made.field(t, "id").(string)
	if made.header.Get("Location") != "/api/v1/jobs/"+id || id == "" {
		t.Errorf("%v %s", made.header, made.body)
	}
	if again := h.expect(t, 202, "POST", "/api/v1/jobs", mine, aRow, "Idempotency-Key", "k"); again.body != made.body {
		t.Errorf("a repetition made %s", again.body)
	}
	h.expect(t, 422, "POST", "/api/v1/jobs", mine, `{"provider":"mock","prompt":"another"}`, "Idempotency-Key", "k")
	if other := h.expect(t, 202, "POST", "/api/v1/jobs", mine, aRow); other.body == made.body {
		t.Error("two jobs are one")
	}
	if account := h.expect(t, 200, "GET", "/api/v1/jobs/"+id, mine, "").field(t, "account"); account != "mine" {
		t.Errorf("it belongs to %v", account)
	}
	h.expect(t, 204, "POST", "/api/v1/jobs/"+id+"/cancel", mine, "")
	if state := h.expect(t, 200, "GET", "/api/v1/jobs/"+id, mine, "").field(t, "state"); state != "cancelled" {
		t.Errorf("it is %v", state)
	}
	list := h.expect(t, 200, "GET", "/api/v1/jobs?limit=1", mine, "")
	next, _ := list.field(t, "next").(string)
	rest := h.expect(t, 200, "GET", "/api/v1/jobs?limit=1&cursor="+next, mine, "")
	if a, b := list.field(t, "jobs", 0, "id"), rest.field(t, "jobs", 0, "id"); next == "" || a == b || b == nil {
		t.Errorf("parts: %s then %s", list.body, rest.body)
	}
	for _, wrong := range []string{"", "[]", `{"prompt":"x"}`, `{"model":"nobody's","prompt":"x"}`, `{"provider":"mock"}`, `{"provider":"mock","prompt":"x","prompt":"y"}`} {
		h.expect(t, 400, "POST", "/api/v1/jobs", mine, wrong)
	}
	h.expect(t, 403, "POST", "/api/v1/jobs", mine, aRow, "X-OneFlow-Account", "theirs")
	h.expect(t, 413, "POST", "/api/v1/jobs", mine, `{"prompt":"`+strings.Repeat("x", 17<<20)+`"}`)
}

func TestProgramsBringBatchesWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	mine := h.token(t, access.Operate, "mine")
	lines := strings.Repeat(aRow+"\n", 3)
	lines = strings.Replace(lines, "hello", "hello again", 1)
	send := func(status int, query, body string, header ...string) reply {
		t.Helper()
		return h.expect(t, status, "POST", "/api/v1/batches"+query, mine, body, append([]string{"Content-Type", "application/x-ndjson"}, header...)...)
	}
	faulty := send(422, "", aRow+"\n{\"prompt\":1}\nno json\n")
	if faulty.field(t, "faults", 0, "line") != 2.0 || faulty.field(t, "faults", 1, "line") != 3.0 {
		t.Errorf("faults: %s", faulty.body)
	}
	if list := h.expect(t, 200, "GET", "/api/v1/batches", mine, ""); list.field(t, "batches", 0) != nil {
		t.Errorf("something was taken: %s", list.body)
	}
	made := send(202, "?source=prompts.jsonl&tag=team=a&lane=bulk", lines, "Idempotency-Key", "k")
	id, _ := made.field(t, "id").(string)
	again := send(202, "?source=prompts.jsonl&tag=team=a&lane=bulk", lines, "Idempotency-Key", "k")
	if again.field(t, "id") != id || again.field(t, "accepted") != 0.0 {
		t.Errorf("first %s, then %s", made.body, again.body)
	}
	send(422, "", aRow+"\n", "Idempotency-Key", "k")
	detail := h.expect(t, 200, "GET", "/api/v1/batches/"+id, mine, "")
	if detail.field(t, "counts", "queued") != 3.0 && detail.field(t, "counts", "queued") != 2.0 {
		t.Errorf("%s", detail.body)
	}
	h.expect(t, 204, "POST", "/api/v1/batches/"+id+"/cancel", mine, "")
	send(202, "?provider=mock", "{\"prompt\":\"x\"}\n")
	for _, wrong := range []string{"?tag=x", "?secret=1", "?lane=slow&provider=mock"} {
		if r := h.ask(t, "POST", "/api/v1/batches"+wrong, mine, lines, "Content-Type", "application/x-ndjson"); r.status/100 != 4 {
			t.Errorf("%s: %d %s", wrong, r.status, r.body)
		}
	}
	send(400, "", "\n")
	list := h.expect(t, 200, "GET", "/api/v1/batches?limit=1", mine, "")
	next, _ := list.field(t, "next").(string)
	rest := h.expect(t, 200, "GET", "/api/v1/batches?limit=1&cursor="+next, mine, "")
	if a, b := list.field(t, "batches", 0, "id"), rest.field(t, "batches", 0, "id"); next == "" || a == b || b != id {
		t.Errorf("parts: %s then %s", list.body, rest.body)
	}
}

func TestSchedulesAreKept(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	mine, theirs := h.token(t, access.Operate, "mine"), h.token(t, access.Operate, "theirs")
	body := `{"name":"daily","cron":"0 6 * * *","timezone":"Europe/Paris","rows":[{"prompt":"a"},{"prompt":"b"}],"defaults":{"provider":"mock"},"tags":{"a":"b"}}`
	made := h.expect(t, 201, "POST", "/api/v1/schedules", mine, body)
	if made.field(t, "account") != "mine" || made.field(t, "next", 4) == nil || made.header.Get("Location") != "/api/v1/schedules/daily" {
		t.Errorf("%v %s", made.header, made.body)
	}
	h.expect(t, 409, "POST", "/api/v1/schedules", mine, body)
	h.expect(t, 201, "POST", "/api/v1/schedules", mine, strings.NewReplacer(`"daily"`, `"hourly"`, `"cron":"0 6 * * *","timezone":"Europe/Paris"`, `"every":"1h"`).Replace(body))
	h.expect(t, 204, "POST", "/api/v1/schedules/daily/pause", mine, "")
	if h.expect(t, 200, "GET", "/api/v1/schedules/daily", mine, "").field(t, "paused") != true {
		t.Error("it is not paused")
	}
	h.expect(t, 204, "POST", "/api/v1/schedules/daily/resume", mine, "")
	batch := h.expect(t, 202, "POST", "/api/v1/schedules/daily/run", mine, "").field(t, "batch_id")
	if fires := h.expect(t, 200, "GET", "/api/v1/schedules/daily/fires", mine, ""); fires.field(t, "data", 0, "batch_id") != batch || fires.field(t, "data", 0, "by_hand") != true {
		t.Errorf("%s", fires.body)
	}
	first := h.expect(t, 200, "GET", "/api/v1/schedules?limit=1", mine, "")
	second := h.expect(t, 200, "GET", "/api/v1/schedules?limit=1&cursor=daily", mine, "")
	if first.field(t, "next") != "daily" || second.field(t, "data", 0, "name") != "hourly" || second.field(t, "next") != nil {
		t.Errorf("%s then %s", first.body, second.body)
	}
	for _, wrong := range []string{
		`{"name":"x"}`, `{"name":"-","cron":"@daily","rows":[{}]}`, `{"name":"x","cron":"@daily","every":"1h","rows":[{"prompt":"a","provider":"mock"}]}`,
		`{"name":"x","cron":"whenever","rows":[{"prompt":"a","provider":"mock"}]}`, `{"name":"x","cron":"@daily","rows":[{"prompt":"a","provider":"nobody"}]}`,
		`{"name":"x","cron":"@daily","rows":[{"prompt":"a","provider":"mock"}],"url":"file:///etc/passwd"}`,
		`{"name":"x","cron":"@daily","overlap":"both","rows":[{"prompt":"a","provider":"mock"}]}`,
	} {
		h.expect(t, 400, "POST", "/api/v1/schedules", mine, wrong)
	}
	h.expect(t, 403, "POST", "/api/v1/schedules", theirs, strings.Replace(body, `"name"`, `"account":"mine","name"`, 1))
	for _, order := range []string{"GET ", "DELETE ", "GET /fires", "POST /pause", "POST /resume", "POST /run"} {
		method, path, _ := strings.Cut(order, " ")
		h.expect(t, 404, method, "/api/v1/schedules/daily"+path, theirs, "")
	}
	if list := h.expect(t, 200, "GET", "/api/v1/schedules", theirs, ""); strings.Contains(list.body, "daily") {
		t.Errorf("others see %s", list.body)
	}
	h.expect(t, 204, "DELETE", "/api/v1/schedules/daily", mine, "")
	h.expect(t, 404, "GET", "/api/v1/schedules/daily", mine, "")
}

func TestProvidersTakeOrders(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	all, own := h.token(t, access.Operate, ""), h.token(t, access.Operate, "mine")
	h.expect(t, 403, "GET", "/api/v1/providers", own, "")
	if list := h.expect(t, 200, "GET", "/api/v1/providers", all, ""); list.field(t, "data", 0, "name") != "mock" {
		t.Errorf("%s", list.body)
	}
	off := h.expect(t, 200, "POST", "/api/v1/providers/mock/disable", all, `{"reason":"holidays"}`)
	if off.field(t, "status") != "unavailable" || off.field(t, "reason") != "holidays" || !strings.Contains(fmt.Sprint(off.field(t, "changed_by")), "oneflow_") {
		t.Errorf("%s", off.body)
	}
	if on := h.expect(t, 200, "POST", "/api/v1/providers/mock/enable", all, ""); on.field(t, "status") != "available" {
		t.Errorf("%s", on.body)
	}
	if held := h.expect(t, 200, "PUT", "/api/v1/providers/mock/breaker", all, `{"held":"open"}`); held.field(t, "breaker", "held") != "open" {
		t.Errorf("%s", held.body)
	}
	h.expect(t, 200, "PUT", "/api/v1/providers/mock/breaker", all, `{"held":"auto"}`)
	if pinned := h.expect(t, 200, "PUT", "/api/v1/providers/mock/limits", all, `{"rpm":7}`); !strings.Contains(pinned.body, `"rpm":7`) {
		t.Errorf("%s", pinned.body)
	}
	h.expect(t, 200, "DELETE", "/api/v1/providers/mock/limits", all, "")
	h.expect(t, 200, "GET", "/api/v1/workers", all, "")
	for path, body := range map[string]string{"POST disable": `{}`, "PUT breaker": `{"held":"ajar"}`, "PUT limits": `{"rpm":-1}`, "PUT limits ": `{"speed":1}`} {
		method, what, _ := strings.Cut(strings.TrimSpace(path), " ")
		h.expect(t, 400, method, "/api/v1/providers/mock/"+what, all, body)
	}
	h.expect(t, 404, "POST", "/api/v1/providers/nobody/enable", all, "")
	h.expect(t, 404, "GET", "/api/v1/providers/nobody", all, "")
	h.expect(t, 400, "GET", "/api/v1/providers?since=ever", all, "")
}

func TestMoneyIsPaidInOnceAndEachSeesItsOwn(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	admin, mine := h.token(t, access.Admin, ""), h.token(t, access.Operate, "mine")
	paid := h.expect(t, 200, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"50","note":"january"}`, "Idempotency-Key", "k")
	again := h.expect(t, 200, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"50","note":"january"}`, "Idempotency-Key", "k")
	if paid.field(t, "balance_usd") != "50" || again.body != paid.body {
		t.Errorf("%s, then %s", paid.body, again.body)
	}
	h.expect(t, 422, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"60"}`, "Idempotency-Key", "k")
	h.expect(t, 409, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"-60"}`)
	out := h.expect(t, 200, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"-40"}`, "Idempotency-Key", "out")
	// What is left would not do for it once more: it is the same one.
	if h.expect(t, 200, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"-40"}`, "Idempotency-Key", "out").body != out.body {
		t.Error("taken out twice")
	}
	h.expect(t, 200, "POST", "/api/v1/accounts/theirs/deposits", admin, `{"amount_usd":"777"}`)
	for _, wrong := range []string{``, `{"amount_usd":"0"}`, `{"amount_usd":"a lot"}`, `{"amount_usd":5}`, `{"amount_usd":"1e9"}`} {
		h.expect(t, 400, "POST", "/api/v1/accounts/mine/deposits", admin, wrong)
	}
	h.expect(t, 403, "POST", "/api/v1/accounts/mine/deposits", mine, `{"amount_usd":"50"}`)
	first := h.expect(t, 200, "GET", "/api/v1/accounts/mine/statement?limit=1", mine, "")
	rest := h.expect(t, 200, "GET", "/api/v1/accounts/mine/statement?limit=1&cursor="+fmt.Sprint(first.field(t, "next")), mine, "")
	if first.field(t, "data", 0, "amount") != "-40" || rest.field(t, "data", 0, "amount") != "50" || rest.field(t, "next") != nil {
		t.Errorf("%s then %s", first.body, rest.body)
	}
	if list := h.expect(t, 200, "GET", "/api/v1/accounts", mine, ""); list.field(t, "data", 0, "name") != "mine" || list.field(t, "data", 1) != nil {
		t.Errorf("%s", list.body)
	}
	h.expect(t, 404, "GET", "/api/v1/accounts/theirs", mine, "")
	h.expect(t, 404, "GET", "/api/v1/accounts/theirs/statement", mine, "")

	set := h.expect(t, 200, "POST", "/api/v1/budgets", admin, `{"period":"day","limit":"5","account":"mine"}`)
	if same := h.expect(t, 200, "POST", "/api/v1/budgets", admin, `{"period":"day","limit":"5","account":"mine"}`); same.field(t, "id") != set.field(t, "id") {
		t.Errorf("%s, then %s", set.body, same.body)
	}
	theirs := h.expect(t, 200, "POST", "/api/v1/budgets", admin, `{"period":"total","limit":"777","blocks":false}`)
	if list := h.expect(t, 200, "GET", "/api/v1/budgets", mine, ""); list.field(t, "data", 0, "account") != "mine" || list.field(t, "data", 1) != nil {
		t.Errorf("%s", list.body)
	}
	for _, wrong := range []string{`{}`, `{"period":"day"}`, `{"period":"year","limit":"1"}`, `{"period":"day","limit":"-1"}`, `{"period":"day","limit":"1","timezone":"Mars"}`} {
		h.expect(t, 400, "POST", "/api/v1/budgets", admin, wrong)
	}
	h.expect(t, 204, "DELETE", fmt.Sprintf("/api/v1/budgets/%v", theirs.field(t, "id")), admin, "")
	h.expect(t, 404, "DELETE", "/api/v1/budgets/999999", admin, "")
	h.expect(t, 404, "DELETE", "/api/v1/budgets/none", admin, "")
}

// ended makes a job of an account that cost a dollar.
func (h *program) ended(t *testing.T, account string) {
	t.Helper()
	id := jobs.NewID()
	must(t, h.db.Register(t.Context(), worker.Presence{ID: id, Host: "beta", PID: 8}))
	row := jobs.New{ID: jobs.NewID(), Provider: "mock", Account: account, Request: providers.Request{Task: providers.Text, Model: "m", Prompt: "x"}}
	must(t, jobs.NewKeys().Assign(&row))
	acc, err := h.db.AcceptJobs(t.Context(), "", []jobs.New{row}, true)
	must(t, err)
	d := acc.Deliveries[0]
	got, err := h.db.Claim(t.Context(), id, jobs.Claim{ID: d.ID, Gen: d.Gen, LeaseToken: jobs.NewID()})
	must(t, err)
	cost := billing.USD
	c := jobs.Call{CallID: uuid.New(), JobID: d.ID, LeaseToken: got.Job.LeaseToken, Provider: "mock", Model: "m", Reserved: &cost, Timeout: time.Minute}
	must(t, h.db.BeginCall(t.Context(), id, c))
	must(t, h.db.Succeed(t.Context(), jobs.Success{
		JobID: d.ID, LeaseToken: got.Job.LeaseToken, Settlement: jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallSucceeded, Cost: &cost, Status: 200},
		Response: providers.Response{Provider: "mock", Model: "m", Text: "x", Raw: []byte("x"), Status: 200},
	}))
}

func TestCostsAreSummedUpForWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	for _, account := range []string{"mine", "theirs", "theirs"} {
		h.ended(t, account)
	}
	all, mine := h.token(t, access.Read, ""), h.token(t, access.Read, "mine")
	if r := h.expect(t, 200, "GET", "/api/v1/cost", all, ""); r.field(t, "data", 0, "cost_usd") != "3" {
		t.Errorf("%s", r.body)
	}
	if r := h.expect(t, 200, "GET", "/api/v1/cost?by=account,model&since=1h", all, ""); r.field(t, "data", 0, "by", "account") != "theirs" || r.field(t, "data", 1, "cost_usd") != "1" {
		t.Errorf("%s", r.body)
	}
	for _, query := range []string{"", "?account=theirs", "?by=account"} {
		if r := h.expect(t, 200, "GET", "/api/v1/cost"+query, mine, ""); r.field(t, "data", 0, "cost_usd") != "1" || strings.Contains(r.body, "theirs") {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	for _, wrong := range []string{"?by=colour", "?since=never", "?timezone=Mars", "?by=hour,day,model,provider,account", "?batch=%00"} {
		h.expect(t, 400, "GET", "/api/v1/cost"+wrong, all, "")
	}
}

func TestAlertsAreListedInParts(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	all := h.token(t, access.Read, "")
	for _, subject := range []string{"one", "two", "three"} {
		_, _, err := h.db.RaiseAlerts(t.Context(), []string{jobs.AlertLedger + subject}, []jobs.Alert{{Kind: jobs.AlertLedger, Subject: subject, Text: "text"}}, "")
		must(t, err)
	}
	first := h.expect(t, 200, "GET", "/api/v1/alerts?limit=2", all, "")
	rest := h.expect(t, 200, "GET", "/api/v1/alerts?limit=2&cursor="+fmt.Sprint(first.field(t, "next")), all, "")
	if first.field(t, "data", 0, "subject") != "three" || rest.field(t, "data", 0, "subject") != "one" || rest.field(t, "next") != nil {
		t.Errorf("%s then %s", first.body, rest.body)
	}
	h.expect(t, 400, "GET", "/api/v1/alerts?limit=0", all, "")
	h.expect(t, 400, "GET", "/api/v1/alerts?cursor=x", all, "")
	h.expect(t, 403, "GET", "/api/v1/alerts", h.token(t, access.Operate, "mine"), "")
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

func TestProgramsReadEventsOfTheirOwnBatchesUntilTheMonitorStops(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	mine, theirs := h.token(t, access.Operate, "mine"), h.token(t, access.Operate, "theirs")
	ctx, stop := context.WithCancel(t.Context())
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- h.monitor.Serve(ctx, l) }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/api/v1/events", http.NoBody)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+mine)
	transport := &http.Transport{}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	must(t, err)
	defer transport.CloseIdleConnections()
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	next := func() string {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
	h.expect(t, 202, "POST", "/api/v1/batches", theirs, aRow+"\n", "Content-Type", "application/x-ndjson")
	id, _ := h.expect(t, 202, "POST", "/api/v1/batches", mine, aRow+"\n", "Content-Type", "application/x-ndjson").field(t, "id").(string)
	if data := next(); !strings.Contains(data, id) || !strings.Contains(data, `"account":"mine"`) {
		t.Errorf("first %s", data)
	}
	h.expect(t, 204, "POST", "/api/v1/batches/"+id+"/cancel", mine, "")
	for data := next(); !strings.Contains(data, `"cancelled":1`); data = next() {
		if !strings.Contains(data, id) {
			t.Fatalf("then %s", data)
		}
	}
	stop()
	if data := next(); data != "" {
		t.Errorf("after the monitor's end: %s", data)
	}
	must(t, <-served)
}
