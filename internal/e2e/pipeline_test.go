package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/harness"
)

// A pipeline as somebody types it: three steps, one status, exports with the answers of all
// steps, and an application that is told of the end of each.
func TestAPipelineGoesThroughItsStepsAndTellsTheApplication(t *testing.T) {
	t.Parallel()
	const n = 100
	var mu sync.Mutex
	told := map[string]string{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var event struct {
			Type string `json:"type"`
			Data struct {
				BatchID string `json:"batch_id"`
				Jobs    int64  `json:"jobs"`
			} `json:"data"`
		}
		if err != nil || json.Unmarshal(body, &event) != nil || !strings.HasPrefix(r.Header.Get("webhook-signature"), "v1,") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		told[event.Data.BatchID] = fmt.Sprint(event.Type, " ", event.Data.Jobs)
	}))
	t.Cleanup(receiver.Close)

	sut := newSystem(t, "concurrency: 20, latency: 5ms")
	sut.Env = append(sut.Env, "ONEFLOW_WEBHOOK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	config, err := os.ReadFile(sut.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	sut.configure(string(config) + "webhooks: {allow: ['" + strings.TrimPrefix(receiver.URL, "http://") + "']}\n")
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = map[string]any{"custom_id": fmt.Sprint("r", i), "subject": fmt.Sprint("no. ", i), "rank": i}
	}
	sut.file("rows.jsonl", rows)
	path := filepath.Join(sut.Dir, "pipeline.yaml")
	pipeline := `
input: rows.jsonl
steps:
  - {name: draft, provider: mock, template: "Write about {{subject}}"}
  - name: check
    provider: mock
    filter: rank < 60
    template: "Check {{answer}}"
  - {name: polish, provider: mock, template: "Polish {{draft}} by {{check}} of {{custom_id}}", set: {max_tokens: 50}}
`
	if err := os.WriteFile(path, []byte(pipeline), 0o600); err != nil {
		t.Fatal(err)
	}
	sut.worker()
	sut.run(0, "enqueue", "pipeline", path, "--batch-id", "line", "--webhook", receiver.URL+"/hooks")
	sut.run(0, "enqueue", "watch", "line")
	type step struct {
		Name    string           `json:"name"`
		BatchID string           `json:"batch_id"`
		State   string           `json:"state"`
		Counts  map[string]int64 `json:"counts"`
		LeftOut int64            `json:"left_out"`
	}
	st := decode[struct {
		State  string           `json:"state"`
		Counts map[string]int64 `json:"counts"`
		Steps  []step           `json:"steps"`
	}](sut, "enqueue", "status", "line", "-o", "json")
	var got []string
	for _, s := range st.Steps {
		got = append(got, fmt.Sprint(s.Name, " ", s.BatchID, " ", s.State, " ", s.Counts["succeeded"], " ", s.LeftOut))
	}
	want := []string{"draft line finished 100 0", "check line.2.check finished 60 40", "polish line.3.polish finished 60 0"}
	if diff := cmp.Diff(want, got); diff != "" || st.State != "finished" || st.Counts["succeeded"] != 220 {
		t.Errorf("%s%+v", diff, st)
	}
	out := sut.run(0, "enqueue", "export", "line.3.polish", "--format", "csv", "--with", "text")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, column := range []string{"subject", "draft", "check", "text", "rank"} {
		if !strings.Contains(lines[0], column) {
			t.Errorf("columns %s, want %s among them", lines[0], column)
		}
	}
	if !strings.Contains(out, "no. 59") || strings.Contains(out, "no. 60") {
		t.Error("the rows of the last step are not those that the filter let through")
	}
	sut.until("the end of each step to be told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == 3
	})
	if diff := cmp.Diff(map[string]string{"line": "batch.finished 100", "line.2.check": "batch.finished 60", "line.3.polish": "batch.finished 60"}, told); diff != "" {
		t.Error(diff)
	}

	// The same again adds nothing, and other steps are refused.
	again := decode[report](sut, "enqueue", "pipeline", path, "--batch-id", "line", "-o", "json")
	if again.Accepted != 0 || again.Duplicates != n {
		t.Errorf("%+v", again)
	}
	for text, why := range map[string]string{
		strings.Replace(pipeline, "Check {{answer}}", "Check {{anwser}}", 1): "there is no column \"anwser\"",
		strings.Replace(pipeline, "Check {{answer}}", "{{answer}}!", 1):      "other steps",
		strings.Replace(pipeline, "max_tokens: 50", "max_tokens: many", 1):   "max_tokens",
		strings.Replace(pipeline, "name: check", "name: subject", 1):         "a column of the input",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sut.Run(t.Context(), harness.Command{Name: "enqueue", Args: []string{"pipeline", path, "--batch-id", "line"}}); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
}
