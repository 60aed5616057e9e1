package monitor_test

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/monitor"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

func withJobs(t *testing.T, db *store.Store) *monitor.Monitor {
	t.Helper()
	return newMonitor(t, monitor.Config{
		Store: db, Jobs: db, Orders: db, OpenURL: noObject, Redis: redisOf(t),
		Money: db, Fleet: db, FleetOrders: fleet.NewOrders(db, fleet.Config{}), Schedules: db, Compare: db, Pipelines: db,
	})
}

func TestSingleJobsAreListedFilteredAndPaged(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	w := get(t, m, "/jobs")
	if w.Code != http.StatusOK || strings.Count(w.Body.String(), `<th scope="row">`) != 6 || strings.Contains(w.Body.String(), secretPrompt) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for query, want := range map[string]int{
		"state=succeeded": 2, "state=failed": 1, "batch=b-1": 6, "batch=none": 0, "account=default": 6, "account=x": 0, "error=UNSUPPORTED": 2,
		"provider=mock": 6, "model=mock-text": 6, "tag=a%3Db": 0, "since=1h": 6, "since=7d": 6, "since=2099-01-01": 0, "task=image": 0,
	} {
		var l jobs.Lines
		w := get(t, m, "/api/v1/jobs?"+query)
		decode(t, w, &l)
		if len(l.Jobs) != want || l.Next != "" {
			t.Errorf("%s: %d jobs, next %q", query, len(l.Jobs), l.Next)
		}
	}
	seen, next := map[string]bool{}, ""
	for range 10 {
		var l jobs.Lines
		decode(t, get(t, m, "/api/v1/jobs?limit=2&cursor="+next), &l)
		for _, j := range l.Jobs {
			seen[j.ID] = true
		}
		if next = l.Next; next == "" {
			break
		}
	}
	if len(seen) != 6 || next != "" {
		t.Errorf("%d jobs in pages of two, then %q", len(seen), next)
	}
	for _, bad := range []string{"state=nothing", "cursor=x", "batchid=b-1", "since=soon", "limit=0", "limit=1001", "provider=%00", "error=" + strings.Repeat("x", 300)} {
		if w := get(t, m, "/api/v1/jobs?"+bad); w.Code != http.StatusBadRequest || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
}

func TestAJobShowsItsLedgerAndItsContentOnDemandOnly(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	id := aJob(t, db)
	w := get(t, m, "/jobs/"+id)
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), secretPrompt) || strings.Contains(w.Body.String(), secretAnswer) || !strings.Contains(w.Body.String(), "enqueue export "+id) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = do(t, m, httptest.NewRequest(http.MethodPost, "/jobs/"+id+"/reveal", http.NoBody))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), secretPrompt) || !strings.Contains(w.Body.String(), secretAnswer) || strings.Contains(w.Body.String(), "monitor.js") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	actions, err := db.Actions(t.Context(), 0, 10)
	if err != nil || len(actions) != 1 || actions[0].What != "POST /jobs/{id}/reveal" || !strings.Contains(actions[0].Object, id) || actions[0].Status != http.StatusOK {
		t.Errorf("recorded: %+v %v", actions, err)
	}
	if w := do(t, m, httptest.NewRequest(http.MethodPost, "/jobs/"+id+"/retry", http.NoBody)); w.Code != http.StatusSeeOther {
		t.Errorf("retry: %d %s", w.Code, w.Body)
	}
	var failed jobs.Lines
	decode(t, get(t, m, "/api/v1/jobs?state=failed"), &failed)
	if w := do(t, m, httptest.NewRequest(http.MethodPost, "/api/v1/jobs/"+failed.Jobs[0].ID+"/retry", http.NoBody)); w.Code != http.StatusNoContent {
		t.Errorf("retry: %d %s", w.Code, w.Body)
	}
	if p, err := db.Progress(t.Context(), failed.Jobs[0].ID); err != nil || p.State != string(jobs.Queued) {
		t.Errorf("the failed job is %s, %v", p.State, err)
	}
	for _, verb := range []string{"pause", "resume", "cancel"} {
		w := do(t, m, httptest.NewRequest(http.MethodPost, "/batches/b-1/"+verb, http.NoBody))
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/batches/b-1" {
			t.Errorf("%s: %d %s", verb, w.Code, w.Body)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/batches/b-1/cancel", http.NoBody)
	r.Header.Set("Origin", "https://evil.example")
	if w := do(t, m, r); w.Code != http.StatusForbidden {
		t.Errorf("another site cancels: %d", w.Code)
	}
	for _, unknown := range []string{"/jobs/" + jobs.NewID().String(), "/jobs/x", "/jobs/..%2fx", "/jobs/%00", "/api/v1/jobs/%ff", "/batches/%00", "/api/v1/batches/%00", "/api/v1/batches/%ff", "/api/batches/..%2fx", "/jobs/" + id + "/artifacts/0", "/jobs/" + id + "/artifacts/-1"} {
		if w := get(t, m, unknown); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", unknown, w.Code)
		}
	}
}

