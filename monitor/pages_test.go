package monitor_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"oneflow/access"
	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/monitor"
	"oneflow/providers"
	"oneflow/schedules"
	"oneflow/store"
	"oneflow/worker"
)

func addSchedule(t *testing.T, db *store.Store, name, account, source string) {
	t.Helper()
	spec, err := schedules.Spec{Cron: "0 6 * * *", Zone: "Europe/Paris"}.Parse()
	must(t, err)
	now := time.Now().Truncate(time.Second)
	must(t, db.AddSchedule(t.Context(), schedules.Schedule{
		Name: name, Spec: spec, Overlap: schedules.Skip, Account: account, Source: source, Input: []byte("{}"), Content: []byte("{}"), CreatedAt: now, Next: spec.Next(now),
	}))
}

// send posts a form of a page as a browser does.
func send(t *testing.T, m *monitor.Monitor, path string, form url.Values, token string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return do(t, m, r)
}

// has fails where a page lacks a text.
func has(t *testing.T, w *httptest.ResponseRecorder, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%d, it lacks %q:\n%s", w.Code, text, w.Body)
		}
	}
}

func TestAProviderIsDisabledAndEnabledFromItsPageAndTheRecordSaysByWhom(t *testing.T) {
	t.Parallel()
	db := filled(t)
	operator, reader := token(t, db, access.Operate, "", time.Time{}), token(t, db, access.Read, "", time.Time{})
	m := withJobs(t, db)
	page := func(token string) *httptest.ResponseRecorder { return ask(t, m, http.MethodGet, "/providers", token) }
	has(t, page(operator), "mock-text", "250ms", "100 %", `action="/providers/mock/disable"`, "monitor providers ls --since 1h", "60")
	if w := page(reader); strings.Contains(w.Body.String(), "/providers/mock/disable") {
		t.Error("a reader is shown what only an operator may do")
	}
	for name, c := range map[string]struct {
		path, reason, token string
		status              int
	}{
		"no reason":         {"/providers/mock/disable", " ", operator, http.StatusBadRequest},
		"unknown provider":  {"/providers/nobody/disable", "x", operator, http.StatusNotFound},
		"not an operator":   {"/providers/mock/disable", "x", reader, http.StatusForbidden},
		"too long a reason": {"/providers/mock/disable", strings.Repeat("x", 501), operator, http.StatusBadRequest},
	} {
		if w := send(t, m, c.path, url.Values{"reason": {c.reason}}, c.token); w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := send(t, m, "/providers/mock/disable", url.Values{"reason": {"too dear"}}, operator); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/providers#mock" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	has(t, page(operator), "too dear", "unavailable", `action="/providers/mock/enable"`)
	if list, err := db.Standings(t.Context()); err != nil || list[0].Status != fleet.Unavailable || !strings.Contains(list[0].By, "test") {
		t.Errorf("%+v %v", list, err)
	}
	send(t, m, "/providers/mock/enable", nil, operator)
	send(t, m, "/providers/mock/breaker-open", nil, operator)
	has(t, page(operator), "held open", `action="/providers/mock/breaker-auto"`)
	send(t, m, "/providers/mock/breaker-auto", nil, operator)
	has(t, page(operator), `action="/providers/mock/disable"`)
	actions, err := db.Actions(t.Context(), 0, 100)
	must(t, err)
	done := map[string]int{}
	for _, a := range actions {
		done[a.What]++
	}
	if done["POST /providers/{id}/disable"] != 4 || done["POST /providers/{id}/enable"] != 1 || done["POST /providers/{id}/breaker-open"] != 1 {
		t.Errorf("recorded: %v", done)
	}
}

func TestMoneyShowsWhatWasSpentAndWhatMayBe(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	has(t, get(t, m, "/money"), "$0.0015", "mock-text", "No budget is set", "enqueue cost --by provider,model --since 30d")
	_, err := db.SetBudget(t.Context(), billing.Budget{Scope: billing.Scope{Provider: "mock"}, Period: billing.Day, Zone: "UTC", Limit: billing.USD, Blocks: true, By: "ada"})
	must(t, err)
	_, err = db.Deposit(t.Context(), "default", 5*billing.USD, "for tests", "ada")
	must(t, err)
	_, _, err = db.RaiseAlerts(t.Context(), []string{jobs.AlertSpending, jobs.AlertQueue}, []jobs.Alert{
		{Kind: jobs.AlertSpending, Subject: "all", Text: "an hour cost thrice the usual"}, {Kind: jobs.AlertQueue, Subject: "mock", Text: "nothing moves"},
	}, "")
	must(t, err)
	has(t, get(t, m, "/money"), "an hour cost thrice the usual")
	if w := get(t, m, "/money"); strings.Contains(w.Body.String(), "nothing moves") {
		t.Error("an alert that is not about money is on its page")
	}
	has(t, get(t, m, "/money?by=account&days=7"), "provider mock", "of $1.00", `href="/money/wallets/default"`, "$5.00")
	has(t, get(t, m, "/money/wallets/default"), "for tests", "$5.00", "monitor wallet statement default")
	has(t, get(t, m, "/alerts"), "nothing moves", "monitor alerts")
	for path, status := range map[string]int{
		"/money?by=nothing": 400, "/money?days=0": 400, "/money?days=400": 400, "/money?by=day,day,day,day,day,day,day,day,day": 400, "/money.csv?by=x": 400,
		"/money/wallets/nobody": 404, "/money/wallets/nobody/statement.csv": 404,
	} {
		if w := get(t, m, path); w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAnAccountSeesItsOwnMoneyAndSchedulesOnly(t *testing.T) {
	t.Parallel()
	db := filled(t)
	for _, account := range []string{"default", "others"} {
		_, err := db.Deposit(t.Context(), account, 5*billing.USD, "note of "+account, "ada")
		must(t, err)
		addSchedule(t, db, "of-"+account, account, "x")
	}
	own, stranger := token(t, db, access.Operate, "default", time.Time{}), token(t, db, access.Operate, "others", time.Time{})
	m := withJobs(t, db)
	for path, text := range map[string]string{"/money?by=provider": "$0.0015", "/money": "/money/wallets/default", "/money/wallets/default": "note of default", "/schedules": "of-default", "/dead-letters": "invalid_request"} {
		has(t, ask(t, m, http.MethodGet, path, own), text)
		if w := ask(t, m, http.MethodGet, path, stranger); strings.Contains(w.Body.String(), text) {
			t.Errorf("%s shows %q to another account", path, text)
		}
	}
	if w := ask(t, m, http.MethodGet, "/batches", own); strings.Contains(w.Body.String(), `href="/providers"`) {
		t.Error("an account's menu leads to pages that are not for it")
	}
	for _, verb := range []string{"pause", "resume", "run"} {
		if w := send(t, m, "/schedules/of-default/"+verb, nil, stranger); w.Code != http.StatusNotFound {
			t.Errorf("%s by another account: %d", verb, w.Code)
		}
	}
}

func TestAScheduleIsPausedResumedAndRunFromItsPage(t *testing.T) {
	t.Parallel()
	db := filled(t)
	addSchedule(t, db, "nightly", "default", "prompts.jsonl")
	m := withJobs(t, db)
	w := get(t, m, "/schedules")
	has(t, w, "nightly", "0 6 * * * Europe/Paris", "enqueue schedule ls")
	if n := strings.Count(w.Body.String(), "06:00 CET") + strings.Count(w.Body.String(), "06:00 CEST"); n != 5 {
		t.Errorf("%d next fires are shown:\n%s", n, w.Body)
	}
	for _, verb := range []string{"pause", "resume", "run"} {
		if w := send(t, m, "/schedules/nightly/"+verb, nil, ""); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/schedules/nightly" {
			t.Errorf("%s: %d %s", verb, w.Code, w.Body)
		}
		if verb == "pause" {
			has(t, get(t, m, "/schedules/nightly"), "paused", "/schedules/nightly/resume")
		}
	}
	has(t, get(t, m, "/schedules/nightly"), "by hand", "accepting", "enqueue schedule history nightly", "/schedules/nightly/pause")
	for _, path := range []string{"/schedules/none", "/schedules/%00", "/schedules/..%2fx", "/schedules/none/fires.csv"} {
		if w := get(t, m, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestWorkersAndDeadLettersAreShown(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	has(t, get(t, m, "/workers"), "alpha", "pid 7", "alive", ">3<", "monitor status")
	w := get(t, m, "/dead-letters")
	has(t, w, "invalid_request", "Retry", "enqueue retry BATCH")
	if n := strings.Count(w.Body.String(), `<th scope="row">`); n != 1 {
		t.Errorf("%d dead letters, want the one that failed", n)
	}
}

func TestAGroupThatFailedIsRetriedFromItsBatch(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	has(t, get(t, m, "/batches/b-1"), `action="/batches/b-1/retry-group"`, `value="invalid_request"`)
	for name, form := range map[string]url.Values{"no state": {}, "succeeded": {"state": {"succeeded"}}, "unknown": {"state": {"unknown"}}} {
		if w := send(t, m, "/batches/b-1/retry-group", form, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for _, c := range []struct {
		class string
		left  int64
	}{{"timeout", 1}, {"invalid_request", 0}} {
		if w := send(t, m, "/batches/b-1/retry-group", url.Values{"state": {"failed"}, "class": {c.class}}, ""); w.Code != http.StatusSeeOther {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		tallies, err := db.Tallies(t.Context(), []string{"b-1"})
		if n := tallies["b-1"].Counts[jobs.Failed]; err != nil || n != c.left {
			t.Errorf("after %s: %d failed, %v", c.class, n, err)
		}
	}
}

func TestAnUnknownOutcomeIsSettledFromItsJob(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	id := lostInACall(t, db)
	has(t, get(t, m, "/jobs/"+id), `action="/jobs/`+id+`/settle-unbilled"`, "enqueue resolve "+id+" --unbilled")
	if w := send(t, m, "/jobs/"+id+"/settle-unbilled", nil, ""); w.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	calls, err := db.JobCalls(t.Context(), uuid.MustParse(id))
	if err != nil || len(calls) != 1 || calls[0].Outcome != string(jobs.CallFailedUnbilled) {
		t.Errorf("%+v %v", calls, err)
	}
}

// lostInACall is a job whose worker died in the middle of a call.
func lostInACall(t *testing.T, db *store.Store) string {
	t.Helper()
	ctx, id := t.Context(), jobs.NewID()
	must(t, db.Register(ctx, worker.Presence{ID: id, Host: "beta", PID: 8}))
	row := jobs.New{ID: jobs.NewID(), Provider: "mock", Request: providers.Request{Task: providers.Text, Model: "mock-text", Prompt: secretPrompt}}
	must(t, jobs.NewKeys().Assign(&row))
	acc, err := db.AcceptJobs(ctx, "", []jobs.New{row}, true)
	must(t, err)
	got, err := db.Claim(ctx, id, jobs.Claim{ID: acc.Deliveries[0].ID, Gen: acc.Deliveries[0].Gen, LeaseToken: jobs.NewID()})
	must(t, err)
	cost := billing.NanoUSD(40)
	must(t, db.BeginCall(ctx, id, jobs.Call{CallID: jobs.NewID(), JobID: got.Job.ID, LeaseToken: got.Job.LeaseToken, Provider: "mock", Model: "mock-text", Reserved: &cost, Timeout: time.Minute}))
	if n, err := db.TakeOver(ctx, id); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	return row.ID.String()
}
