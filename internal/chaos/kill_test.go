//go:build chaos

package chaos

import (
	"sync"
	"time"
)

// killWorkers kills one of three workers again and again while they work, and
// starts another in its place each time.
func killWorkers(x *experiment, jobs, kills int) {
	for range 3 {
		x.worker()
	}
	x.halves(jobs)
	var watching sync.WaitGroup
	for i := range kills {
		// Spread over the work, so that each finds some to destroy.
		x.progressed(time.Minute, int64(i*jobs*9/(kills*10)))
		x.pass(x.between(0, 300*time.Millisecond))
		running := x.alive()
		victim := running[x.intn(len(running))]
		x.hurt(x.plan.slots)
		victim.Kill()
		died := time.Now()
		watching.Go(func() {
			took := x.takenOver(victim, died)
			x.recovered(took)
			if took > 30*time.Second {
				x.t.Errorf("a dead worker's jobs were taken over after %s, want 30 s at most", took)
			}
		})
		x.worker()
	}
	watching.Wait()
}
