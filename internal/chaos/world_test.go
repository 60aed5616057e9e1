package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"oneflow/internal/devstack"
	"oneflow/internal/fakeprovider"
	"oneflow/migrations"
)

const (
	canaryKey    = "canary-key-5ecret"
	canaryPrompt = "canary prompt about a yellow bird"
	model        = "gpt-4o-mini"
	concurrency  = 8 // calls at once of one worker
)

// plan is what a world is made of.
type plan struct {
	latency time.Duration // of a provider call, ± a half; default 200 ms
	redis   []string      // lines of redis.conf
	timeout time.Duration // of a call; default 20 s
	drain   time.Duration // default 30 s
	slots   int           // calls at once of one worker; default concurrency
	faults  map[fakeprovider.Fault]float64
}

// world is one scenario's own servers, provider, commands and folder.
type world struct {
	t    *testing.T
	plan plan
	rng  *rand.Rand
	dir  string
	// The servers' own addresses, for the test and for producers; workers go
	// through proxies.
	pg, redis *devstack.Breakable
	provider  *fakeprovider.Server
	result    *outcome
	born      time.Time

	mu      sync.Mutex
	brought map[string]batch // by id
	workers []*worker
	said    []*os.File // all that the commands wrote
	number  int
	arms    string // failpoints of producers
}

// batch is what a producer was told.
type batch struct {
	accepted  int
	onUnknown string
}

// newWorld starts servers.
func newWorld(t *testing.T, p plan) *world {
	t.Helper()
	seed := seedOf(t)
	if p.latency == 0 {
		p.latency = 200 * time.Millisecond
	}
	if p.slots == 0 {
		p.slots = concurrency
	}
	if p.timeout == 0 {
		p.timeout = 20 * time.Second
	}
	if p.drain == 0 {
		p.drain = 30 * time.Second
	}
	dir, err := os.MkdirTemp("", "oneflow-chaos-") //nolint:usetesting // kept where the test fails
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, plan: p, rng: rand.New(rand.NewPCG(seed, 0)), dir: dir, brought: map[string]batch{}, result: &outcome{}, born: time.Now()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs, call log and configuration are kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	w.provider, err = fakeprovider.New(fakeprovider.Config{
		CallLog: w.callLog(), Keep: 1 << 20, Seed: seed,
		Default: fakeprovider.Behaviour{
			Latency: fakeprovider.Latency{Distribution: fakeprovider.Uniform, Mean: p.latency, Spread: 0.5}, Faults: p.faults,
		},
	})
	if err == nil {
		err = w.provider.Start("")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.provider.Close() })
	options := devstack.Options{Getenv: func(name string) string {
		if name == "DATABASE_URL" || name == "REDIS_URL" {
			return "" // these servers are to be broken
		}
		return os.Getenv(name)
	}}
	if w.pg, err = devstack.BreakablePostgres(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.pg.Close() })
	if w.redis, err = devstack.BreakableRedis(t.Context(), options, p.redis...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.redis.Close() })
	if _, err := migrations.Up(t.Context(), w.pg.URL); err != nil {
		t.Fatal(err)
	}
	w.configure()
	return w
}

func (w *world) callLog() string { return filepath.Join(w.dir, "calls.jsonl") }

