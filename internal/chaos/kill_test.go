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

// takenOver waits until nothing is in the name of a dead worker, and returns how
// long after its death that was.
func (w *world) takenOver(dead *worker, died time.Time) time.Duration {
	w.t.Helper()
	w.wait(time.Minute, "a dead worker's jobs to be taken over", func() bool {
		n, err := ask[int64](w, `
			SELECT count(*)
			FROM jobs
			WHERE state = 'running' AND worker_id IN (SELECT id FROM workers WHERE pid = $1)`, dead.cmd.Process.Pid)
		return err == nil && n == 0
	})
	return time.Since(died)
}
