package monitor_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

// aComparison makes a comparison of two models over one row, with a judge who names the second.
func aComparison(t *testing.T, db *store.Store, name, account, prompt, answer string) {
	t.Helper()
	id := jobs.NewID()
	must(t, db.Register(t.Context(), worker.Presence{ID: id, Host: "gamma", PID: 9}))
	answered := func(batch, text string, tags map[string]string, own string) string {
		must(t, db.OpenBatch(t.Context(), jobs.Batch{ID: batch, Account: account, Source: "rows.jsonl", Tags: tags}))
		row := jobs.New{ID: jobs.NewID(), Seq: 1, Provider: "mock", Account: account, Request: providers.Request{Task: providers.Text, Model: "m", Prompt: prompt}}
		if own != "" {
			row.Own = []byte(own)
		}
		must(t, jobs.NewKeys().Assign(&row))
		_, err := db.AcceptJobs(t.Context(), batch, []jobs.New{row}, true)
		must(t, err)
		must(t, db.SealBatch(t.Context(), batch))
		got, err := db.Claim(t.Context(), id, jobs.Claim{ID: row.ID, Gen: 1, LeaseToken: jobs.NewID()})
		must(t, err)
		cost := billing.USD / 100
		c := jobs.Call{CallID: jobs.NewID(), JobID: row.ID, LeaseToken: got.Job.LeaseToken, Provider: "mock", Model: "m", Reserved: &cost, Timeout: time.Minute}
		must(t, db.BeginCall(t.Context(), id, c))
		must(t, db.Succeed(t.Context(), jobs.Success{
			JobID: row.ID, LeaseToken: got.Job.LeaseToken,
			Settlement: jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallSucceeded, Cost: &cost, Status: 200, Usage: providers.Usage{OutputTokens: 7}, Latency: time.Second},
			Response:   providers.Response{Provider: "mock", Model: "m", Text: text, Raw: []byte(text), Status: 200, FinishReason: "stop"},
		}))
		return row.ID.String()
	}
	key := fmt.Sprintf("c%d", time.Now().UnixNano())
	first := answered(key+".1", answer+" one", map[string]string{batches.TagComparison: name, batches.TagModel: "mock/one"}, "")
	second := answered(key+".2", answer+" two", map[string]string{batches.TagComparison: name, batches.TagModel: "mock/two"}, "")
	answered(key+".judge", `{"best":2,"reason":"`+jsonWord(answer)+`"}`, map[string]string{batches.TagComparison: name, batches.TagJudge: "mock/judge"},
		`{"candidates":[{"model":"mock/one","job":"`+first+`"},{"model":"mock/two","job":"`+second+`"}]}`)
}

