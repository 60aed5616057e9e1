package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

func TestMain(m *testing.M) {
	if os.Getenv(measures) != "" {
		measure()
		return
	}
	var err error
	if commands, err = os.MkdirTemp("", "oneflow-enqueue-"); err != nil {
		panic(err)
	}
	storetest.Main(m)
	_ = os.RemoveAll(commands)
}

// canary stands in prompts: it must never be in what a command says of itself.
const canary = "the-canary-sings"

// site is a database and a Redis of a test's own.
type site struct {
	t        *testing.T
	database string
	redis    string
	pool     *pgxpool.Pool
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, database: storetest.Database(t), redis: storetest.Redis(t)}
	var err error
	if s.pool, err = pgxpool.New(t.Context(), s.database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	return s
}

// result holds exit code and output of a run.
type result struct {
	code     int
	out, err string
}

// enqueue runs the command on the site.
func (s *site) enqueue(args ...string) result {
	return s.run(s.t.Context(), strings.NewReader(""), args...)
}

func (s *site) run(ctx context.Context, in io.Reader, args ...string) result {
	s.t.Helper()
	return s.runOn(ctx, &screen{}, in, args...)
}

// left runs a command that watches, and interrupts it as soon as it says how far its jobs are.
func (s *site) left(args ...string) result {
	s.t.Helper()
	ctx, leave := context.WithCancel(s.t.Context())
	defer leave()
	return s.runOn(ctx, &screen{when: " done, ", then: leave}, strings.NewReader(""), args...)
}

func (s *site) runOn(ctx context.Context, errs *screen, in io.Reader, args ...string) result {
	s.t.Helper()
	r := commandOn(ctx, errs, in, append([]string{"--database-url", s.database, "--redis-url", s.redis, "--connect-timeout", "30s"}, args...)...)
	if strings.Contains(r.err, canary) {
		s.t.Errorf("%q tells the prompt: %s", args, r.err)
	}
	return r
}

// screen is a buffer that several goroutines may write to, as they may to a file.
type screen struct {
	// when is a text, and then what is done as soon as it was written.
	when string
	then func()

	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.text.Write(p)
	if s.then != nil && bytes.Contains(s.text.Bytes(), []byte(s.when)) {
		s.then()
		s.then = nil
	}
	return n, err
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func command(ctx context.Context, in io.Reader, args ...string) result {
	return commandOn(ctx, &screen{}, in, args...)
}

func commandOn(ctx context.Context, errs *screen, in io.Reader, args ...string) result {
	var out bytes.Buffer
	if !slices.Contains(args, "--config") {
		args = append([]string{"--config", "testdata/mock.yaml"}, args...)
	}
	code := cli.Code("enqueue", errs, run(ctx, args, cli.Env{In: in, Out: &out, Err: errs, Getenv: func(string) string { return "" }}))
	return result{code, out.String(), errs.String()}
}

// one reads a single value.
func one[T any](s *site, sql string, args ...any) T {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), sql, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s *site) jobs() int64 { return one[int64](s, `SELECT count(*) FROM jobs`) }

// until asks again and again, for at most a minute.
func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(end) {
			s.t.Fatalf("waited a minute until %s", what)
		}
	}
}

// finish does a worker's part for one job: it gives it an answer, or fails it.
func (s *site) finish(id, answer, failure string) {
	s.t.Helper()
	ctx := s.t.Context()
	db, err := store.Open(ctx, s.database)
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	worker, token, attempt, price := jobs.NewID(), jobs.NewID(), jobs.NewID(), billing.NanoUSD(1_500_000)
	claimed, err := db.Claim(ctx, worker, jobs.Claim{ID: uuid.MustParse(id), Gen: 1, LeaseToken: token})
	if err != nil || claimed.Job == nil {
		s.t.Fatalf("claim %s: %+v, %v", id, claimed, err)
	}
	call := jobs.Call{CallID: attempt, JobID: claimed.Job.ID, LeaseToken: token, Provider: "mock", Model: "mock-text", Reserved: &price, Timeout: time.Minute}
	if err := db.BeginCall(ctx, worker, call); err != nil {
		s.t.Fatal(err)
	}
	settled := jobs.Settlement{CallID: attempt, Outcome: jobs.CallSucceeded, Cost: &price, Latency: 42 * time.Millisecond, Status: 200, RequestID: "req_1", Usage: providers.Usage{InputTokens: 3, OutputTokens: 5}}
	if failure == "" {
		done := jobs.Success{
			JobID: claimed.Job.ID, LeaseToken: token, Settlement: settled,
			Response: providers.Response{Provider: "mock", Model: "mock-text", Text: answer, RequestID: "req_1", Status: 200, Latency: 42 * time.Millisecond, Raw: fmt.Appendf(nil, `{"text":%q}`, answer)},
		}
		cfg, err := config.Parse(nil, "defaults")
		if err != nil {
			s.t.Fatal(err)
		}
		steps := batches.Steps{Store: db, Input: cli.Input(cfg), Funds: func(context.Context, string) (f billing.Funds, least func(jobs.New) billing.NanoUSD, err error) {
			return f, func(jobs.New) billing.NanoUSD { return 0 }, nil
		}}
		next, err := steps.After(ctx, *claimed.Job)
		if err == nil && next != nil {
			done.Child = next(ctx, done.Response, nil)
		}
		if err := errors.Join(err, db.Succeed(ctx, done)); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	free := billing.NanoUSD(0)
	settled.Outcome, settled.Cost, settled.Kind, settled.Message = jobs.CallFailedUnbilled, &free, providers.Kind("auth"), failure
	if err := db.SettleCall(ctx, settled); err != nil {
		s.t.Fatal(err)
	}
	if _, err := db.Complete(ctx, jobs.Completion{JobID: claimed.Job.ID, LeaseToken: token, State: jobs.Failed, Class: "auth", Message: failure}); err != nil {
		s.t.Fatal(err)
	}
}

// file writes lines into a file of the test's own.
func file(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prompts.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lines are n different lines.
func lines(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"custom_id\":\"r%d\",\"prompt\":\"row %d %s\"}\n", from+i, from+i, canary)
	}
	return b.String()
}

// decoded reads text as one JSON object with nothing after it.
func decoded[T any](t *testing.T, text string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if rest, err := io.ReadAll(d.Buffered()); err != nil || len(bytes.TrimSpace(rest)) > 0 {
		t.Errorf("more than one object: %s", text)
	}
	return v
}

// closed is an address of this machine where nobody listens, nor will while a test runs.
const closed = "127.0.0.1:1"
