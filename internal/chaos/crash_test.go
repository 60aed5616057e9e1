//go:build chaos

package chaos

import (
	"strconv"
	"sync"
	"time"
)

// crashAt ends a producer or workers at a place between one commit and the next.
func crashAt(w *world, place string) {
	if place == "accepted" {
		w.worker()
		w.hurt(0)
		if err := w.armedEnqueue("crashed", 200); exitCode(err) != 137 {
			w.t.Fatalf("the producer ended with %v, want 137", err)
		}
		crashed := time.Now()
		// The producer knows nothing, so it comes again; half of the jobs are its own.
		w.enqueue("other", 100, "fail")
		rep, err := w.tryEnqueue(release, "crashed", 200, "fail")
		if err != nil || rep.Duplicates != 200 {
			w.t.Fatalf("the producer that came again was told %+v %v", rep, err)
		}
		w.drained(2 * time.Minute)
		w.recovered(time.Since(crashed))
		return
	}
	w.worker()
	w.halves(300)
	var watching sync.WaitGroup
	for range 3 {
		k := w.workerOf(armed, "ONEFLOW_FAILPOINTS="+place+"=exit@"+strconv.Itoa(1+w.intn(8)))
		w.hurt(w.plan.slots)
		watching.Go(func() {
			select {
			case <-k.done:
				w.recovered(w.takenOver(k, time.Now()))
			case <-time.After(time.Minute):
				w.t.Errorf("the failpoint %s was not hit: see %s", place, k.log)
			}
		})
	}
	watching.Wait()
}

// armedEnqueue runs a producer that dies when Postgres has accepted its rows.
func (w *world) armedEnqueue(id string, n int) error {
	w.t.Helper()
	w.arms = "accepted=exit"
	defer func() { w.arms = "" }()
	_, err := w.tryEnqueue(armed, id, n, "fail")
	return err
}

// poison brings jobs that kill or break every worker that runs them, among others
// that do not. Workers are replaced as they die.
func poison(w *world) {
	points := "ONEFLOW_FAILPOINTS=claimed[" + model + "-2024-exit]=exit,claimed[" + model + "-2024-panic]=panic,claimed[" + model + "-2024-oom]=oom"
	stop := make(chan struct{})
	var supervisors sync.WaitGroup
	for range 3 {
		supervisors.Go(func() {
			for {
				k := w.workerOf(armed, points)
				select {
				case <-k.done:
					w.hurt(w.plan.slots)
				case <-stop:
					return
				}
			}
		})
	}
	w.halves(200)
	for _, kind := range []string{"exit", "panic", "oom"} {
		w.enqueue("poison-"+kind, 1, "retry", "--model", model+"-2024-"+kind)
	}
	brought := time.Now()
	w.halvesMore("with", 200)
	w.drained(4 * time.Minute)
	w.recovered(time.Since(brought))
	close(stop)
	supervisors.Wait()
	for _, kind := range []string{"exit", "panic", "oom"} {
		class, err := ask[string](w, `SELECT state || ' ' || error_class FROM jobs WHERE batch_id = $1`, "poison-"+kind)
		want := map[string]string{"exit": "failed poison", "oom": "failed poison", "panic": "failed panic"}[kind]
		if err != nil || class != want {
			w.t.Errorf("the job that makes a worker %s is %q, want %q (%v)", kind, class, want, err)
		}
	}
	if n := w.count(`SELECT count(*) FROM jobs WHERE error_class = 'poison' AND batch_id NOT LIKE 'poison-%'`); n != 0 {
		w.t.Errorf("%d innocent jobs are in quarantine", n)
	}
}

// halvesMore is halves for further batches.
func (w *world) halvesMore(name string, n int) {
	w.enqueue(name+"-again", n/2, "retry")
	w.enqueue(name+"-never", n-n/2, "fail")
}
