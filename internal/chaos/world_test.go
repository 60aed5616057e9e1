package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

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

// client talks to Redis itself. The caller closes it.
func (w *world) client() *redis.Client {
	opts, err := redis.ParseURL(w.redis.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(opts)
}

// phase says in the test's log how far it is.
func (w *world) phase(what string) {
	w.t.Helper()
	w.t.Logf("%5.1f s: %s", time.Since(w.born).Seconds(), what)
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
