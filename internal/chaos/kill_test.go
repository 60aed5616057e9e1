//go:build chaos

package chaos

import (
	"sync"
	"time"
)

// killWorkers kills one of three workers again and again while they work, and
// starts another in its place each time.
func killWorkers(w *world, jobs, kills int) {
	for range 3 {
		w.worker()
	}
	w.halves(jobs)
	var watching sync.WaitGroup
	for i := range kills {
		// Spread over the work, so that each finds some to destroy.
		w.progressed(time.Minute, int64(i*jobs*9/(kills*10)))
		w.pass(w.between(0, 300*time.Millisecond))
		running := w.alive()
		victim := running[w.intn(len(running))]
		w.hurt(w.plan.slots)
		victim.kill()
		died := time.Now()
		watching.Go(func() {
			took := w.takenOver(victim, died)
			w.recovered(took)
			if took > 30*time.Second {
				w.t.Errorf("a dead worker's jobs were taken over after %s, want 30 s at most", took)
			}
		})
		w.worker()
	}
	watching.Wait()
}