// What an attacker may bring as a prompt, a file's name, an id or an account.
var xss = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'><svg/onload=alert(1)>`, `</pre><script>alert(1)</script>`, `</title><script>alert(1)</script>`,
	`javascript:alert(1)`, `{{.}}${7*7}`, `<a href="javascript:alert(1)">x</a>`, `<!--<script>`, `]]><script>`, `&lt;script&gt;`, `<iframe srcdoc="<script>">`, `\u003cscript\u003e`, `<style>*{background:url(//evil.example)}</style>`,
}

func TestTextOfPromptsIsNeverInterpreted(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	tags := map[string]string{} // a batch keeps those that it was made with
	for _, evil := range xss {
		tags[evil] = evil
	}
	for i, evil := range xss {
		row := jobs.New{
			ID: jobs.NewID(), Seq: int64(i + 1), Provider: "mock", Account: evil, CustomID: strconv.Itoa(i) + evil,
			Request: providers.Request{Task: providers.Text, Model: evil, Prompt: evil},
		}
		must(t, db.OpenBatch(t.Context(), jobs.Batch{ID: "xss", Account: xss[0], Source: evil, Append: true, Tags: tags}))
		must(t, jobs.NewKeys().Assign(&row))
		must(t, db.Register(t.Context(), worker.Presence{ID: jobs.NewID(), Host: evil, PID: i, Version: evil, Providers: []worker.Served{{Name: evil, Kind: evil, Concurrency: 1, Limits: providers.Limits{RPM: 60}}}}))
		must(t, fleet.NewOrders(db, fleet.Config{}).Disable(t.Context(), evil, evil, evil))
		addSchedule(t, db, "s-"+strconv.Itoa(i), evil, evil)
		_, err := db.Deposit(t.Context(), evil, billing.USD, evil, evil)
		must(t, err)
		_, err = db.SetBudget(t.Context(), billing.Budget{Scope: billing.Scope{Account: evil, Provider: evil, Model: evil, Tag: evil}, Period: billing.Day, Zone: "UTC", Limit: billing.USD})
		must(t, err)
		_, _, err = db.RaiseAlerts(t.Context(), []string{jobs.AlertBudget}, []jobs.Alert{{Kind: jobs.AlertBudget, Subject: evil, Text: evil}}, "")
		must(t, err)
		_, err = db.AcceptJobs(t.Context(), "xss", []jobs.New{row}, false)
		must(t, err)
		aComparison(t, db, evil, evil, evil, evil)
		aPipeline(t, db, "line-"+strconv.Itoa(i), evil)
		for _, page := range []*http.Request{
			httptest.NewRequest(http.MethodGet, "/comparisons", http.NoBody), httptest.NewRequest(http.MethodGet, "/comparisons/"+url.PathEscape(evil), http.NoBody),
			httptest.NewRequest(http.MethodGet, "/comparisons/"+url.PathEscape(evil)+"/answers?account="+url.QueryEscape(evil), http.NoBody),
			httptest.NewRequest(http.MethodGet, "/pipelines", http.NoBody), httptest.NewRequest(http.MethodGet, "/pipelines/line-"+strconv.Itoa(i), http.NoBody),
			httptest.NewRequest(http.MethodGet, "/jobs", http.NoBody), httptest.NewRequest(http.MethodGet, "/jobs/"+row.ID.String(), http.NoBody),
			httptest.NewRequest(http.MethodPost, "/jobs/"+row.ID.String()+"/reveal", http.NoBody), httptest.NewRequest(http.MethodGet, "/batches", http.NoBody),
			httptest.NewRequest(http.MethodGet, "/batches/xss", http.NoBody), httptest.NewRequest(http.MethodGet, "/", http.NoBody),
			httptest.NewRequest(http.MethodGet, "/jobs?account="+url.QueryEscape(evil)+"&error="+url.QueryEscape(evil)+"&model="+url.QueryEscape(evil), http.NoBody),
			httptest.NewRequest(http.MethodGet, "/login?next="+url.QueryEscape(evil), http.NoBody),
			httptest.NewRequest(http.MethodGet, "/dead-letters?model="+url.QueryEscape(evil), http.NoBody), httptest.NewRequest(http.MethodGet, "/money?by=account,tag,batch", http.NoBody),
			httptest.NewRequest(http.MethodGet, "/money/wallets/"+url.PathEscape(evil), http.NoBody), httptest.NewRequest(http.MethodGet, "/alerts?all=1", http.NoBody),
			httptest.NewRequest(http.MethodGet, "/providers", http.NoBody), httptest.NewRequest(http.MethodGet, "/workers", http.NoBody),
			httptest.NewRequest(http.MethodGet, "/schedules", http.NoBody), httptest.NewRequest(http.MethodGet, "/schedules/s-"+strconv.Itoa(i), http.NoBody),
		} {
			w := do(t, m, page)
			body := w.Body.String()
			for _, never := range []string{"<script>alert", "<img src=x", "<svg/onload", `href="javascript:`, "<iframe", "<style>", "<!--<script"} {
				if w.Code != http.StatusOK || strings.Contains(body, never) {
					t.Errorf("%s with %q: %d, it holds %q", page.URL.Path, evil, w.Code, never)
				}
			}
			if !strings.Contains(w.Header().Get("Content-Security-Policy"), "script-src 'self'") {
				t.Errorf("%s: no policy", page.URL.Path)
			}
		}
	}
	var l jobs.Lines
	w := get(t, m, "/api/v1/jobs")
	if decode(t, w, &l); w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Type") != "application/json" || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%v", w.Header())
	}
}

