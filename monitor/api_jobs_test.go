package monitor_test

import (
	"strings"
	"testing"

	"oneflow/access"
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
	for _, wrong := range []string{"", "[]", `{"prompt":"x"}`, `{"model":"nobody's","prompt":"x"}`, `{"provider":"mock"}`, `{"provider":"mock","prompt":"x","prompt":"y"}`} {
		h.expect(t, 400, "POST", "/api/v1/jobs", mine, wrong)
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
	send(400, "", "\n")
	list := h.expect(t, 200, "GET", "/api/v1/batches?limit=1", mine, "")
	next, _ := list.field(t, "next").(string)
	rest := h.expect(t, 200, "GET", "/api/v1/batches?limit=1&cursor="+next, mine, "")
	if a, b := list.field(t, "batches", 0, "id"), rest.field(t, "batches", 0, "id"); next == "" || a == b || b != id {
		t.Errorf("parts: %s then %s", list.body, rest.body)
	}
}
