package chaos

import (
	"syscall"
	"time"
)

// restartPostgres stops Postgres in immediate mode, which breaks every connection
// and leaves the rest to crash recovery, and starts it again after the pause.
func restartPostgres(w *world, times int, pause time.Duration) {
	for i := range times {
		w.progressed(2*time.Minute, int64(20+i*60))
		w.pass(w.between(0, 500*time.Millisecond))
		w.hurt(0)
		w.end(w.pg, syscall.SIGQUIT)
		w.pass(pause)
		w.begin(w.pg)
		w.recovered(w.workFrom(time.Now()))
	}
}

// cutCommits cuts connections to Postgres around so many commits, half of them
// before and half after. No call may be repeated for it: what was committed is
// read back.
func cutCommits(w *world, cuts int, share float64) {
	running := w.alive()
	each := cuts / len(running)
	for _, k := range running {
		k.commits.cutCommits(each, share)
	}
	w.until(3*time.Minute, "all cuts to be made", func() bool {
		sum := 0
		for _, k := range running {
			before, after := k.commits.cuts()
			sum += before + after
		}
		return sum >= each*len(running)
	})
	last := time.Now()
	var before, after int
	verbs := map[string]int{}
	for _, k := range running {
		b, a := k.commits.cuts()
		before, after = before+b, after+a
		k.commits.mu.Lock()
		for what, n := range k.commits.verbs {
			verbs[what] += n
		}
		if k.commits.missed != nil {
			w.t.Error(k.commits.missed)
		}
		k.commits.mu.Unlock()
	}
	w.result.faults += before + after
	w.t.Logf("cut %d commits before, %d after; by what they write: %v", before, after, verbs)
	w.recovered(w.workFrom(last))
}
