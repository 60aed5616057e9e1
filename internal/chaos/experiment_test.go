package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/internal/devstack"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
	"oneflow/migrations"
)

const (
	canaryKey    = "canary-key-5ecret"
	canaryPrompt = "canary prompt about a yellow bird"
	model        = "gpt-4o-mini"
	concurrency  = 8 // calls at once of one worker
)

// plan describes an experiment.
type plan struct {
	latency time.Duration // of a provider call, ± a half; default 200 ms
	redis   []string      // lines of redis.conf
	timeout time.Duration // of a call; default 20 s
	drain   time.Duration // default 30 s
	slots   int           // calls at once of one worker; default concurrency
	faults  map[fakeprovider.Fault]float64
	// combined says that prompts are asked together, and some alone after that.
	combined bool
}

// experiment is the run of one scenario: a fleet on servers of its own, and what was done to it. The fleet's addresses are
// the servers' own, for the test and for producers; workers go through proxies.
type experiment struct {
	harness.Fleet
	t         *testing.T
	plan      plan
	rng       *rand.Rand
	pg, redis *devstack.Breakable
	provider  *fakeprovider.Server
	result    *outcome
	born      time.Time

	mu      sync.Mutex
	brought map[string]batch // by id
	workers []*worker
	arms    string // failpoints of producers
	flat    int64  // what each call costs, whatever was used; 0: by its tokens
	embeds  bool   // what is brought in now are texts to embed
}

// newExperiment starts servers.
func newExperiment(t *testing.T, p plan) *experiment {
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
	x := &experiment{
		Fleet: harness.Fleet{Dir: dir, Bin: release}, t: t, plan: p, rng: rand.New(rand.NewPCG(seed, 0)),
		brought: map[string]batch{}, result: &outcome{}, born: time.Now(),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs, call log and configuration are kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	x.provider, err = harness.Provider(fakeprovider.Config{
		CallLog: x.callLog(), Keep: 1 << 20, Seed: seed,
		Default: fakeprovider.Behaviour{
			Latency: fakeprovider.Latency{Distribution: fakeprovider.Uniform, Mean: p.latency, Spread: 0.5}, Faults: p.faults,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.provider.Close() })
	options := devstack.Options{Getenv: harness.Isolated}
	if x.pg, err = devstack.BreakablePostgres(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.pg.Close() })
	if x.redis, err = devstack.BreakableRedis(t.Context(), options, p.redis...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.redis.Close() })
	if _, err := migrations.Up(t.Context(), x.pg.URL); err != nil {
		t.Fatal(err)
	}
	x.DatabaseURL, x.RedisURL = x.pg.URL, x.redis.URL
	x.Env = []string{"OPENAI_API_KEY=" + canaryKey, "OPENAI_BASE_URL=" + x.provider.URL + "/openai/v1"}
	x.configure(model, "")
	return x
}

// configure writes the configuration with a model for texts, and further lines.
func (x *experiment) configure(model, further string) {
	x.t.Helper()
	err := x.Configure(fmt.Sprintf("artifacts: %s\nstate: %s\ncall_timeout: %s\ndrain: %s\nproviders:\n  openai: {limits: {rpm: 0}, concurrency: %d, models: {text: %s}}\n%s",
		filepath.Join(x.Dir, "artifacts"), filepath.Join(x.Dir, "state"), x.plan.timeout, x.plan.drain, x.plan.slots, model, further))
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *experiment) callLog() string { return filepath.Join(x.Dir, "calls.jsonl") }

// client talks to Redis itself. The caller closes it.
func (x *experiment) client() *redis.Client {
	client, err := harness.Redis(x.RedisURL)
	if err != nil {
		x.t.Fatal(err)
	}
	return client
}

// phase says in the test's log how far it is.
func (x *experiment) phase(what string) {
	x.t.Helper()
	x.t.Logf("%5.1f s: %s", time.Since(x.born).Seconds(), what)
}

// between is a random time.
func (x *experiment) between(lo, hi time.Duration) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	return lo + time.Duration(x.rng.Int64N(int64(hi-lo)))
}

func (x *experiment) intn(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rng.IntN(n)
}

// recovered keeps the longest recovery.
func (x *experiment) recovered(d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.result.recovery = max(x.result.recovery, d)
}

// hurt counts a fault, and the calls that it may have cost.
func (x *experiment) hurt(calls int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.result.faults++
	x.result.allowed += calls
}

// end ends a server.
func (x *experiment) end(b *devstack.Breakable, signal syscall.Signal) {
	x.t.Helper()
	if err := b.End(signal); err != nil {
		x.t.Fatal(err)
	}
}

// begin starts it again.
func (x *experiment) begin(b *devstack.Breakable) {
	x.t.Helper()
	if err := b.Start(x.t.Context()); err != nil {
		x.t.Fatal(err)
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
