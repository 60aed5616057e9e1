package monitor_test

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/monitor"
	"oneflow/providers"
	"oneflow/worker"
)

func TestAProvidersPageHasItsKeysEndsItsBreakersPastAndEachLimitBySource(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	has(t, get(t, m, "/providers"), "None has moved yet")
	must(t, db.Register(t.Context(), worker.Presence{ID: jobs.NewID(), Host: "alpha", PID: 8, Providers: []worker.Served{
		{Name: "mock", Kind: "mock", Limits: providers.Limits{RPM: 60}, Concurrency: 3, KeyEnds: []string{"wXyZ", "9f"}},
	}}))
	must(t, db.Learn(t.Context(), "mock", fleet.Learned{Breaker: fleet.BreakerOpen, Reason: "5 of 10 calls failed"}))
	must(t, db.Learn(t.Context(), "mock", fleet.Learned{Breaker: fleet.BreakerOpen, Reason: "another worker says the same"}))
	must(t, db.Learn(t.Context(), "mock", fleet.Learned{Breaker: fleet.BreakerClosed, Reason: "its probe succeeded"}))
	must(t, db.Learn(t.Context(), "mock", fleet.Learned{Scope: "gpt-6-luna@1f2e3d4c5b6a", Limits: providers.Limits{RPM: 1234}}))
	must(t, fleet.NewOrders(db, fleet.Config{}).ForceBreaker(t.Context(), "ada", "mock", fleet.BreakerOpen))
	must(t, fleet.NewOrders(db, fleet.Config{}).SetLimits(t.Context(), "ada", "mock", "", map[providers.Dimension]int64{providers.DimensionTPM: 77_000}))
	w := get(t, withJobs(t, db), "/providers")
	has(t, w, "<code>…wXyZ</code>, <code>…9f</code>", "5 of 10 calls failed", "its probe succeeded", "held open by ada", "gpt-6-luna, key 1f2e3d4c5b6a", "1,234", "77,000")
	if strings.Contains(w.Body.String(), "another worker") {
		t.Error("what two workers tell is two moves")
	}
	table, err := csv.NewReader(get(t, m, "/breakers.csv").Body).ReadAll()
	if err != nil || len(table) != 4 || table[1][3] != "open" || table[1][5] != "ada" || table[3][4] != "5 of 10 calls failed" {
		t.Errorf("%v %v", err, table)
	}
	if table, err = csv.NewReader(get(t, m, "/limits.csv").Body).ReadAll(); err != nil || len(table) != 4 || strings.Join(table[3][:6], " ") != "mock gpt-6-luna 1f2e3d4c5b6a rpm – 1,234" {
		t.Errorf("%v %v", err, table)
	}
}

func TestNoMoreThanFourCharactersOfAKeyAreStored(t *testing.T) {
	t.Parallel()
	db := filled(t)
	if err := db.Register(t.Context(), worker.Presence{ID: jobs.NewID(), Host: "alpha", PID: 8, Providers: []worker.Served{
		{Name: "mock", Kind: "mock", Concurrency: 3, KeyEnds: []string{"abcd", "abcde"}},
	}}); err == nil {
		t.Error("five are")
	}
}

func TestAJobsTimelineHasItsAttemptsWithReasonAndCost(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	has(t, get(t, m, "/jobs/"+aJob(t, db)), "attempt 1: a call of mock, mock-text", "accepted", "in the default lane of mock", "250 ms")
	var failed, waits jobs.Lines
	decode(t, get(t, m, "/api/v1/jobs?state=failed"), &failed)
	has(t, get(t, m, "/jobs/"+failed.Jobs[0].ID), "invalid_request: ", "Unsupported size", "enqueue retry "+failed.Jobs[0].ID)
	decode(t, get(t, m, "/api/v1/jobs?state=retrying"), &waits)
	has(t, get(t, m, "/jobs/"+waits.Jobs[0].ID), "goes on at ", "retrying after invalid_request")
	decode(t, get(t, m, "/api/v1/jobs?state=queued"), &waits)
	must(t, db.StopJobs(t.Context(), waits.Jobs[0].ID))
	has(t, get(t, m, "/jobs/"+waits.Jobs[0].ID), "cancelled")
}