func (w *world) configure() {
	text := fmt.Sprintf("artifacts: %s\nstate: %s\ncall_timeout: %s\ndrain: %s\nproviders:\n  openai: {limits: {rpm: 0}, concurrency: %d, models: {text: %s}}\n",
		filepath.Join(w.dir, "artifacts"), filepath.Join(w.dir, "state"), w.plan.timeout, w.plan.drain, w.plan.slots, model)
	if err := os.WriteFile(filepath.Join(w.dir, "oneflow.yaml"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// command prepares a command on those servers. What it writes to stderr is kept.
func (w *world) command(folder, name, pg, redis, provider string, args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(folder, name), args...)
	cmd.Dir = w.dir
	cmd.SysProcAttr = tied()
	cmd.Env = append(os.Environ(), "DATABASE_URL="+pg, "REDIS_URL="+redis, "ONEFLOW_CONFIG="+filepath.Join(w.dir, "oneflow.yaml"),
		"OPENAI_API_KEY="+canaryKey, "ANTHROPIC_API_KEY=", "OPENAI_BASE_URL="+provider+"/openai/v1", "GOTRACEBACK=all")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	log, err := os.Create(filepath.Join(w.dir, fmt.Sprintf("%02d-%s.log", w.number, name)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = log.Close() })
	cmd.Stderr = log
	w.said = append(w.said, log)
	return cmd
}

// report is what `enqueue batch -o json` prints.
type report struct {
	BatchID    string `json:"batch_id"`
	Accepted   int    `json:"accepted"`
	Duplicates int    `json:"duplicates"`
}

// enqueue brings n jobs in, and fails the test if not all were accepted.
func (w *world) enqueue(id string, n int, onUnknown string, flags ...string) {
	w.t.Helper()
	rep, err := w.tryEnqueue(release, id, n, onUnknown, flags...)
	if err != nil {
		w.t.Fatal(err)
	}
	if rep.Accepted != n {
		w.t.Fatalf("enqueue %s: %d of %d jobs were accepted", id, rep.Accepted, n)
	}
}

// halves brings n jobs in: half of them may be sent again after an unknown
// outcome, half may not.
func (w *world) halves(n int, flags ...string) {
	w.t.Helper()
	w.enqueue("again", n/2, "retry", flags...)
	w.enqueue("never", n-n/2, "fail", flags...)
}

// tryEnqueue runs `enqueue batch` and keeps what it was told.
func (w *world) tryEnqueue(folder, id string, n int, onUnknown string, flags ...string) (report, error) {
	var rows bytes.Buffer
	for i := range n {
		row := map[string]any{"custom_id": fmt.Sprintf("r%d", i), "prompt": fmt.Sprintf("%s: %s/r%d.", canaryPrompt, id, i), "max_tokens": 20}
		if err := json.NewEncoder(&rows).Encode(row); err != nil {
			return report{}, err
		}
	}
	w.mu.Lock()
	w.brought[id] = batch{w.brought[id].accepted, onUnknown}
	w.mu.Unlock()
	args := append([]string{"batch", "-", "--provider", "openai", "--batch-id", id, "--on-unknown", onUnknown, "-o", "json"}, flags...)
	cmd := w.command(folder, "enqueue", w.pg.URL, w.redis.URL, w.provider.URL, args...)
	cmd.Env = append(cmd.Env, "ONEFLOW_FAILPOINTS="+w.arms)
	cmd.Stdin = &rows
	out, err := cmd.Output()
	var rep report
	if decodeErr := json.Unmarshal(out, &rep); decodeErr == nil {
		w.mu.Lock()
		b := w.brought[id]
		b.accepted, b.onUnknown = max(b.accepted, rep.Accepted+rep.Duplicates), onUnknown
		w.brought[id] = b
		w.mu.Unlock()
	}
	if err != nil {
		err = fmt.Errorf("enqueue %s: %w", id, err)
	}
	return rep, err
}

// accepted is how many jobs producers were told are accepted.
func (w *world) accepted() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := 0
	for _, b := range w.brought {
		sum += b.accepted
	}
	return int64(sum)
}

// ask asks Postgres for one value. It fails while Postgres is away.
func ask[T any](w *world, sql string, args ...any) (v T, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.pg.URL)
	if err != nil {
		return v, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, sql, args...).Scan(&v)
	return v, err
}

