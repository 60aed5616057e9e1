package e2e

import (
	"fmt"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
)

// TestTheRoomOfAllDeploymentsIsUsedWhileOneRefusesAndFails has a batch over two deployments with
// different limits, of which one answers 429 once and then 500 for a while.
func TestTheRoomOfAllDeploymentsIsUsedWhileOneRefusesAndFails(t *testing.T) {
	t.Parallel()
	// So slow that a busy machine uses the room too, and so long a block that it would show at the other.
	const jobs, asked, eastRPM, westRPM = 140, 12 * time.Second, 120, 240
	behaviour := func(rpm int) fakeprovider.Config {
		return fakeprovider.Config{Keep: 100_000, Default: fakeprovider.Behaviour{
			Latency: fakeprovider.Latency{Distribution: fakeprovider.Uniform, Mean: 50 * time.Millisecond, Spread: 0.5}, Limits: fakeprovider.Limits{Requests: rpm},
		}}
	}
	east, west := newVendors(t, behaviour(eastRPM)), newVendors(t, behaviour(westRPM))
	east.refuse, east.after = 4, asked
	sut := newSystem(t, "latency: 1ms")
	sut.configure(fmt.Sprintf(`providers:
  openai:
    latency: 50ms
    deployments:
      east: {base_url: %s/openai/v1, limits: {rpm: %d}}
      west: {base_url: %s/openai/v1, limits: {rpm: %d}}
`, east.url, eastRPM, west.url, westRPM))
	sut.Env = append(sut.Env, "OPENAI_EAST_API_KEY="+canaryKey+"-east", "OPENAI_WEST_API_KEY="+canaryKey+"-west")
	file := sut.texts(jobs)
	for range 2 {
		sut.workerOf("openai")
	}
	sut.run(0, "enqueue", "batch", file, "--batch-id", "spread", "--no-fallback")
	sut.until("calls after the refusal", func() bool { return len(east.Calls()) > 10 })
	east.Inject(fakeprovider.Injection{Fault: fakeprovider.ServerError, Times: 6})
	sut.run(0, "enqueue", "watch", "spread")

	seen := map[string]int{"east": len(east.calls), "west": len(west.calls)}
	took := west.calls[len(west.calls)-1].Sub(west.calls[0]).Seconds()
	t.Logf("calls %v in %.1f s", seen, took)
	if room := took * westRPM / 60; float64(seen["west"]) < 0.7*room {
		t.Errorf("%d calls to west, which had room for %.0f", seen["west"], room)
	}
	// Its room but for the block, with a while for what was under way then.
	if room := (took - asked.Seconds() - 1) * eastRPM / 60; float64(seen["east"]) < 0.5*room {
		t.Errorf("%d calls to east, which had room for %.0f", seen["east"], room)
	}
	for _, name := range []string{"east", "west"} {
		rows := sut.number(`SELECT count(*) FROM calls WHERE scope LIKE '%@` + name + `'`)
		if rows != int64(seen[name]) {
			t.Errorf("the ledger has %d calls at %s, which saw %d", rows, name, seen[name])
		}
	}
	for sql, want := range map[string]int64{
		`SELECT count(*) FROM job_states WHERE state = 'succeeded' AND attempt = 1`: jobs,
		`SELECT count(*) FROM calls WHERE cost_nano > 0`:                            jobs,
		`SELECT count(*) FROM calls WHERE state = 'unknown'`:                        0,
		`SELECT count(*) FROM calls WHERE error_kind = 'rate_limited'`:              1,
		`SELECT count(*) FROM calls WHERE state = 'failed_unbilled'`:                7,
	} {
		if n := sut.number(sql); n != want {
			t.Errorf("%s: %d, want %d", sql, n, want)
		}
	}
	// An answer is the provider's, wherever it was served.
	if n := sut.number(`SELECT count(DISTINCT provider) FROM results`); n != 1 {
		t.Errorf("results of %d providers", n)
	}
}