func TestATableHoldsNoFormula(t *testing.T) {
	t.Parallel()
	db := filled(t)
	must(t, db.OpenBatch(t.Context(), jobs.Batch{ID: "f", Account: "@SUM(1)", Source: "=cmd|' /C calc'!A0"}))
	m := withJobs(t, db)
	addSchedule(t, db, "daily", "@SUM(2)", "=cmd")
	for path, rows := range map[string]int{
		"/batches.csv": 3, "/jobs.csv": 7, "/jobs.csv?dead=1": 2, "/money.csv?by=account": 2, "/budgets.csv": 1, "/alerts.csv": 1, "/providers.csv": 2, "/limits.csv": 2,
		"/workers.csv": 2, "/schedules.csv": 2, "/schedules/daily/fires.csv": 1, "/queues.csv": 2, "/waits.csv": 3, "/breakers.csv": 1,
		"/batches/b-1/states.csv": 10, "/batches/b-1/models.csv": 2, "/batches/b-1/problems.csv": 3, "/jobs/" + aJob(t, db) + "/calls.csv": 2,
		"/pipelines.csv": 1, "/comparisons.csv": 1,
	} {
		w := get(t, m, path)
		table, err := csv.NewReader(w.Body).ReadAll()
		if err != nil || len(table) != rows || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") {
			t.Errorf("%s: %d rows, %v", path, len(table), err)
		}
		for _, row := range table {
			for _, cell := range row {
				if strings.HasPrefix(cell, "=") || strings.HasPrefix(cell, "@") {
					t.Errorf("%s has the formula %s", path, cell)
				}
			}
		}
	}
}
