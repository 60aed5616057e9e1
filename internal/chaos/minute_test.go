package chaos

import (
	"sync"
	"testing"
	"time"
)

// TestAMinuteOfChaos is a bit of everything that breaks most, at once. The whole
// suite is `make chaos`.
func TestAMinuteOfChaos(t *testing.T) {
	t.Parallel()
	x := newExperiment(t, plan{latency: 300 * time.Millisecond})
	for range 3 {
		x.worker()
	}
	x.halves(900)
	x.progressed(time.Minute, 40)
	victim := x.alive()[x.intn(3)]
	x.hurt(x.plan.slots)
	victim.Kill()
	died := time.Now()
	var watching sync.WaitGroup
	watching.Go(func() { x.recovered(x.takenOver(victim, died)) })
	x.worker()
	x.phase("a worker is dead")
	flushRedis(x, 1, 0)
	x.phase("Redis is empty")
	cutCommits(x, 20, 0.3)
	x.phase("commits were cut")
	restartPostgres(x, 1, 0)
	x.phase("Postgres has crashed")
	hangPostgres(x, func() { x.pass(3 * time.Second) })
	killRedis(x, 1, 0)
	x.phase("Redis was killed")
	watching.Wait()
	x.assertConserved()
}
