package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

// What the commands print.
type (
	report struct {
		BatchID    string `json:"batch_id"`
		Accepted   int    `json:"accepted"`
		Duplicates int    `json:"duplicates"`
		Rejected   int    `json:"rejected"`
	}
	status struct {
		BatchID string           `json:"batch_id"`
		State   string           `json:"state"`
		Counts  map[string]int64 `json:"counts"`
		// The mock's money is not real.
		CostUSD string `json:"simulated_cost_usd"`
	}
	exported struct {
		ID       string  `json:"id"`
		CustomID *string `json:"custom_id"`
		Response *struct {
			StatusCode int    `json:"status_code"`
			RequestID  string `json:"request_id"`
			Body       struct {
				Choices []struct {
					Message struct {
						Content string `json:"content"`
					} `json:"message"`
				} `json:"choices"`
			} `json:"body"`
		} `json:"response"`
		Error   json.RawMessage `json:"error"`
		OneFlow struct {
			Provider  string `json:"provider"`
			Model     string `json:"model"`
			CostUSD   string `json:"simulated_cost_usd"`
			Attempts  int    `json:"attempts"`
			LatencyMS *int64 `json:"latency_ms"`
			State     string `json:"state"`
			Artifacts []struct {
				URL    string `json:"url"`
				MIME   string `json:"mime"`
				SHA256 string `json:"sha256"`
			} `json:"artifacts"`
		} `json:"oneflow"`
	}
)

// thousand are a thousand prompts: text, with some pictures and speech.
func thousand() []map[string]any {
	rows := make([]map[string]any, 1000)
	for i := range rows {
		row := map[string]any{"custom_id": fmt.Sprintf("row-%d", i), "prompt": fmt.Sprintf("%s no. %d, é 日本.", canaryPrompt, i)}
		switch i % 20 {
		case 3:
			row["task"], row["n"], row["size"] = "image", 1+i%2, "32x32"
		case 7:
			row["task"] = "audio"
		default:
			row["max_tokens"] = 50
		}
		rows[i] = row
	}
	return rows
}

// nanoUSD returns the cost of a job by the mock's prices, worked out from what went
// in and what came out: text $0.10 and $0.40 per million tokens of four bytes,
// pictures two cents, speech $15 per million characters.
func nanoUSD(row map[string]any, answer string) int64 {
	prompt := row["prompt"].(string)
	tokens := func(s string) int64 { return int64(len(s)+3) / 4 }
	switch row["task"] {
	case "image":
		return int64(row["n"].(int)) * 20_000_000
	case "audio":
		return int64(utf8.RuneCountInString(prompt)) * 15_000
	}
	return tokens(prompt)*100 + tokens(answer)*400
}

