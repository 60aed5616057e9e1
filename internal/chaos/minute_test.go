package chaos

import (
	"testing"
	"time"
)

// TestAMinuteOfChaos is a bit of everything that breaks most, at once. The whole
// suite is `make chaos`.
func TestAMinuteOfChaos(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{latency: 300 * time.Millisecond})
	for range 3 {
		w.worker()
	}
	w.halves(900)
	w.progressed(time.Minute, 40)
	victim := w.alive()[w.intn(3)]
	w.hurt(w.plan.slots)
	victim.kill()
	died := time.Now()
	w.worker()
	w.phase("a worker is dead")
	flushRedis(w, 1, 0)
	w.phase("Redis is empty")
	cutCommits(w, 20, 0.3)
	w.phase("commits were cut")
	restartPostgres(w, 1, 0)
	w.phase("Postgres has crashed")
	hangPostgres(w, func() { w.pass(3 * time.Second) })
	killRedis(w, 1, 0)
	w.phase("Redis was killed")
	w.recovered(w.takenOver(victim, died))
	w.assertConserved()
}
