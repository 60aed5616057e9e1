package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"oneflow/internal/fakeprovider"
)

const (
	canaryKey    = "canary-key-5ecret"
	canaryPrompt = "canary prompt about a yellow bird"
)

// TestKeysAndPromptsGoToTheProviderAndNowhereElse runs jobs through every client
// to a fake server, which sees them, and then looks for them everywhere else.
func TestKeysAndPromptsGoToTheProviderAndNowhereElse(t *testing.T) {
	t.Parallel()
	server, err := fakeprovider.New(fakeprovider.Config{CallLog: filepath.Join(t.TempDir(), "witness.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	w := newWorld(t, "concurrency: 4, latency: 1ms")
	for name, path := range map[string]string{"OPENAI": "/openai/v1", "ANTHROPIC": "/anthropic", "STABILITY": "/stability", "ELEVENLABS": "/elevenlabs"} {
		w.env = append(w.env, name+"_BASE_URL="+server.URL+path, name+"_API_KEY="+canaryKey+"-"+strings.ToLower(name))
	}
	worker := w.workerOf("openai", "anthropic", "stability", "elevenlabs")
	monitor := w.background("monitor", "serve", "--listen", "127.0.0.1:0")

	rows := []map[string]any{}
	add := func(provider, task string, n int) {
		for i := range n {
			rows = append(rows, map[string]any{"provider": provider, "task": task, "prompt": fmt.Sprintf("%s no. %d", canaryPrompt, i)})
		}
	}
	add("openai", "text", 5)
	add("openai", "audio", 2)
	add("anthropic", "text", 5)
	add("stability", "image", 3)
	add("elevenlabs", "audio", 3)
	good := int64(len(rows))
	// Refusals whose bodies repeat the prompt, and one that is no answer at all.
	for _, fault := range []fakeprovider.Fault{fakeprovider.Moderated, fakeprovider.Garbage, fakeprovider.ServerError} {
		server.Next(fault, 1)
	}
	file := w.file("prompts.jsonl", rows)
	said := w.run(0, "enqueue", "batch", file, "--batch-id", "canary")
	w.until("the batch to finish", func() bool {
		return w.number(`SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL`) == good
	})
	if n := w.number(`SELECT count(*) FROM jobs WHERE state = 'succeeded'`); n < good-2 {
		t.Fatalf("only %d of %d jobs succeeded", n, good)
	}
	checkWitness(t, server)

	said += w.run(0, "enqueue", "status", "canary") + w.run(0, "enqueue", "status", "canary", "-o", "json")
	said += w.run(0, "monitor", "status") + w.run(0, "monitor", "status", "-o", "json")
	var address string
	w.until("the monitor", func() bool {
		address = regexp.MustCompile(`http://[0-9.:]+/`).FindString(monitor.log.String())
		return address != ""
	})
	for _, page := range []string{"", "batches/canary", "api/overview", "api/batches/canary", "asynqmon/api/queues", "readyz"} {
		said += fetch(t, address+page)
	}
	said += redisText(t, w) + w.text(`SELECT coalesce(string_agg(m::text, ' '), '') FROM provider_metrics m`) +
		w.text(`SELECT coalesce(string_agg(error_message, ' '), '') FROM (SELECT error_message FROM jobs UNION ALL SELECT error_message FROM attempts) e`)
	if err := worker.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	said += worker.log.String() + monitor.log.String()
	for _, secret := range []string{canaryKey, "yellow bird"} {
		if i := strings.Index(said, secret); i >= 0 {
			t.Errorf("%q got out: …%s…", secret, said[max(0, i-200):min(len(said), i+200)])
		}
	}
	// A key is not even in Postgres, where prompts and answers are.
	if n := w.number(`SELECT count(*) FROM (
		SELECT j::text AS row FROM jobs j UNION ALL SELECT a::text FROM attempts a UNION ALL SELECT encode(error_body, 'escape') FROM attempts
		UNION ALL SELECT r::text FROM results r UNION ALL SELECT encode(raw, 'escape') FROM results UNION ALL SELECT p::text FROM providers p) everything WHERE row LIKE '%' || $1 || '%'`, canaryKey); n != 0 {
		t.Errorf("%d rows in Postgres hold a key", n)
	}
	if n := w.number(`SELECT count(*) FROM jobs WHERE request::text LIKE '%yellow bird%'`); n != good {
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

// redisText is everything in Redis.
func redisText(t *testing.T, w *world) string {
	t.Helper()
	opts, err := redis.ParseURL(w.redisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	defer func() { _ = client.Close() }()
	ctx := context.WithoutCancel(t.Context()) // in a cleanup too
	var b strings.Builder
	for it := client.Scan(ctx, 0, "*", 1000).Iterator(); it.Next(ctx); {
		b.WriteString(it.Val() + " ")
		// DUMP is the value as Redis keeps it, of whatever type. Short strings in
		// it are not compressed.
		dump, err := client.Dump(ctx, it.Val()).Result()
		if err != nil {
			continue
		}
		b.WriteString(dump)
		if h, err := client.HGetAll(ctx, it.Val()).Result(); err == nil {
			fmt.Fprint(&b, h)
		}
	}
	return b.String()
}

// text asks the database for one text.
func (w *world) text(sql string) string {
	w.t.Helper()
	ctx := context.WithoutCancel(w.t.Context()) // in a cleanup too
	conn, err := pgx.Connect(ctx, w.databaseURL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var s string
	if err := conn.QueryRow(ctx, sql).Scan(&s); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return s
}

func TestKeysRotateWithoutARestart(t *testing.T) {
	t.Parallel()
	server, err := fakeprovider.New(fakeprovider.Config{Keys: map[string]*fakeprovider.Behaviour{"sk-new-key-0123456789abcdefghijklmnopqrst6789": nil}})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	w := newWorld(t, "concurrency: 1, latency: 1ms")
	w.env = []string{"OPENAI_BASE_URL=" + server.URL + "/openai/v1", "OPENAI_API_KEY=", "ANTHROPIC_API_KEY="}
	w.stdin = "sk-old-key-0123456789abcdefghijklmnopqrst6789\n"
	w.run(0, "worker", "keys", "set", "openai")
	if ls := w.run(0, "worker", "keys", "ls"); strings.Contains(ls, "old-key") || !strings.Contains(ls, "6789") {
		t.Errorf("keys ls shows more than the last four characters, or less:\n%s", ls)
	}
	w.run(1, "worker", "keys", "check")
	worker := w.workerOf("openai")
	w.run(0, "enqueue", "text", "hello", "--provider", "openai")
	w.until("the old key to be refused", func() bool {
		return w.number(`SELECT count(*) FROM attempts WHERE error_kind = 'unauthorised'`) == 1
	})
	w.stdin = "sk-new-key-0123456789abcdefghijklmnopqrst6789\n"
	w.run(0, "worker", "keys", "set", "openai")
	w.until("the new key to be taken", func() bool { return strings.Contains(worker.log.String(), "key file has changed") })
	w.run(0, "worker", "keys", "check")
	w.run(0, "enqueue", "text", "hello again", "--provider", "openai", "--wait")
}