// count is ask for a number, which must work.
func (w *world) count(sql string, args ...any) int64 {
	w.t.Helper()
	n, err := ask[int64](w, sql, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// client talks to Redis itself. The caller closes it.
func (w *world) client() *redis.Client {
	opts, err := redis.ParseURL(w.redis.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(opts)
}

// until polls until done, for at most limit; then it ends the test.
func (w *world) until(limit time.Duration, what string, done func() bool) {
	w.t.Helper()
	if !w.wait(limit, what, done) {
		w.t.FailNow()
	}
}

// wait is until for goroutines beside the test's own, which may not end it.
func (w *world) wait(limit time.Duration, what string, done func() bool) bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			states, err := ask[string](w, `SELECT coalesce(string_agg(state || ' ' || n, ', '), 'none') FROM (SELECT state, count(*) AS n FROM jobs GROUP BY state) s`)
			w.t.Errorf("waited %s in vain for: %s (jobs: %s %v)", limit, what, states, err)
			return false
		case <-tick.C:
		}
	}
	return true
}

// phase says in the test's log how far it is.
func (w *world) phase(what string) {
	w.t.Helper()
	w.t.Logf("%5.1f s: %s", time.Since(w.born).Seconds(), what)
}

// pass lets time pass: the length of an outage.
func (w *world) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.t.Context().Done():
	}
}

// between is a random time.
func (w *world) between(lo, hi time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)))
}