func TestABatchIsDownloadedInEveryFormatAndTheRecordSaysByWhom(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	for format, c := range map[string]struct {
		kind, name, text string
		lines            int
	}{
		"jsonl":     {"application/x-ndjson", "b-1.jsonl", secretAnswer, 6},
		"csv":       {"text/csv; charset=utf-8", "b-1.csv", secretAnswer, 7},
		"parquet":   {"application/vnd.apache.parquet", "b-1.parquet", "PAR1", 0},
		"openai":    {"application/x-ndjson", "b-1.openai.jsonl", "chat.completion", 6},
		"anthropic": {"application/x-ndjson", "b-1.anthropic.jsonl", `"result"`, 6},
		"raw":       {"application/x-ndjson", "b-1.raw.jsonl", secretAnswer, 6},
	} {
		w := get(t, m, "/batches/b-1/results?format="+format)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != c.kind || w.Header().Get("Content-Disposition") != "attachment; filename="+c.name ||
			!bytes.Contains(w.Body.Bytes(), []byte(c.text)) || c.lines > 0 && bytes.Count(w.Body.Bytes(), []byte("\n")) != c.lines {
			t.Errorf("%s: %d %v\n%s", format, w.Code, w.Header(), w.Body)
		}
	}
	for only, lines := range map[string]int{"failed": 1, "succeeded": 2} {
		if w := get(t, m, "/batches/b-1/results?format=jsonl&only="+only); strings.Count(w.Body.String(), "\n") != lines {
			t.Errorf("%s: %s", only, w.Body)
		}
	}
	for query, status := range map[string]int{"b-1/results?format=exe": 400, "b-1/results?only=some": 400, "none/results": 404, "..%2fb-1/results": 404} {
		if w := get(t, m, "/batches/"+query); w.Code != status || w.Header().Get("Content-Disposition") != "" {
			t.Errorf("%s: %d %v", query, w.Code, w.Header())
		}
	}
	actions, err := db.Actions(t.Context(), 0, 100)
	must(t, err)
	if len(actions) != 12 || actions[0].What != "GET /batches/{id}/results" || !strings.Contains(actions[len(actions)-1].Object, "b-1") {
		t.Errorf("%d are recorded: %+v", len(actions), actions)
	}
}

func TestWhatWentWrongHasSamplesOfEachClass(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	w := get(t, m, "/batches/b-1")
	has(t, w, "Unsupported size")
	if n := strings.Count(w.Body.String(), `class="sample"`); n != 2 {
		t.Errorf("%d samples, want one that failed and one that is retried:\n%s", n, w.Body)
	}
}

