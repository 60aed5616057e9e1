package monitor_test

import (
	"fmt"
	"strings"
	"testing"

	"oneflow/access"
	"oneflow/jobs"
)

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
	for wrong, why := range map[string]string{
		`{"name":"x"}`:                             "cron, every: name one of them",
		`{"name":"x","cron":"@daily"}`:             "rows: must have at least one",
		`{"name":"x","cron":"@daily","rows":[]}`:   "rows: must have at least one",
		`{"name":"-","cron":"@daily","rows":[{}]}`: "name: ",
		`{"name":"x","cron":"@daily","every":"1h","rows":[{"prompt":"a","provider":"mock"}]}`:        "cron, every: name one of them",
		`{"name":"x","cron":"whenever","rows":[{"prompt":"a","provider":"mock"}]}`:                   "whenever",
		`{"name":"x","cron":"@daily","rows":[{"prompt":"a","provider":"nobody"}]}`:                   "nobody",
		`{"name":"x","cron":"@daily","rows":[{"prompt":"a","provider":"mock"}],"url":"file:///etc"}`: "url",
		`{"name":"x","cron":"@daily","overlap":"both","rows":[{"prompt":"a","provider":"mock"}]}`:    "overlap: must be",
	} {
		if refused := h.expect(t, 400, "POST", "/api/v1/schedules", mine, wrong); !strings.Contains(refused.body, why) {
			t.Errorf("%s: %s, want %s", wrong, refused.body, why)
		}
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