func jsonWord(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

// aPipeline makes a pipeline of two steps whose first has a job that failed.
func aPipeline(t *testing.T, db *store.Store, id, account string) {
	t.Helper()
	worker1 := jobs.NewID()
	must(t, db.Register(t.Context(), worker.Presence{ID: worker1, Host: "delta", PID: 10}))
	must(t, db.OpenBatch(t.Context(), jobs.Batch{ID: id, Account: account, Source: "articles.csv", Append: true, First: "x", Steps: []jobs.Step{
		{Batch: id, Name: "first", Definition: []byte("{}")}, {Batch: id + ".2.rate", Name: "rate", Definition: []byte(`{"name":"rate","template":"{{answer}}"}`)},
	}}))
	rows := make([]jobs.New, 2)
	keys := jobs.NewKeys()
	for i := range rows {
		rows[i] = jobs.New{ID: jobs.NewID(), Seq: int64(i + 1), Provider: "mock", Account: account, Request: providers.Request{Task: providers.Text, Model: "m", Prompt: secretPrompt}}
		must(t, keys.Assign(&rows[i]))
	}
	_, err := db.AcceptJobs(t.Context(), id, rows, true)
	must(t, err)
	got, err := db.Claim(t.Context(), worker1, jobs.Claim{ID: rows[0].ID, Gen: 1, LeaseToken: jobs.NewID()})
	must(t, err)
	_, err = db.Complete(t.Context(), jobs.Completion{JobID: got.Job.ID, LeaseToken: got.Job.LeaseToken, State: jobs.Failed, Class: "timeout", Message: "no answer"})
	must(t, err)
}

func TestAComparisonIsShownSideBySideOnDemandAndTheRecordSaysByWhom(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	has(t, get(t, m, "/comparisons"), "Nothing was compared yet", "enqueue compare questions.jsonl --with openai,anthropic")
	aComparison(t, db, "haikus", "default", secretPrompt, secretAnswer)
	has(t, get(t, m, "/comparisons"), `href="/comparisons/haikus?account=default"`, "mock/one, mock/two")
	w := get(t, m, "/comparisons/haikus")
	has(t, w, "mock/one", "mock/two", "Best, says mock/judge", "of 1 verdicts", "enqueue compare --show haikus", `href="/comparisons/haikus/answers?account=default"`)
	if strings.Contains(w.Body.String(), secretPrompt) || strings.Contains(w.Body.String(), secretAnswer) {
		t.Errorf("content is shown before anybody asks:\n%s", w.Body)
	}
	w = get(t, m, "/comparisons/haikus/answers?account=default")
	has(t, w, secretPrompt, secretAnswer+" one", secretAnswer+" two", "best, says mock/judge", "$0.01")
	if strings.Count(w.Body.String(), `class="best"`) != 1 || strings.Index(w.Body.String(), "best, says") < strings.Index(w.Body.String(), secretAnswer+" one") {
		t.Errorf("the best is not the second:\n%s", w.Body)
	}
	for path, rows := range map[string]int{"/comparisons.csv": 2, "/comparisons/haikus/models.csv": 3, "/comparisons/haikus/answers.csv": 3} {
		table, err := csv.NewReader(get(t, m, path).Body).ReadAll()
		if err != nil || len(table) != rows {
			t.Errorf("%s: %v %v", path, table, err)
		}
	}
	actions, err := db.Actions(t.Context(), 0, 10)
	must(t, err)
	if len(actions) != 2 || !strings.HasPrefix(actions[0].What, "GET /comparisons/{id}/answers") {
		t.Errorf("recorded: %+v", actions)
	}
	for path, status := range map[string]int{
		"/comparisons/none": 404, "/comparisons/%00": 404, "/comparisons/%ff": 404, "/comparisons/..%2fx": 404, "/comparisons/haikus/answers?after=x": 400,
		"/comparisons/haikus/answers?after=-1": 400, "/comparisons/haikus?account=others": 404,
	} {
		if w := get(t, m, path); w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestTwoAccountsComparisonsOfOneNameStayApart(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	aComparison(t, db, "haikus", "early", "a prompt of early", "an answer of early")
	aComparison(t, db, "haikus", "late", "a prompt of late", "an answer of late")
	has(t, get(t, m, "/comparisons"), "/comparisons/haikus?account=early", "/comparisons/haikus?account=late")
	for _, account := range []string{"early", "late"} {
		secret := token(t, db, access.Read, account, time.Time{})
		w := ask(t, m, http.MethodGet, "/comparisons/haikus/answers?account=late", secret)
		has(t, w, "an answer of "+account)
		if other := map[string]string{"early": "late", "late": "early"}[account]; strings.Contains(w.Body.String(), "of "+other) {
			t.Errorf("%s sees what %s has:\n%s", account, other, w.Body)
		}
	}
}

func TestAPipelineIsOneThingOfAllItsSteps(t *testing.T) {
	t.Parallel()
	db := filled(t)
	m := withJobs(t, db)
	has(t, get(t, m, "/pipelines"), "There are no pipelines", "enqueue pipeline FILE")
	aPipeline(t, db, "nightly", "default")
	has(t, get(t, m, "/pipelines"), `href="/pipelines/nightly"`, "first → rate", "articles.csv", "1 failed")
	has(t, get(t, m, "/pipelines/nightly"), `href="/batches/nightly.2.rate"`, "1 of 2 done", `action="/pipelines/nightly/retry"`, "enqueue status nightly", "enqueue export nightly.2.rate")
	has(t, get(t, m, "/batches/nightly.2.rate"), `href="/pipelines/nightly"`)
	for _, verb := range []string{"pause", "resume", "retry", "cancel"} {
		if w := send(t, m, "/pipelines/nightly/"+verb, nil, ""); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/pipelines/nightly" {
			t.Errorf("%s: %d %s", verb, w.Code, w.Body)
		}
		if verb == "retry" {
			has(t, get(t, m, "/pipelines/nightly"), "0 of 2 done")
		}
	}
	has(t, get(t, m, "/pipelines/nightly"), "2 of 2 done", "cancelled")
	stranger := token(t, db, access.Operate, "others", time.Time{})
	for _, path := range []string{"/pipelines/nightly", "/pipelines/nightly/steps.csv"} {
		if w := ask(t, m, http.MethodGet, path, stranger); w.Code != http.StatusNotFound {
			t.Errorf("%s of another account: %d", path, w.Code)
		}
	}
	if w := send(t, m, "/pipelines/nightly/cancel", url.Values{}, stranger); w.Code != http.StatusNotFound {
		t.Errorf("another account cancels it: %d", w.Code)
	}
}