func TestATaskOfRedisLeadsToItsJobsAndAJobToItsTask(t *testing.T) {
	t.Parallel()
	db := filled(t)
	redis, err := asynq.ParseRedisURI(storetest.Redis(t))
	must(t, err)
	m := newMonitor(t, monitor.Config{
		Store: db, Jobs: db, Orders: db, OpenURL: noObject, Redis: redis, Money: db, Fleet: db, FleetOrders: fleet.NewOrders(db, fleet.Config{}), BasePath: "/oneflow",
	})
	rows, keys := make([]jobs.New, 3), jobs.NewKeys()
	for i := range rows {
		rows[i] = jobs.New{ID: jobs.NewID(), Provider: "mock", Request: providers.Request{Task: providers.Text, Model: "m", Prompt: secretPrompt}}
		must(t, keys.Assign(&rows[i]))
	}
	acc, err := db.AcceptJobs(t.Context(), "", rows, true)
	must(t, err)
	alone, chunk := acc.Deliveries[0], acc.Deliveries[1:]
	for i := range chunk {
		chunk[i].DeliveryID = "chunk-of-two"
	}
	client := asynq.NewClient(redis)
	t.Cleanup(func() { must(t, client.Close()) })
	for _, list := range [][]jobs.Delivery{{alone}, chunk} {
		task, err := jobs.EncodeTask(list...)
		must(t, err)
		_, err = client.Enqueue(task)
		must(t, err)
	}
	has(t, get(t, m, "/jobs/"+alone.ID.String()), `href="/oneflow/asynqmon/queues/mock.default/tasks/`+alone.ID.String()+`-1"`)
	if w := get(t, m, "/tasks/mock.default/"+alone.ID.String()+"-1"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/oneflow/jobs/"+alone.ID.String() {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	has(t, get(t, m, "/tasks/mock.default/chunk-of-two"), chunk[0].ID.String(), chunk[1].ID.String(), `href="/oneflow/asynqmon/queues/mock.default/tasks/chunk-of-two"`)
	for _, path := range []string{"/tasks/mock.default/none", "/tasks/none/chunk-of-two", "/tasks/mock.default/%00", "/tasks/" + strings.Repeat("x", 300) + "/y"} {
		if w := get(t, m, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	has(t, get(t, m, "/asynqmon/"), `src="/oneflow/static/queues.js"`)
	has(t, get(t, m, "/static/queues.js"), "Its jobs in OneFlow")
}

// pagesOf are the pages of a monitor that people read, and their tables.
func pagesOf(t *testing.T, m *monitor.Monitor, job string) (pages, tables []string) {
	t.Helper()
	for _, route := range m.Routes() {
		method, path, _ := strings.Cut(route.Pattern, " ")
		if method != http.MethodGet || strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/asynqmon") || strings.HasPrefix(path, "/static") || strings.HasPrefix(path, "/tasks/") {
			continue
		}
		id := "b-1"
		for part, is := range map[string]string{"/jobs/": job, "/schedules/": "nightly", "/comparisons/": "haikus", "/pipelines/": "line"} {
			if strings.HasPrefix(path, part) {
				id = is
			}
		}
		path = strings.NewReplacer("{$}", "", "{id}", id, "{account}", "default").Replace(path)
		switch {
		case strings.HasSuffix(path, ".csv"):
			tables = append(tables, path)
		case path == "/" && !strings.HasSuffix(route.Pattern, "{$}"), path == "/login", path == "/events", strings.Contains(path, "{n}"), strings.HasSuffix(path, "/results"):
		default:
			pages = append(pages, path)
		}
	}
	return pages, tables
}

func TestEveryPageNamesItsCommandAndEveryTableIsATable(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	addSchedule(t, db, "nightly", "default", "rows.jsonl")
	_, err := db.Deposit(t.Context(), "default", billing.USD, "of alpha", "ada")
	must(t, err)
	aComparison(t, db, "haikus", "default", secretPrompt, secretAnswer)
	aPipeline(t, db, "line", "default")
	pages, tables := pagesOf(t, m, aJob(t, db))
	if len(pages) < 18 || len(tables) < 20 {
		t.Errorf("%d pages and %d tables: %v %v", len(pages), len(tables), pages, tables)
	}
	for _, path := range pages {
		w := get(t, m, path)
		has(t, w, "In a terminal")
		body := w.Body.String()
		_, commands, _ := strings.Cut(body, "In a terminal")
		if !strings.Contains(commands, "enqueue ") && !strings.Contains(commands, "monitor ") {
			t.Errorf("%s names no command: %s", path, commands)
		}
		if strings.Contains(body, "<table") && !strings.Contains(body, ".csv") {
			t.Errorf("%s has a table that cannot be downloaded", path)
		}
		if w.Body.Len() > 200<<10 {
			t.Errorf("%s has %d bytes", path, w.Body.Len())
		}
	}
	for _, path := range tables {
		w := get(t, m, path)
		if rows, err := csv.NewReader(w.Body).ReadAll(); err != nil || len(rows) == 0 || w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") {
			t.Errorf("%s: %d %v %v", path, w.Code, err, rows)
		}
	}
}

func TestTheFirstPageTellsOfMoneyQueuesAndAlerts(t *testing.T) {
	t.Parallel()
	db := filled(t)
	_, _, err := db.RaiseAlerts(t.Context(), []string{jobs.AlertProvider}, []jobs.Alert{{Kind: jobs.AlertProvider, Subject: "mock", Text: "mock has been down for a while"}}, "")
	must(t, err)
	has(t, get(t, withJobs(t, db), "/"), "mock has been down for a while", "Cost today", "$0.0015", "/h</span>", "1 running · ", "in Postgres", "jobs that have not ended; bars up to 3", `href="/queues.csv"`)
}

func TestABadFilterOfBatchesIsToldAndOlderOnesFollow(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	for range 51 {
		must(t, db.OpenBatch(t.Context(), jobs.Batch{ID: "x" + jobs.NewID().String(), Account: "default"}))
	}
	w := get(t, m, "/batches")
	has(t, w, "Older batches")
	_, rest, _ := strings.Cut(w.Body.String(), `href="/batches?cursor=`)
	next, _, _ := strings.Cut(rest, `"`)
	if w := get(t, m, "/batches?cursor="+next); !strings.Contains(w.Body.String(), "b-1") || strings.Contains(w.Body.String(), "Older batches") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/batches?limit=0", "/batches.csv?limit=x", "/batches?source=%00"} {
		if w := get(t, m, path); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
