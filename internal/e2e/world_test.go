package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/internal/storetest"
	"oneflow/providers/mock"
)

// binaries is the folder with the built commands.
var binaries string

func TestMain(m *testing.M) { storetest.Wrap(built{m}).Run() }

// built builds the commands before the tests run.
type built struct{ tests *testing.M }

// Run implements storetest.Runner.
func (b built) Run() int {
	folder, err := os.MkdirTemp("", "oneflow-e2e-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binaries = folder
	build := exec.CommandContext(context.Background(), "go", "build", "-o", folder, "oneflow/cmd/...")
	if out, err := build.CombinedOutput(); err != nil {
		// Returning would count as a run without failures.
		panic(fmt.Sprintf("build the commands: %v\n%s", err, out))
	}
	return b.tests.Run()
}

// world is one test's own database, Redis and folder.
type world struct {
	t           *testing.T
	dir         string
	databaseURL string
	redisURL    string
	config      string
	env         []string // further variables
	stdin       string

	mu   sync.Mutex
	said []fmt.Stringer // all that the commands wrote
}

// newWorld prepares a world; mockYAML are the settings of the mock provider.
func newWorld(t *testing.T, mockYAML string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), databaseURL: storetest.Database(t), redisURL: storetest.Redis(t)}
	w.config = filepath.Join(w.dir, "oneflow.yaml")
	text := fmt.Sprintf("artifacts: %s\nproviders:\n  mock: {%s, mock: {call_log: %s}}\n", filepath.Join(w.dir, "artifacts"), mockYAML, w.callLog())
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.keepsSecrets)
	return w
}

// keepsSecrets looks for the key that every command gets, and for the prompt that
// every test sends, in all that was written, in Redis, in metrics and in errors.
func (w *world) keepsSecrets() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, s := range w.said {
		b.WriteString(s.String())
	}
	b.WriteString(redisText(w.t, w))
	b.WriteString(w.text(`SELECT coalesce(string_agg(m::text, ' '), '') FROM provider_metrics m`))
	b.WriteString(w.text(`SELECT coalesce(string_agg(error_message, ' '), '') FROM (SELECT error_message FROM jobs UNION ALL SELECT error_message FROM attempts) e`))
	all := b.String()
	for _, secret := range []string{canaryKey, canaryPrompt} {
		if i := strings.Index(all, secret); i >= 0 {
			w.t.Errorf("%q got out: …%s…", secret, all[max(0, i-200):min(len(all), i+200)])
		}
	}
}

// hears keeps what a command writes, for keepsSecrets.
func (w *world) hears(s fmt.Stringer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, s)
}

func (w *world) callLog() string { return filepath.Join(w.dir, "calls.jsonl") }

func (w *world) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(binaries, name), args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "DATABASE_URL="+w.databaseURL, "REDIS_URL="+w.redisURL, "ONEFLOW_CONFIG="+w.config,
		"OPENAI_API_KEY="+canaryKey+"-openai", "ANTHROPIC_API_KEY="+canaryKey+"-anthropic")
	cmd.Env = append(cmd.Env, w.env...)
	cmd.Stdin = strings.NewReader(w.stdin)
	return cmd
}

// run runs a command to its end and returns stdout; it fails the test unless the
// exit code is want.
func (w *world) run(want int, name string, args ...string) string {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := w.command(name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	w.hears(&stdout)
	w.hears(&stderr)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		w.t.Fatalf("%s %s: exit code %d, want %d\n%s%s", name, strings.Join(args, " "), got, want, &stdout, &stderr)
	}
	return stdout.String()
}

// decode runs a command that prints one JSON object.
func decode[T any](w *world, name string, args ...string) T {
	w.t.Helper()
	var v T
	out := w.run(0, name, args...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		w.t.Fatalf("%s %s: %v in %s", name, strings.Join(args, " "), err, out)
	}
	return v
}

// process is a command that runs in the background.
type process struct {
	cmd  *exec.Cmd
	done chan error
	log  *lines
}

// lines keeps what a process writes.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was written so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// worker starts a worker for the mock provider.
func (w *world) worker() *process { return w.workerOf("mock") }

// workerOf starts a worker for those providers.
func (w *world) workerOf(providers ...string) *process {
	args := []string{"run"}
	for _, p := range providers {
		args = append(args, "--provider", p)
	}
	return w.background("worker", args...)
}

// background starts a command; it is killed at the end of the test if it still
// runs.
func (w *world) background(name string, args ...string) *process {
	w.t.Helper()
	p := &process{cmd: w.command(name, args...), done: make(chan error, 1), log: &lines{}}
	p.cmd.Stderr = p.log
	w.hears(p.log)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", name, p.log)
		}
	})
	return p
}

// stop sends a signal and waits for the end.
func (p *process) stop(t *testing.T, sig syscall.Signal) error {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := <-p.done
	p.done <- err
	return err
}

// calls reads the mock's own log of the calls it received.
func (w *world) calls() (begun, ended []mock.LogLine) {
	w.t.Helper()
	f, err := os.Open(w.callLog())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		var l mock.LogLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			w.t.Fatalf("call log: %v in %q", err, s.Text())
		}
		if l.Event == "begin" {
			begun = append(begun, l)
		} else {
			ended = append(ended, l)
		}
	}
	return begun, ended
}

// until polls until done, for what only another process can tell.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 90*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("waited in vain for: %s", what)
		case <-tick.C:
		}
	}
}

// number asks the database for one number.
func (w *world) number(sql string, args ...any) int64 {
	w.t.Helper()
	ctx := context.WithoutCancel(w.t.Context()) // in a cleanup too
	conn, err := pgx.Connect(ctx, w.databaseURL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var n int64
	if err := conn.QueryRow(ctx, sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// file writes a file of rows.
func (w *world) file(name string, rows []map[string]any) string {
	w.t.Helper()
	var b bytes.Buffer
	for _, r := range rows {
		if err := json.NewEncoder(&b).Encode(r); err != nil {
			w.t.Fatal(err)
		}
	}
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}
