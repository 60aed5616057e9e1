//go:build chaos

package chaos

import (
	"strconv"
	"sync"
	"time"

	"oneflow/internal/fakeprovider"
)

// packScenarios break calls that serve many jobs each.
func packScenarios() []scenario {
	faults := map[fakeprovider.Fault]float64{
		fakeprovider.ServerError: .02, fakeprovider.Truncated: .02, fakeprovider.ResetAfter: .02, fakeprovider.Garbage: .01,
	}
	return []scenario{
		{"42 embeddings that share calls, one of 3 workers killed 5 times", plan{latency: 1500 * time.Millisecond, faults: faults}, func(x *experiment) {
			x.embeds = true
			killInPacks(x, 20_000, 200)
			x.embeds = false
		}},
		{"43 prompts that share calls, one of 3 workers killed 5 times", plan{latency: 1500 * time.Millisecond, faults: faults, combined: true}, func(x *experiment) {
			killInPacks(x, 4000, 20, "--combine", "20")
		}},
	}
}

// killInPacks kills one of three workers again and again in the middle of calls for up to so many
// jobs, and cancels batches of such jobs meanwhile.
func killInPacks(x *experiment, jobs, size int, flags ...string) {
	for range 3 {
		x.worker()
	}
	x.halves(jobs, flags...)
	var watching sync.WaitGroup
	for i := range 5 {
		cancelled := "cancelled" + strconv.Itoa(i)
		x.enqueue(cancelled, jobs/20, []string{"retry", "fail"}[i%2], flags...)
		x.progressed(2*time.Minute, int64(i*jobs*8/50))
		x.until(time.Minute, "calls to be under way", func() bool { return x.underWay() >= 4 })
		running := x.alive()
		victim := running[x.intn(len(running))]
		x.hurt(2 * x.plan.slots * size) // of a batch that is cancelled, too
		victim.Kill()
		died := time.Now()
		watching.Go(func() {
			took := x.takenOver(victim, died)
			x.recovered(took)
			if took > 30*time.Second {
				x.t.Errorf("a dead worker's jobs were taken over after %s, want 30 s at most", took)
			}
		})
		if !x.tell("cancel", cancelled) {
			x.t.Errorf("batch %s was not cancelled", cancelled)
		}
		x.worker()
	}
	watching.Wait()
	x.drained(4 * time.Minute)
	if n := x.count(`SELECT count(*) FROM (SELECT call_id FROM call_jobs GROUP BY call_id HAVING count(*) > 1) c`); n < 50 {
		x.t.Errorf("%d calls have served several jobs: this has shown nothing", n)
	}
	// What a call cost is split among its jobs, to the last nano-dollar, those that were cancelled included.
	if n := x.count(`
		SELECT count(*)
		FROM calls c
		WHERE (SELECT count(*) FROM call_jobs WHERE call_id = c.id) > 1
		AND cost_nano <> (SELECT sum(share_nano) FROM call_jobs WHERE call_id = c.id)`); n != 0 {
		x.t.Errorf("of %d calls the shares do not sum up to the cost", n)
	}
	if n := x.count(`SELECT count(*) FROM job_states WHERE batch_id LIKE 'cancelled%' AND state = 'cancelled'`); n == 0 {
		x.t.Error("no job was cancelled: this has shown nothing")
	}
	// Those that may not be sent again are lost with a worker, up to a call's worth each.
	if n := x.count(`SELECT count(*) FROM job_states WHERE state = 'succeeded' AND batch_id = 'again'`); n < int64(jobs/2)*9/10 {
		x.t.Errorf("%d of %d jobs have succeeded that may be sent again", n, jobs/2)
	}
}
