package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"oneflow/internal/harness"
	"oneflow/internal/storetest"
	"oneflow/providers/mock"
)

// binaries is the folder with the built commands.
var binaries string

func TestMain(m *testing.M) { storetest.Main(built{m}) }

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
	if err := harness.Build(context.Background(), folder, []string{"-ldflags=-s"}); err != nil {
		panic(err) // returning would count as a run without failures
	}
	// Most of these tests wait most of their time: for a silence, a probe, a pause that a vendor asked for.
	flag.Parse()
	if at := flag.Lookup("test.parallel"); at.Value.String() == at.DefValue {
		if err := at.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	return b.tests.Run()
}

// system is the system under test: a fleet with a database, a Redis and a folder of its own.
type system struct {
	harness.Fleet
	t     *testing.T
	stdin string // of the next commands
}

// newSystem prepares a system; mockYAML are the settings of the mock provider.
func newSystem(t *testing.T, mockYAML string) *system {
	t.Helper()
	sut := &system{t: t, Fleet: harness.Fleet{
		Dir: t.TempDir(), Bin: binaries, DatabaseURL: storetest.Database(t), RedisURL: storetest.Redis(t),
		Env: []string{"OPENAI_API_KEY=" + canaryKey + "-openai", "ANTHROPIC_API_KEY=" + canaryKey + "-anthropic"},
	}}
	sut.configure(fmt.Sprintf("artifacts: %s\nproviders:\n  mock: {%s, mock: {call_log: %s}}\n", filepath.Join(sut.Dir, "artifacts"), mockYAML, sut.callLog()))
	t.Cleanup(sut.keepsSecrets)
	return sut
}

func (sut *system) configure(yaml string) {
	sut.t.Helper()
	if err := sut.Configure(yaml); err != nil {
		sut.t.Fatal(err)
	}
}

// keepsSecrets looks for the key that every command gets, and for the prompt that
// every test sends, in all that was written, in Redis, in metrics and in errors.
func (sut *system) keepsSecrets() {
	output, err := sut.Output()
	if err != nil {
		sut.t.Error(err)
	}
	stored := sut.redisText() + sut.text(`SELECT coalesce(string_agg(m::text, ' '), '') FROM provider_metrics m`) +
		sut.text(`SELECT coalesce(string_agg(error_message, ' '), '') FROM (SELECT error_message FROM job_states UNION ALL SELECT error_message FROM calls) e`)
	if err := harness.Leak(output+stored, canaryKey, canaryPrompt); err != nil {
		sut.t.Error(err)
	}
}

func (sut *system) callLog() string { return filepath.Join(sut.Dir, "calls.jsonl") }

// run runs a command to its end and returns stdout; it fails the test unless the
// exit code is want.
func (sut *system) run(want int, name string, args ...string) string {
	sut.t.Helper()
	c := harness.Command{Name: name, Args: args, Stdin: strings.NewReader(sut.stdin)}
	r, err := sut.Run(sut.t.Context(), c)
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		sut.t.Fatal(err)
	}
	if got := r.State.ExitCode(); got != want {
		sut.t.Fatalf("%s: exit code %d, want %d\n%s%s", c, got, want, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// decode runs a command that prints one JSON object.
func decode[T any](sut *system, name string, args ...string) T {
	sut.t.Helper()
	var v T
	out := sut.run(0, name, args...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		sut.t.Fatalf("%s %s: %v in %s", name, strings.Join(args, " "), err, out)
	}
	return v
}

// worker starts a worker for the mock provider.
func (sut *system) worker() *harness.Process { return sut.workerOf("mock") }

// workerOf starts a worker for those providers.
func (sut *system) workerOf(providers ...string) *harness.Process {
	sut.t.Helper()
	p, err := sut.Worker(sut.t.Context(), providers...)
	return sut.watched(p, err)
}

// background starts a command.
func (sut *system) background(name string, args ...string) *harness.Process {
	sut.t.Helper()
	p, err := sut.Start(sut.t.Context(), harness.Command{Name: name, Args: args})
	return sut.watched(p, err)
}

// watched ends a process with the test, and shows its log if that failed.
func (sut *system) watched(p *harness.Process, err error) *harness.Process {
	sut.t.Helper()
	if err != nil {
		sut.t.Fatal(err)
	}
	sut.t.Cleanup(func() {
		p.Kill()
		if sut.t.Failed() {
			sut.t.Logf("%s:\n%s", filepath.Base(p.Log), p.Text())
		}
	})
	return p
}

// stop sends a signal and waits for the end.
func stop(p *harness.Process, sig syscall.Signal) error {
	p.Signal(sig)
	return p.Wait()
}

// calls reads the mock's own log of the calls it received.
func (sut *system) calls() (begun, ended []mock.LogLine) {
	sut.t.Helper()
	lines, err := harness.ReadLog[mock.LogLine](sut.callLog())
	if err != nil {
		sut.t.Fatal(err)
	}
	for _, l := range lines {
		if l.Event == "begin" {
			begun = append(begun, l)
		} else {
			ended = append(ended, l)
		}
	}
	return begun, ended
}

// until polls until done, for what only another process can tell.
func (sut *system) until(what string, done func() bool) {
	sut.t.Helper()
	sut.untilWithin(90*time.Second, what, done)
}

// untilWithin polls until done, for a time.
func (sut *system) untilWithin(limit time.Duration, what string, done func() bool) {
	sut.t.Helper()
	ctx, cancel := context.WithTimeout(sut.t.Context(), limit)
	defer cancel()
	if err := harness.Until(ctx, 20*time.Millisecond, what, func() (bool, error) { return done(), nil }); err != nil {
		sut.t.Fatal(err)
	}
}

// number asks the database for one number.
func (sut *system) number(sql string, args ...any) int64 {
	sut.t.Helper()
	return query[int64](sut, sql, args...)
}

// text asks the database for one text.
func (sut *system) text(sql string) string {
	sut.t.Helper()
	return query[string](sut, sql)
}

func query[T any](sut *system, sql string, args ...any) T {
	sut.t.Helper()
	v, err := harness.Query[T](context.WithoutCancel(sut.t.Context()), sut.DatabaseURL, sql, args...) // in a cleanup too
	if err != nil {
		sut.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// redisText is everything in Redis.
func (sut *system) redisText() string {
	sut.t.Helper()
	text, err := harness.RedisText(context.WithoutCancel(sut.t.Context()), sut.RedisURL) // in a cleanup too
	if err != nil {
		sut.t.Error(err)
	}
	return text
}

// file writes a file of rows.
func (sut *system) file(name string, rows []map[string]any) string {
	sut.t.Helper()
	var b bytes.Buffer
	for _, r := range rows {
		if err := json.NewEncoder(&b).Encode(r); err != nil {
			sut.t.Fatal(err)
		}
	}
	path := filepath.Join(sut.Dir, name)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		sut.t.Fatal(err)
	}
	return path
}
