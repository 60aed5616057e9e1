package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/monitor"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

// command is one run of the command, with its exit code.
type command struct {
	env      map[string]string
	out, err output
}

func (c *command) run(ctx context.Context, args ...string) int {
	env := cli.Env{In: strings.NewReader(""), Out: &c.out, Err: &c.err, Getenv: func(name string) string { return c.env[name] }}
	return cli.Code("monitor", &c.err, run(ctx, args, env))
}

// output is written by the command while a test reads it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func TestUnsafeAndWrongUse(t *testing.T) {
	t.Parallel()
	short := map[string]string{tokenVariable: "ada"}
	empty := "--redis-url=redis://127.0.0.1:1 --database-url=" + storetest.Database(t)
	for _, c := range []struct {
		args string
		env  map[string]string
		code int
		says string
	}{
		{"serve --listen 0.0.0.0:0 " + empty, nil, cli.Unsafe, "monitor token create"},
		{"serve --listen :0 " + empty, nil, cli.Unsafe, "ONEFLOW_MONITOR_TOKEN"},
		{"serve --listen [::]:0 " + empty, nil, cli.Unsafe, "127.0.0.1"},
		{"serve --listen 192.0.2.1:80 " + empty, nil, cli.Unsafe, "other machines"},
		{"serve --listen 127.0.0.1:0", short, cli.Usage, "at least 20 characters"},
		{"serve --listen 8080", nil, cli.Usage, "HOST:PORT"},
		{"serve --listen 127.0.0.1:http:x", nil, cli.Usage, "HOST:PORT"},
		{"serve --base-path one/flow --listen 127.0.0.1:0", nil, cli.Usage, "--base-path: \"one/flow\""},
		{"serve --redis-url= --listen 127.0.0.1:0", nil, cli.Usage, "REDIS_URL"},
		{"serve --redis-url=redis://127.0.0.1:1 --database-url= --listen 127.0.0.1:0", nil, cli.Usage, "DATABASE_URL"},
		{"status --config no-such-file.yaml " + empty, nil, cli.Usage, "--config: stat no-such-file.yaml: no such file or directory"},
		{"status -o yaml", nil, cli.Usage, "--help"},
		{"nothing", nil, cli.Usage, "--help"},
	} {
		cmd := &command{env: c.env}
		if code := cmd.run(t.Context(), strings.Fields(c.args)...); code != c.code || !strings.Contains(cmd.err.String(), c.says) {
			t.Errorf("monitor %s: exit code %d, %s", c.args, code, cmd.err.String())
		}
	}
}

func TestServeUntilTheSignal(t *testing.T) {
	t.Parallel()
	cmd := &command{env: map[string]string{tokenVariable: "a-token-of-the-environment"}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	go func() {
		code <- cmd.run(ctx, "serve", "--listen", "0.0.0.0:0", "--database-url", storetest.Database(t), "--redis-url", storetest.Redis(t))
	}()
	url := regexp.MustCompile(`http://\S+:(\d+)/`)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for url.FindString(cmd.err.String()) == "" {
		select {
		case c := <-code:
			t.Fatalf("ended with %d: %s", c, cmd.err.String())
		case <-tick.C:
		}
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	base := "http://127.0.0.1:" + url.FindStringSubmatch(cmd.err.String())[1]
	for path, want := range map[string]int{"/readyz": 200, "/": 401} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.Body.Close() != nil || answer.StatusCode != want {
			t.Errorf("%s: %d %s %v", path, answer.StatusCode, body, err)
		}
	}
	stop()
	if c := <-code; c != cli.OK {
		t.Errorf("exit code %d: %s", c, cmd.err.String())
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	url := storetest.Database(t)
	table := func() string {
		t.Helper()
		cmd := &command{}
		if code := cmd.run(t.Context(), "status", "--database-url", url); code != cli.OK {
			t.Fatalf("exit code %d: %s", code, cmd.err.String())
		}
		return cmd.out.String()
	}
	for _, want := range []string{"unfinished jobs  0, 0 running", "start a worker with `worker run`", "enqueue batch prompts.jsonl --watch"} {
		if got := table(); !strings.Contains(got, want) {
			t.Errorf("an empty database does not say %q:\n%s", want, got)
		}
	}

	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Register(t.Context(), worker.Presence{ID: jobs.NewID(), Host: "alpha", PID: 7, Providers: []worker.Served{{Name: "mock", Kind: "mock", Limits: providers.Limits{RPM: 1500}, Concurrency: 3}}})
	if err == nil {
		err = db.OpenBatch(t.Context(), jobs.Batch{ID: "b-1", Account: "default", Source: "a\x1b[31m\tfile"})
	}
	if err != nil {
		t.Fatal(err)
	}
	got := table()
	for _, want := range []string{"mock      available  1,500/min  1", "alpha   7    alive  0        mock", "b-1    a?[31m?file  open   0/0   0"} {
		if !strings.Contains(got, want) {
			t.Errorf("the table lacks %q:\n%s", want, got)
		}
	}

	cmd := &command{}
	if code := cmd.run(t.Context(), "status", "-o", "json", "--database-url", url); code != cli.OK {
		t.Fatalf("exit code %d: %s", code, cmd.err.String())
	}
	var o monitor.Overview
	if err := json.Unmarshal([]byte(cmd.out.String()), &o); err != nil || len(o.Batches) != 1 || o.Batches[0].ID != "b-1" || o.Alive() != 1 {
		t.Errorf("%v: %s", err, cmd.out.String())
	}
}
