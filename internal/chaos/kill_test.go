//go:build chaos

package chaos

import "time"

// killWorkers kills one of three workers again and again while they work, and
// starts another in its place each time.
func killWorkers(w *world, jobs, kills int) {
	for range 3 {
		w.worker()
	}
	w.halves(jobs)
	var dead []*worker
	for i := range kills {
		// Spread over the work, so that each finds some to destroy.
		w.progressed(time.Minute, int64(i*jobs*9/(kills*10)))
		w.pass(w.between(0, 300*time.Millisecond))
		running := w.alive()
		victim := running[w.intn(len(running))]
		w.hurt(w.plan.slots)
		victim.kill()
		dead = append(dead, victim)
		w.worker()
	}
	// From the last death: each new leader begins to count the silence anew, so that
	// leaders that keep dying put the take-over off.
	last := time.Now()
	for _, victim := range dead {
		w.recovered(w.takenOver(victim, last))
	}
}