func (w *world) intn(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// drained waits until all jobs have ended. What takes long is shown.
func (w *world) drained(limit time.Duration) {
	w.t.Helper()
	show := time.Now().Add(45 * time.Second)
	w.until(limit, "all jobs to end", func() bool {
		n, err := ask[int64](w, `SELECT count(*) FROM jobs WHERE finished_at IS NULL`)
		if err == nil && n > 0 && time.Now().After(show) {
			show = show.Add(time.Hour)
			w.t.Log(w.waiting())
		}
		return err == nil && n == 0
	})
}

// waiting describes one of the jobs that have not ended, as Postgres and Redis see it.
func (w *world) waiting() string {
	var id, row string
	err := w.row(`
		SELECT id::text || '-' || gen, (to_jsonb(j) - 'request' - 'content_sha256')::text
		FROM jobs j
		WHERE finished_at IS NULL
		ORDER BY id
		LIMIT 1`, &id, &row)
	if err != nil {
		return err.Error()
	}
	client := w.client()
	defer func() { _ = client.Close() }()
	ctx := context.WithoutCancel(w.t.Context())
	queue := "asynq:{openai.bulk}:"
	task := client.HGet(ctx, queue+"t:"+id, "state").Val()
	lease := client.ZScore(ctx, queue+"lease", id).Val()
	return fmt.Sprintf("%s: %s; in Redis: state %q, lease until %s", id, row, task, time.Unix(int64(lease), 0).UTC().Format(time.TimeOnly))
}

// row asks Postgres for one row.
func (w *world) row(sql string, into ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.pg.URL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return conn.QueryRow(ctx, sql).Scan(into...)
}

// progressed waits until as many jobs have ended.
func (w *world) progressed(limit time.Duration, n int64) {
	w.t.Helper()
	w.until(limit, fmt.Sprintf("%d jobs to end", n), func() bool {
		got, err := ask[int64](w, `SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL`)
		return err == nil && got >= n
	})
}

// workFrom waits until ten calls that began after t have brought a result, or all
// jobs have ended, and returns how long after t that was.
func (w *world) workFrom(t time.Time) time.Duration {
	w.t.Helper()
	w.until(2*time.Minute, "results after the outage", func() bool {
		done, err := ask[bool](w, `
			SELECT (SELECT count(*) >= 10 FROM attempts WHERE state = 'succeeded' AND started_at > $1)
				OR NOT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL)`, t)
		return err == nil && done
	})
	return time.Since(t)
}

// recovered keeps the longest recovery.
func (w *world) recovered(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.recovery = max(w.result.recovery, d)
}

// hurt counts a fault, and the calls that it may have cost.
func (w *world) hurt(calls int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.faults++
	w.result.allowed += calls
}

// end ends a server.
func (w *world) end(b *devstack.Breakable, signal syscall.Signal) {
	w.t.Helper()
	if err := b.End(signal); err != nil {
		w.t.Fatal(err)
	}
}

// begin starts it again.
func (w *world) begin(b *devstack.Breakable) {
	w.t.Helper()
	if err := b.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// worker is a worker process behind proxies of its own.
type worker struct {
	w                   *world
	cmd                 *exec.Cmd
	log                 string
	pg, redis, provider *proxy
	commits             *commits
	done                chan struct{}
	err                 error
	born                time.Time
}

// worker starts a worker.
func (w *world) worker() *worker { return w.workerOf(release) }

// workerOf starts a worker of the commands in a folder.
func (w *world) workerOf(folder string, env ...string) *worker {
	w.t.Helper()
	k := &worker{w: w, done: make(chan struct{}), born: time.Now(), commits: newCommits(rand.New(rand.NewPCG(uint64(w.intn(1<<32)), 1)))}
	k.pg = newProxy(w.t, "127.0.0.1:"+w.pg.Port())
	k.pg.through(k.commits.forward)
	k.redis = newProxy(w.t, "127.0.0.1:"+w.redis.Port())
	k.provider = newProxy(w.t, strings.TrimPrefix(w.provider.URL, "http://"))
	through := func(url, port string, p *proxy) string { return strings.Replace(url, "127.0.0.1:"+port, p.addr, 1) }
	k.cmd = w.command(folder, "worker", through(w.pg.URL, w.pg.Port(), k.pg), through(w.redis.URL, w.redis.Port(), k.redis),
		"http://"+k.provider.addr, "run", "--provider", "openai")
	k.cmd.Env = append(k.cmd.Env, env...)
	k.log = k.cmd.Stderr.(*os.File).Name()
	if err := start(k.cmd, func(err error) { k.err = err; close(k.done) }); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.workers = append(w.workers, k)
	w.mu.Unlock()
	w.t.Cleanup(func() { k.kill() })
	return k
}

// ready waits until the worker has started.
func (k *worker) ready() *worker {
	k.w.t.Helper()
	k.w.until(time.Minute, "a worker to start", func() bool { return strings.Contains(k.text(), "worker started") })
	return k
}

// text is all that the worker has written.
func (k *worker) text() string {
	data, err := os.ReadFile(k.log)
	if err != nil {
		return ""
	}
	return string(data)
}

// kill is kill -9.
func (k *worker) kill() {
	_ = k.cmd.Process.Kill() // it may be gone already
	<-k.done
}

// living tells whether it runs.
func (k *worker) living() bool {
	select {
	case <-k.done:
		return false
	default:
		return true
	}
}

// stop asks it to stop, and fails the test if it does not end in time and well.
func (k *worker) stop() {
	k.w.t.Helper()
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-k.done:
		if k.err != nil {
			k.w.t.Errorf("a worker ended with %v: see %s", k.err, k.log)
		}
	case <-time.After(time.Minute):
		k.w.t.Errorf("a worker did not end within a minute of SIGTERM: see %s", k.log)
		k.kill()
	}
}

// files is how many file descriptors it has; 0 where the system does not tell.
func (k *worker) files() int {
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(k.cmd.Process.Pid) + "/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// goroutines ends it with SIGQUIT, which makes Go list them.
func (k *worker) goroutines() int {
	_ = k.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-k.done:
	case <-time.After(20 * time.Second):
		k.kill()
	}
	return strings.Count(k.text(), "\ngoroutine ")
}

// alive are the workers that run, oldest first.
func (w *world) alive() []*worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*worker
	for _, k := range w.workers {
		if k.living() {
			out = append(out, k)
		}
	}
	return out
}

// seedOf prints the seed of a test.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d: repeat with -run '%s' -args -seed %d", seed, t.Name(), seed)
	return seed
}

// takenOver waits until nothing is in the name of a dead worker, and returns how
// long after its death that was.
func (w *world) takenOver(dead *worker, died time.Time) time.Duration {
	w.t.Helper()
	w.wait(time.Minute, "a dead worker's jobs to be taken over", func() bool {
		n, err := ask[int64](w, `
			SELECT count(*)
			FROM jobs
			WHERE state = 'running' AND worker_id IN (SELECT id FROM workers WHERE pid = $1)`, dead.cmd.Process.Pid)
		return err == nil && n == 0
	})
	return time.Since(died)
}
