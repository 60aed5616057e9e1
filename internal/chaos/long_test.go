//go:build chaos

package chaos

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
)

// armed are the commands with failpoints, skewed a worker whose clock can be off.
var armed, skewed string

// builds are all commands that the suite needs.
func builds() map[string][]string {
	folder := filepath.Dir(release)
	_ = os.MkdirAll(folder, 0o700)
	armed, skewed = filepath.Join(folder, "armed"), filepath.Join(folder, "skewed")
	return map[string][]string{
		release: nil,
		armed:   {"-tags", "failpoints"},
		skewed:  {"-overlay", skewedClock(folder)},
	}
}

// scenario is one way to break things, and what it takes.
type scenario struct {
	name  string
	plan  plan
	steps func(x *experiment)
}

// TestChaos runs every scenario. The numbers keep the table in this order.
func TestChaos(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			x := newExperiment(t, s.plan)
			s.steps(x)
			x.assertConserved()
		})
	}
}

// scenarios begin with those that take longest.
func scenarios() []scenario {
	list := []scenario{
		{"01 kill -9 one of 3 workers 20 times", plan{latency: 400 * time.Millisecond}, func(x *experiment) { killWorkers(x, 2000, 20) }},
		{"02 poison jobs: panic, exit, out of memory", plan{}, poison},
		{"03 leader killed 10 times", plan{}, func(x *experiment) { killLeaders(x, 10) }},
		{"04 worker cut off from Redis 60 s", plan{}, func(x *experiment) {
			isolate(x, "Redis", 60*time.Second, 0, func(k *worker) []*proxy { return []*proxy{k.redis} })
		}},
		{"05 worker cut off from Postgres 60 s", plan{}, func(x *experiment) {
			isolate(x, "Postgres", 60*time.Second, x.plan.slots, func(k *worker) []*proxy { return []*proxy{k.pg} })
		}},
		{"06 worker cut off from all 60 s", plan{}, func(x *experiment) {
			isolate(x, "all", 60*time.Second, x.plan.slots, func(k *worker) []*proxy { return []*proxy{k.pg, k.redis, k.provider} })
		}},
		{"07 Postgres down 30 s", plan{}, func(x *experiment) { load(x, 3, 1000); restartPostgres(x, 1, 30*time.Second) }},
		{"08 Postgres restarted in immediate mode 5 times", plan{}, func(x *experiment) { load(x, 3, 1000); restartPostgres(x, 5, 0) }},
		{"09 connection cut around COMMIT 200 times", plan{latency: 100 * time.Millisecond}, func(x *experiment) { load(x, 4, 4000); cutCommits(x, 200, 0.5) }},
		{"10 Redis killed 5 times, no persistence", plan{}, func(x *experiment) { load(x, 3, 1000); killRedis(x, 5, 2*time.Second) }},
		{"11 Redis killed 5 times, AOF", plan{redis: []string{"appendonly yes"}}, func(x *experiment) { load(x, 3, 1000); killRedis(x, 5, 2*time.Second) }},
		{"12 Redis restored from a dump 10 s old", plan{}, restoreRedis},
		{"13 FLUSHALL 5 times", plan{}, func(x *experiment) { load(x, 3, 1000); flushRedis(x, 5, 100) }},
		{"14 Redis out of memory", plan{}, fillRedis},
		{"15 one clock 10 min ahead", plan{}, func(x *experiment) { wrongClock(x, 600) }},
		{"16 one clock 10 min behind", plan{}, func(x *experiment) { wrongClock(x, -600) }},
		{"17 provider hangs, trickles, truncates, resets, lies", plan{timeout: 5 * time.Second, faults: map[fakeprovider.Fault]float64{
			fakeprovider.Hang: .01, fakeprovider.Trickle: .02, fakeprovider.Truncated: .03, fakeprovider.ResetBefore: .03, fakeprovider.ResetAfter: .03,
			fakeprovider.Garbage: .03, fakeprovider.Empty: .03, fakeprovider.ServerError: .05, fakeprovider.BadGateway: .03, fakeprovider.RateLimited: .01,
		}}, func(x *experiment) { load(x, 3, 500) }},
		{"18 cancel races with enqueue, claims and calls", plan{}, cancelRaces},
		{"18 pause races with enqueue, claims and calls", plan{}, pauseRaces},
		{"19 SIGTERM with 200 calls in flight", plan{latency: 4 * time.Second, slots: 200}, func(x *experiment) { terminate(x, false) }},
		{"20 SIGTERM, and calls outlast the drain", plan{latency: 12 * time.Second, slots: 60, drain: 3 * time.Second}, func(x *experiment) { terminate(x, true) }},
		{"21 rolling restart of 3 workers", plan{}, rolling},
	}
	for i, place := range []string{"accepted", "claimed", "begun", "answered", "recorded"} {
		list = append(list, scenario{[]string{
			"22 crash: accepted, not enqueued",
			"23 crash: claimed",
			"24 crash: call written, not sent",
			"25 crash: answer received, not recorded",
			"26 crash: committed, not acknowledged",
		}[i], plan{}, func(x *experiment) { crashAt(x, place) }})
	}
	list = append(list, chunkScenarios()...)
	list = append(list, packScenarios()...)
	return append(list,
		scenario{"27 migration down and up under 200 jobs a second", plan{latency: 100 * time.Millisecond}, migrateUnderLoad},
		scenario{"28 Postgres' disk full 30 s", plan{}, fillDisk},
		scenario{"29 SIGTERM while Postgres is away, answers in hand", plan{latency: 2 * time.Second, drain: 2 * time.Second}, leaveWithout},
		scenario{"30 Postgres silent 30 s", plan{}, silencePostgres},
		scenario{"31 a budget and a wallet used up, one of 4 workers killed", plan{
			latency: 100 * time.Millisecond, slots: 50,
			faults: map[fakeprovider.Fault]float64{fakeprovider.ServerError: 0.2},
		}, exhaustBudget},
		scenario{"40 a tag's budget, --max-cost and --budget used up, one of 4 workers killed", plan{
			latency: 100 * time.Millisecond, slots: 50,
			faults: map[fakeprovider.Fault]float64{fakeprovider.ServerError: 0.2},
		}, exhaustCaps},
		scenario{"41 a budget of exactly 1,000 calls used up, one of 4 workers killed", plan{
			latency: 100 * time.Millisecond, slots: 50,
			faults: map[fakeprovider.Fault]float64{fakeprovider.ServerError: 0.2},
		}, exhaustExactly},
		scenario{
			"37 a pipeline of 3 steps and 2,000 rows, one of 3 workers killed 10 times",
			plan{latency: 300 * time.Millisecond, slots: 16},
			func(x *experiment) { killInPipeline(x, 2000, 10) },
		},
	)
}

// load starts workers and brings jobs in.
func load(x *experiment, workers, jobs int) {
	for range workers {
		x.worker()
	}
	x.halves(jobs)
	x.progressed(time.Minute, 20)
}
