package monitor_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"oneflow/access"
	"oneflow/jobs"
	"oneflow/providers"
)

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
	for _, wrong := range []string{"", "[]", `{"model":"nobody's","prompt":"x"}`, `{"provider":"mock"}`, `{"provider":"mock","prompt":"x","prompt":"y"}`} {
		h.expect(t, 400, "POST", "/api/v1/jobs", mine, wrong)
	}
	// The chain for text has no provider with a live worker; the best of those that have one is the mock.
	if r := h.expect(t, 400, "POST", "/api/v1/jobs", mine, `{"prompt":"x"}`); !strings.Contains(r.body, "no provider of the chain for text") {
		t.Errorf("%s", r.body)
	}
	for _, asks := range []string{`{"prompt":"x","provider":"best"}`, `{"prompt":"x"}`} {
		if strings.Contains(asks, "best") {
			h.expect(t, 400, "POST", "/api/v1/jobs", mine, `{"prompt":"x","provider":"best","model":"mock-text"}`)
		} else {
			must(t, h.db.SetChain(t.Context(), providers.Text, []string{"mock"}, "ada"))
		}
		id, _ := h.expect(t, 202, "POST", "/api/v1/jobs", mine, asks).field(t, "id").(string)
		if provider := h.expect(t, 200, "GET", "/api/v1/jobs/"+id, mine, "").field(t, "provider"); provider != "mock" {
			t.Errorf("%s asks %v", asks, provider)
		}
	}
	// What only rows of a batch have is refused by name, and no flag of a command line is named.
	for field, want := range map[string]string{"custom_id": "custom_id: is for rows of a batch", "account": "account", "tag": "tag", "colour": "colour", "promt": "prompt"} {
		r := h.expect(t, 400, "POST", "/api/v1/jobs", mine, `{"provider":"mock","prompt":"x","`+field+`":"c1"}`)
		if detail, _ := r.field(t, "detail").(string); !strings.Contains(detail, want) || strings.Contains(detail, "--") {
			t.Errorf("%s: %s", field, detail)
		}
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
	if kept := send(202, "", `{"provider":"mock","prompt":"x","account":"theirs"}`+"\n"); kept.field(t, "own_columns", 0) != "account" {
		t.Errorf("what is kept is not told: %s", kept.body)
	}
	send(400, "", "\n")
	list := h.expect(t, 200, "GET", "/api/v1/batches?limit=1", mine, "")
	next, _ := list.field(t, "next").(string)
	rest := h.expect(t, 200, "GET", "/api/v1/batches?limit=1&cursor="+next, mine, "")
	if a, b := list.field(t, "batches", 0, "id"), rest.field(t, "batches", 0, "id"); next == "" || a == b || b == nil {
		t.Errorf("parts: %s then %s", list.body, rest.body)
	}
}

func TestProgramsGetAnswersOfTheirOwnAndAreRecorded(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	id := aJob(t, db)
	w := get(t, m, "/api/v1/jobs/"+id+"/result")
	var got struct {
		State, Text string
		Artifacts   []any
	}
	decode(t, w, &got)
	if got.State != "succeeded" || got.Text != secretAnswer || got.Artifacts == nil {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = get(t, m, "/api/v1/batches/b-1/results?only=succeeded")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/x-ndjson" || strings.Count(w.Body.String(), "\n") != 2 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var waiting jobs.Lines
	decode(t, get(t, m, "/api/v1/jobs?state=queued"), &waiting)
	problems := map[string]int{
		"/api/v1/jobs/" + jobs.NewID().String() + "/result": http.StatusNotFound, "/api/v1/jobs/" + id + "/artifacts/0": http.StatusNotFound, "/api/v1/batches/none/results": http.StatusNotFound,
		"/api/v1/batches/b-1/results?formt=csv": http.StatusBadRequest, "/api/v1/batches/b-1/results?format=exe": http.StatusBadRequest,
	}
	for _, j := range waiting.Jobs {
		problems["/api/v1/jobs/"+j.ID+"/result"] = http.StatusConflict
	}
	for path, status := range problems {
		if w := get(t, m, path); w.Code != status || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	actions, err := db.Actions(t.Context(), 0, 100)
	if err != nil || len(waiting.Jobs) == 0 {
		t.Fatal(err, waiting)
	}
	seen := map[string]bool{}
	for _, a := range actions {
		seen[a.What+" "+a.Object] = true
	}
	if !seen["GET /api/v1/jobs/{id}/result /api/v1/jobs/"+id+"/result"] || !seen["GET /api/v1/batches/{id}/results /api/v1/batches/b-1/results"] {
		t.Errorf("recorded: %+v", actions)
	}
}

func TestAddressesThatThereAreNotAnswerProgramsInTheirWords(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	for _, c := range []struct {
		method, path string
		status       int
		kind, want   string
	}{
		{"GET", "/api/v1/nothing", 404, "application/problem+json", "openapi.yaml"},
		{"POST", "/api/nothing", 404, "application/problem+json", "openapi.yaml"},
		{"DELETE", "/api/v1/jobs", 405, "application/problem+json", "GET, POST"},
		{"PUT", "/api/v1/batches/b", 405, "application/problem+json", "this address takes GET"},
		{"POST", "/v1/completions", 404, "application/json", `{"error":{`},
		{"GET", "/v1/assistants", 404, "application/json", `{"error":{`},
		{"DELETE", "/v1/batches", 405, "application/json", `"type":"invalid_request_error"`},
		{"POST", "/v1/messages/count_tokens", 404, "application/json", `"type":"not_found_error"`},
		{"POST", "/nothing", 404, "application/problem+json", "no such address"},
		{"DELETE", "/jobs", 405, "application/problem+json", "this address takes GET"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, http.NoBody)
		r.Host = "localhost"
		w := httptest.NewRecorder()
		h.monitor.Handler().ServeHTTP(w, r)
		if w.Code != c.status || w.Header().Get("Content-Type") != c.kind || !strings.Contains(w.Body.String(), c.want) || (w.Header().Get("Allow") != "") != (c.status == 405) {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, w.Code, w.Header(), w.Body)
		}
	}
	// A browser is shown a page.
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/nothing", http.NoBody)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	h.monitor.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusNotFound || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
