package e2e

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

const (
	canaryKey    = "canary-key-5ecret"
	canaryPrompt = "canary prompt about a yellow bird"
)

// TestKeysAndPromptsGoToTheProviderAndNowhereElse runs jobs through every client
// to a fake server, which sees them, and then looks for them everywhere else.
func TestKeysAndPromptsGoToTheProviderAndNowhereElse(t *testing.T) {
	t.Parallel()
	server, err := harness.Provider(fakeprovider.Config{CallLog: filepath.Join(t.TempDir(), "witness.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	sut := newSystem(t, "concurrency: 4, latency: 1ms")
	for name, path := range map[string]string{"OPENAI": "/openai/v1", "ANTHROPIC": "/anthropic", "STABILITY": "/stability", "ELEVENLABS": "/elevenlabs", "GEMINI": "/gemini"} {
		sut.Env = append(sut.Env, name+"_BASE_URL="+server.URL+path, name+"_API_KEY="+canaryKey+"-"+strings.ToLower(name))
	}
	worker := sut.workerOf("openai", "anthropic", "stability", "elevenlabs", "gemini")
	monitor, address, err := sut.Monitor(t.Context())
	sut.watched(monitor, err)

	rows := []map[string]any{}
	add := func(provider, task string, n int) {
		for i := range n {
			rows = append(rows, map[string]any{"provider": provider, "task": task, "prompt": fmt.Sprintf("%s no. %d", canaryPrompt, i)})
			if provider == "openai" && task == "audio" {
				rows[len(rows)-1]["model"] = "tts-1" // it has no default
			}
		}
	}
	add("openai", "text", 5)
	add("openai", "audio", 2)
	add("anthropic", "text", 5)
	add("stability", "image", 3)
	add("elevenlabs", "audio", 3)
	add("gemini", "text", 3)
	add("gemini", "image", 2)
	good := int64(len(rows))
	// Refusals whose bodies repeat the prompt, and one that is no answer at all.
	for _, fault := range []fakeprovider.Fault{fakeprovider.Moderated, fakeprovider.Garbage, fakeprovider.ServerError} {
		server.Next(fault, 1)
	}
	file := sut.file("prompts.jsonl", rows)
	said := sut.run(0, "enqueue", "batch", file, "--batch-id", "canary")
	sut.until("the batch to finish", func() bool {
		return sut.number(`SELECT count(*) FROM job_states WHERE finished_at IS NOT NULL`) == good
	})
	if n := sut.number(`SELECT count(*) FROM job_states WHERE state = 'succeeded'`); n < good-2 {
		t.Fatalf("only %d of %d jobs succeeded", n, good)
	}
	checkWitness(t, server)

	said += sut.run(0, "enqueue", "status", "canary") + sut.run(0, "enqueue", "status", "canary", "-o", "json")
	said += sut.run(0, "monitor", "status") + sut.run(0, "monitor", "status", "-o", "json")
	for _, page := range []string{"", "batches/canary", "api/overview", "api/batches/canary", "asynqmon/api/queues", "readyz"} {
		said += fetch(t, address+page)
	}
	said += sut.redisText() + sut.text(`SELECT coalesce(string_agg(m::text, ' '), '') FROM provider_metrics m`) +
		sut.text(`SELECT coalesce(string_agg(error_message, ' '), '') FROM (SELECT error_message FROM job_states UNION ALL SELECT error_message FROM calls) e`)
	if err := stop(worker, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	said += worker.Text() + monitor.Text()
	if err := harness.Leak(said, canaryKey, "yellow bird"); err != nil {
		t.Error(err)
	}
	// A key is not even in Postgres, where prompts and answers are.
	if n := sut.number(`SELECT count(*) FROM (
		SELECT j::text AS row FROM jobs j UNION ALL SELECT s::text FROM job_states s UNION ALL SELECT a::text FROM calls a UNION ALL SELECT encode(error_body, 'escape') FROM calls
		UNION ALL SELECT r::text FROM results r UNION ALL SELECT encode(raw, 'escape') FROM results UNION ALL SELECT p::text FROM providers p) everything WHERE row LIKE '%' || $1 || '%'`, canaryKey); n != 0 {
		t.Errorf("%d rows in Postgres hold a key", n)
	}
	if n := sut.number(`SELECT count(*) FROM jobs WHERE request::text LIKE '%yellow bird%'`); n != good {
		t.Errorf("the prompt is in %d of %d jobs: this test would not notice it elsewhere", n, good)
	}
}

// checkWitness makes sure that there was something to get out.
func checkWitness(t *testing.T, server *fakeprovider.Server) {
	t.Helper()
	seen := map[fakeprovider.Vendor]bool{}
	for _, c := range server.Calls() {
		headers := fmt.Sprint(c.Header)
		if strings.Contains(headers, canaryKey) && (strings.Contains(string(c.Body), "yellow bird") || strings.Contains(fmt.Sprint(c.Form), "yellow bird")) {
			seen[c.Vendor] = true
		}
	}
	for _, v := range fakeprovider.Vendors() {
		if !seen[v] {
			t.Errorf("%s has not received the key and the prompt", v)
		}
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, res.Status, err)
	}
	return string(body)
}

func TestKeysRotateWithoutARestart(t *testing.T) {
	t.Parallel()
	server, err := harness.Provider(fakeprovider.Config{Keys: map[string]*fakeprovider.Behaviour{"sk-new-key-0123456789abcdefghijklmnopqrst6789": nil}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	sut := newSystem(t, "concurrency: 1, latency: 1ms")
	sut.Env = []string{"OPENAI_BASE_URL=" + server.URL + "/openai/v1", "OPENAI_API_KEY=", "ANTHROPIC_API_KEY="}
	sut.stdin = "sk-old-key-0123456789abcdefghijklmnopqrst6789\n"
	sut.run(0, "worker", "keys", "set", "openai")
	if ls := sut.run(0, "worker", "keys", "ls"); strings.Contains(ls, "old-key") || !strings.Contains(ls, "6789") {
		t.Errorf("keys ls shows more than the last four characters, or less:\n%s", ls)
	}
	sut.run(1, "worker", "keys", "check")
	worker := sut.workerOf("openai")
	sut.run(0, "enqueue", "text", "hello", "--provider", "openai")
	sut.until("the old key to be refused", func() bool {
		return sut.number(`SELECT count(*) FROM calls WHERE error_kind = 'unauthorised'`) == 1
	})
	sut.stdin = "sk-new-key-0123456789abcdefghijklmnopqrst6789\n"
	sut.run(0, "worker", "keys", "set", "openai")
	sut.until("the new key to be taken", func() bool { return strings.Contains(worker.Text(), "key file has changed") })
	sut.run(0, "worker", "keys", "check")
	sut.run(0, "enqueue", "text", "hello again", "--provider", "openai", "--wait")
}

// TestARefusedKeyIsNoReasonToLeaveAProviderAlone has a worker with two keys, the first of which the
// provider refuses, or whose account has no credit.
func TestARefusedKeyIsNoReasonToLeaveAProviderAlone(t *testing.T) {
	t.Parallel()
	const bad, good = "sk-bad-key-0123456789abcdefghijklmnopqrst1111", "sk-good-key-0123456789abcdefghijklmnopqrs2222"
	for name, behaviour := range map[string]map[string]*fakeprovider.Behaviour{
		"unknown":        {good: nil},
		"without credit": {good: nil, bad: {Faults: map[fakeprovider.Fault]float64{fakeprovider.OutOfMoney: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := harness.Provider(fakeprovider.Config{Keys: behaviour})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = server.Close() })
			sut := newSystem(t, "concurrency: 4, latency: 1ms")
			sut.Env = []string{"OPENAI_BASE_URL=" + server.URL + "/openai/v1", "OPENAI_API_KEY=", "ANTHROPIC_API_KEY="}
			sut.stdin = bad + "\n"
			sut.run(0, "worker", "keys", "set", "openai")
			sut.stdin = good + "\n"
			sut.run(0, "worker", "keys", "set", "openai", "--add")
			worker := sut.workerOf("openai", "mock")
			rows := make([]map[string]any, 40)
			for i := range rows {
				rows[i] = map[string]any{"prompt": fmt.Sprintf("no. %d", i), "chain": []string{"openai", "mock"}}
			}
			sut.run(0, "enqueue", "batch", sut.file("rows.jsonl", rows), "--batch-id", "keys")
			sut.until("the batch to finish", func() bool {
				return sut.number(`SELECT count(*) FROM job_states WHERE finished_at IS NOT NULL`) == int64(len(rows))
			})
			if n := sut.number(`SELECT count(*) FROM calls WHERE provider = 'openai' AND state = 'succeeded'`); n != int64(len(rows)) {
				t.Errorf("openai has answered %d of %d jobs", n, len(rows))
			}
			// Those that were under way with the key when the first refusal came are refused, too. Where Postgres
			// is slow, a call may not be sent at all.
			if n := sut.number(`SELECT count(*) FROM calls WHERE state = 'failed_unbilled' AND error_kind <> 'not_asked'`); n < 1 || n > 4 {
				t.Errorf("%d calls were refused", n)
			}
			if text := worker.Text(); !strings.Contains(text, "key left alone for a while") || !strings.Contains(text, "…1111") || strings.Contains(text, "provider disabled") {
				t.Errorf("the worker says:\n%s", text)
			}
		})
	}
}
