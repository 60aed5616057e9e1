//go:build chaos

package chaos

import (
	"time"

	"oneflow/internal/fakeprovider"
)

// wide is a plan under which tasks carry ten jobs and more.
func wide(faults map[fakeprovider.Fault]float64) plan {
	return plan{latency: 150 * time.Millisecond, slots: 100, faults: faults}
}

// chunkScenarios break what carries many jobs at once.
func chunkScenarios() []scenario {
	return []scenario{
		{"32 kill -9 one of 4 workers with chunks in hand, 5 times", wide(nil), func(x *experiment) {
			inChunks(x)
			killWorkers(x, 6000, 5)
		}},
		{"33 chunks whose jobs end in every way", wide(map[fakeprovider.Fault]float64{
			fakeprovider.Truncated: .03, fakeprovider.ResetBefore: .05, fakeprovider.ResetAfter: .03, fakeprovider.Garbage: .03,
			fakeprovider.ServerError: .04, fakeprovider.RateLimited: .002, // fewer than open the breaker
		}), func(x *experiment) {
			inChunks(x)
			load(x, 3, 2000)
		}},
		{"34 chunks lost by Redis 3 times", wide(nil), func(x *experiment) {
			inChunks(x)
			load(x, 3, 6000)
			flushRedis(x, 3, 1000)
		}},
		{"35 cancel races with chunks", wide(nil), func(x *experiment) {
			inChunks(x)
			cancelRaces(x)
		}},
		{"36 pause races with chunks", wide(nil), func(x *experiment) {
			inChunks(x)
			pauseRaces(x)
		}},
	}
}

// inChunks starts a worker and waits until it takes jobs in chunks, which it does once it
// knows from a few how long they take.
func inChunks(x *experiment) {
	x.t.Helper()
	x.worker()
	x.enqueue("before", 60, "retry")
	x.until(time.Minute, "tasks that carry many jobs", func() bool {
		size, err := ask[int](x, `SELECT greatest(0, (SELECT max(chunk_size) FROM providers), (SELECT max(chunk_size) FROM provider_models))`)
		return err == nil && size >= 10
	})
	x.phase("jobs go in chunks")
}