func usd(nano int64) string {
	s := fmt.Sprintf("%d.%09d", nano/1e9, nano%1e9)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func TestABatchOfAThousandGoesThroughAndAddsUp(t *testing.T) {
	t.Parallel()
	// One call in twenty fails, unbilled: retries must not show in the bill.
	sut := newSystem(t, "concurrency: 50, latency: 5ms, limits: {rpm: 0}")
	rewriteMock(t, sut, "error_rate: 0.05")
	rows := thousand()
	file := sut.file("prompts.jsonl", rows)
	worker := sut.worker()

	rep := decode[report](sut, "enqueue", "batch", file, "--provider", "mock", "--batch-id", "thousand", "-o", "json")
	if diff := cmp.Diff(report{"thousand", 1000, 0, 0}, rep); diff != "" {
		t.Fatal(diff)
	}
	sut.run(0, "enqueue", "watch", "thousand")

	st := decode[status](sut, "enqueue", "status", "thousand", "-o", "json")
	want := map[string]int64{
		"scheduled": 0, "queued": 0, "running": 0, "retrying": 0,
		"succeeded": 1000, "failed": 0, "cancelled": 0, "expired": 0, "unknown": 0,
	}
	if diff := cmp.Diff(want, st.Counts); diff != "" || st.State != "finished" || st.BatchID != "thousand" {
		t.Fatalf("status %+v\n%s", st, diff)
	}
	checkExport(t, sut, rows, st)
	checkLedger(t, sut)

	// The same file again adds nothing, and calls nobody.
	before, _ := sut.calls()
	rep = decode[report](sut, "enqueue", "batch", file, "--provider", "mock", "--batch-id", "thousand", "-o", "json")
	if diff := cmp.Diff(report{"thousand", 0, 1000, 0}, rep); diff != "" {
		t.Fatal(diff)
	}
	sut.run(0, "enqueue", "watch", "thousand")
	if after, _ := sut.calls(); len(after) != len(before) {
		t.Errorf("the rerun made %d more calls", len(after)-len(before))
	}
	if err := stop(worker, syscall.SIGTERM); err != nil {
		t.Errorf("worker: %v", err)
	}
}

// rewriteMock adds a setting of the mock's own.
func rewriteMock(t *testing.T, sut *system, setting string) {
	t.Helper()
	text, err := os.ReadFile(sut.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	sut.configure(strings.Replace(string(text), "mock: {call_log", "mock: {"+setting+", call_log", 1))
}

func checkExport(t *testing.T, sut *system, rows []map[string]any, st status) {
	t.Helper()
	out := filepath.Join(sut.Dir, "out.jsonl")
	sut.run(0, "enqueue", "export", "thousand", "--out", out)
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var sum int64
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		var l exported
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		row := rows[n]
		if l.CustomID == nil || *l.CustomID != row["custom_id"] {
			t.Fatalf("line %d is of row %v: not in input order", n+1, l.CustomID)
		}
		if l.Response == nil || l.Response.StatusCode != http.StatusOK || l.Response.RequestID == "" || string(l.Error) != "null" ||
			l.OneFlow.State != "succeeded" || l.OneFlow.Provider != "mock" || l.OneFlow.Model == "" || l.OneFlow.Attempts < 1 || l.OneFlow.LatencyMS == nil {
			t.Fatalf("line %d: %s", n+1, s.Text())
		}
		answer := ""
		if row["task"] == nil {
			answer = l.Response.Body.Choices[0].Message.Content
		} else {
			checkArtifacts(t, row, l)
		}
		cost := nanoUSD(row, answer)
		if l.OneFlow.CostUSD != usd(cost) {
			t.Fatalf("line %d: cost %s, want %s", n+1, l.OneFlow.CostUSD, usd(cost))
		}
		sum += cost
	}
	if n != 1000 {
		t.Fatalf("%d lines were exported", n)
	}
	if st.CostUSD != usd(sum) {
		t.Errorf("status says %s, the inputs make %s", st.CostUSD, usd(sum))
	}
	if got := sut.number(`SELECT sum(cost_nano)::bigint FROM calls`); got != sum {
		t.Errorf("the ledger says %d nano-USD, the inputs make %d", got, sum)
	}
}

func checkArtifacts(t *testing.T, row map[string]any, l exported) {
	t.Helper()
	want, mime := 1, "audio/wav"
	if row["task"] == "image" {
		want, mime = row["n"].(int), "image/png"
	}
	if len(l.OneFlow.Artifacts) != want {
		t.Fatalf("%s: %d artifacts, want %d", *l.CustomID, len(l.OneFlow.Artifacts), want)
	}
	for _, a := range l.OneFlow.Artifacts {
		info, err := os.Stat(strings.TrimPrefix(a.URL, "file://"))
		if err != nil || info.Size() == 0 || a.MIME != mime || len(a.SHA256) != 64 {
			t.Fatalf("%s: artifact %+v: %v", *l.CustomID, a, err)
		}
	}
}

// checkLedger holds Postgres against the mock's own log.
func checkLedger(t *testing.T, sut *system) {
	t.Helper()
	begun, ended := sut.calls()
	failed := 0
	for _, l := range ended {
		if l.Outcome != "ok" {
			failed++
		}
	}
	if len(begun) != len(ended) || len(begun)-failed != 1000 || failed == 0 {
		t.Errorf("the mock saw %d calls begin and %d end, %d of them failed", len(begun), len(ended), failed)
	}
	for sql, want := range map[string]int64{
		`SELECT count(*) FROM calls`:                                                   int64(len(begun)),
		`SELECT count(*) FROM calls WHERE state = 'succeeded'`:                         1000,
		`SELECT count(*) FROM calls WHERE state = 'failed_unbilled' AND cost_nano = 0`: int64(failed),
		`SELECT count(*) FROM results`:                                                 1000,
		`SELECT count(*) FROM job_states WHERE attempt <> 1`:                           0,
	} {
		if got := sut.number(sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}

func TestSIGTERMWith200CallsInFlightRepeatsNone(t *testing.T) {
	t.Parallel()
	v := newVendors(t, fakeprovider.Config{Keep: 1000})
	sut := newSystem(t, "latency: 1ms")
	sut.serves(v, "limits: {rpm: 0}, concurrency: 200", "limits: {rpm: 0}")
	first := sut.workerOf("openai")
	// Of a provider that nobody has heard of yet, the breaker asks little at once.
	sut.run(0, "enqueue", "text", canaryPrompt, "--provider", "openai", "--model", "gpt-4o-mini", "--wait")
	held, letGo := v.hold()
	sut.run(0, "enqueue", "batch", sut.texts(300), "--batch-id", "drain", "--no-fallback")
	sut.until("200 calls in flight", func() bool { return held() == 200 })
	first.Signal(syscall.SIGTERM)
	sut.until("the worker to drain", func() bool { return strings.Contains(first.Text(), "stopping") })
	letGo()
	if err := first.Wait(); err != nil {
		t.Fatalf("worker: %v", err)
	}
	if got := sut.number(`SELECT count(*) FROM job_states WHERE batch_id = 'drain' AND state = 'succeeded'`); got != 200 {
		t.Errorf("after the drain %d jobs have succeeded, want 200", got)
	}
	if got := sut.number(`SELECT count(*) FROM job_states WHERE state IN ('running', 'retrying')`); got != 0 {
		t.Errorf("after the drain %d jobs are still held", got)
	}
	second := sut.workerOf("openai")
	sut.run(0, "enqueue", "watch", "drain")
	if err := stop(second, syscall.SIGTERM); err != nil {
		t.Fatalf("worker: %v", err)
	}
	requests := map[string]int{}
	for _, c := range v.Calls() {
		requests[string(c.Body)]++
	}
	if n := len(v.Calls()); n != 301 || len(requests) != 301 {
		t.Errorf("the vendor saw %d calls, for %d requests: want 301 of each", n, len(requests))
	}
	if got := sut.number(`SELECT count(*) FROM results`); got != 301 {
		t.Errorf("%d results, want 301", got)
	}
}

func TestASecondSignalIsImmediate(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "concurrency: 4, latency: 60s")
	p := sut.worker()
	sut.run(0, "enqueue", "text", canaryPrompt, "--provider", "mock")
	sut.until("a call in flight", func() bool { begun, _ := sut.calls(); return len(begun) == 1 })
	p.Signal(syscall.SIGTERM)
	// Two signals at the same instant would count as one.
	sut.until("the worker to drain", func() bool { return strings.Contains(p.Text(), "stopping") })
	if code := harness.ExitCode(stop(p, syscall.SIGTERM)); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if _, ended := sut.calls(); len(ended) != 0 {
		t.Error("the call was waited for")
	}
}

func TestJobsOfAKilledWorkerAreTakenOver(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "concurrency: 20, latency: 4s")
	rows := make([]map[string]any, 60)
	for i := range rows {
		rows[i] = map[string]any{"prompt": fmt.Sprintf("%s no. %d", canaryPrompt, i)}
	}
	first, _ := sut.worker(), sut.worker()
	decode[report](sut, "enqueue", "batch", sut.file("prompts.jsonl", rows), "--provider", "mock", "--batch-id", "killed", "-o", "json")
	sut.until("calls in flight", func() bool { begun, _ := sut.calls(); return len(begun) >= 30 })
	_ = stop(first, syscall.SIGKILL)
	sut.run(0, "enqueue", "watch", "killed")
	if got := sut.number(`SELECT count(*) FROM results`); got != 60 {
		t.Errorf("%d results, want 60", got)
	}
	// What was under way at the kill is on the bill, as unknown, and was sent once
	// more; nothing else was. A row may have been written whose call was not sent yet.
	unknown := sut.number(`SELECT count(*) FROM calls WHERE state = 'unknown' AND cost_nano = reserved_nano`)
	begun, _ := sut.calls()
	if unknown == 0 || unknown > 20 || len(begun) < 60 || int64(len(begun)) > 60+unknown {
		t.Errorf("%d calls for 60 jobs, %d of them with unknown outcome", len(begun), unknown)
	}
}

func TestTheMonitorShowsWhatHappened(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "concurrency: 4, latency: 1ms")
	sut.worker()
	sut.run(0, "enqueue", "text", canaryPrompt, "--provider", "mock", "--wait")
	out := sut.run(0, "monitor", "status", "-o", "json")
	if !json.Valid([]byte(out)) {
		t.Errorf("monitor status printed %s", out)
	}
}
