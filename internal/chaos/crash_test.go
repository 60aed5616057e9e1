//go:build chaos

package chaos

import (
	"strconv"
	"sync"
	"time"

	"oneflow/internal/harness"
)

// crashAt ends a producer or workers at a place between one commit and the next.
func crashAt(x *experiment, place string) {
	if place == "accepted" {
		x.worker()
		x.hurt(0)
		if err := x.armedEnqueue("crashed", 200); harness.ExitCode(err) != 137 {
			x.t.Fatalf("the producer ended with %v, want 137", err)
		}
		crashed := time.Now()
		// The producer knows nothing, so it comes again; half of the jobs are its own.
		x.enqueue("other", 100, "fail")
		rep, err := x.tryEnqueue(release, "crashed", 200, "fail")
		if err != nil || rep.Duplicates != 200 {
			x.t.Fatalf("the producer that came again was told %+v %v", rep, err)
		}
		x.drained(2 * time.Minute)
		x.recovered(time.Since(crashed))
		return
	}
	x.worker()
	x.halves(300)
	var watching sync.WaitGroup
	for range 3 {
		k := x.workerOf(armed, "ONEFLOW_FAILPOINTS="+place+"=exit@"+strconv.Itoa(1+x.intn(8)))
		x.hurt(x.plan.slots)
		watching.Go(func() {
			select {
			case <-k.Done():
				x.recovered(x.takenOver(k, time.Now()))
			case <-time.After(time.Minute):
				x.t.Errorf("the failpoint %s was not hit: see %s", place, k.Log)
			}
		})
	}
	watching.Wait()
}

// armedEnqueue runs a producer that dies when Postgres has accepted its rows.
func (x *experiment) armedEnqueue(id string, n int) error {
	x.t.Helper()
	x.arms = "accepted=exit"
	defer func() { x.arms = "" }()
	_, err := x.tryEnqueue(armed, id, n, "fail")
	return err
}

// poison brings jobs that kill or break every worker that runs them, among others
// that do not. Workers are replaced as they die.
func poison(x *experiment) {
	points := "ONEFLOW_FAILPOINTS=claimed[" + model + "-2024-exit]=exit,claimed[" + model + "-2024-panic]=panic,claimed[" + model + "-2024-oom]=oom"
	stop := make(chan struct{})
	var supervisors sync.WaitGroup
	for range 3 {
		supervisors.Go(func() {
			for {
				k := x.workerOf(armed, points)
				select {
				case <-k.Done():
					x.hurt(x.plan.slots)
				case <-stop:
					return
				}
			}
		})
	}
	x.halves(200)
	for _, kind := range []string{"exit", "panic", "oom"} {
		x.enqueue("poison-"+kind, 1, "retry", "--model", model+"-2024-"+kind)
	}
	brought := time.Now()
	x.halvesMore("with", 200)
	x.drained(4 * time.Minute)
	x.recovered(time.Since(brought))
	close(stop)
	supervisors.Wait()
	for _, kind := range []string{"exit", "panic", "oom"} {
		class, err := ask[string](x, `SELECT state || ' ' || error_class FROM job_states WHERE batch_id = $1`, "poison-"+kind)
		want := map[string]string{"exit": "failed poison", "oom": "failed poison", "panic": "failed panic"}[kind]
		if err != nil || class != want {
			x.t.Errorf("the job that makes a worker %s is %q, want %q (%v)", kind, class, want, err)
		}
	}
	if n := x.count(`SELECT count(*) FROM job_states WHERE error_class = 'poison' AND batch_id NOT LIKE 'poison-%'`); n != 0 {
		x.t.Errorf("%d innocent jobs are in quarantine", n)
	}
}

// halvesMore is halves for further batches.
func (x *experiment) halvesMore(name string, n int) {
	x.enqueue(name+"-again", n/2, "retry")
	x.enqueue(name+"-never", n-n/2, "fail")
}
