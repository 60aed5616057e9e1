//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

// isolate cuts one of three workers off from something for a time, by silence or
// by broken connections. calls is how many of its calls may be repeated for it.
func isolate(x *experiment, what string, length time.Duration, calls int, from func(*worker) []*proxy) {
	load(x, 3, 300)
	victim := x.alive()[x.intn(3)]
	x.hurt(calls)
	x.phase("cut off from " + what)
	for _, p := range from(victim) {
		p.Hold()
	}
	// Not all at once: the others would be done before the victim is missed.
	for i := range 6 {
		x.pass(length / 6)
		x.enqueue("more"+strconv.Itoa(i), 60, []string{"retry", "fail"}[i%2])
	}
	x.phase("together again")
	healed := time.Now()
	for _, p := range from(victim) {
		p.Heal()
		if x.intn(2) == 0 {
			p.Cut() // what was sent meanwhile has not survived
		}
	}
	x.enqueue("after", 200, "retry")
	x.until(time.Minute, "the worker to be back at work", func() bool {
		n, err := ask[int64](x, `
			SELECT count(*)
			FROM calls
			WHERE state = 'succeeded' AND started_at > $1 AND worker_id IN (SELECT id FROM workers WHERE pid = $2)`, healed, victim.Pid)
		if done, doneErr := ask[int64](x, `SELECT count(*) FROM job_states WHERE finished_at IS NULL`); doneErr == nil && done == 0 && n == 0 {
			x.enqueue("later"+strconv.FormatInt(time.Now().UnixMilli(), 10), 60, "retry") // the others were faster
		}
		return err == nil && n > 0
	})
	x.recovered(time.Since(healed))
}

// restoreRedis kills Redis and starts it again from a dump that is 10 s old: it
// remembers tasks that are done, and has not heard of others.
func restoreRedis(x *experiment) {
	load(x, 3, 1200)
	client := x.client()
	defer func() { _ = client.Close() }()
	for i := range 2 {
		if err := client.Save(context.WithoutCancel(x.t.Context())).Err(); err != nil {
			x.t.Fatal(err)
		}
		x.phase("saved")
		x.enqueue("unsaved"+strconv.Itoa(i), 300, "fail")
		x.pass(10 * time.Second)
		x.enqueue("late"+strconv.Itoa(i), 300, "fail")
		x.breakRedis(func() {
			x.end(x.redis, syscall.SIGKILL)
			x.begin(x.redis)
		})
	}
}

// fillRedis lets Redis refuse writes for 15 s, while more jobs come in.
func fillRedis(x *experiment) {
	load(x, 3, 600)
	client := x.client()
	defer func() { _ = client.Close() }()
	ctx := context.WithoutCancel(x.t.Context())
	limit := func(bytes string) {
		if err := client.ConfigSet(ctx, "maxmemory", bytes).Err(); err != nil {
			x.t.Fatal(err)
		}
	}
	x.breakRedis(func() {
		limit("1mb") // less than it uses already
		x.enqueue("full", 300, "fail")
		x.pass(15 * time.Second)
		limit("0")
	})
}

// wrongClock lets one of three workers be wrong about the time, and then kills it,
// so that what it left behind is found by the others.
func wrongClock(x *experiment, seconds int) {
	off := x.workerOf(skewed, clockEnv+"="+strconv.Itoa(seconds)).ready()
	load(x, 2, 600)
	x.result.faults++
	// A time in which jobs fail and go back to the queue, to be tried later: by
	// whose clock?
	x.provider.Inject(fakeprovider.Injection{Fault: fakeprovider.ServerError, Times: 12})
	x.progressed(time.Minute, 300)
	if by := off.clock().Sub(off.born).Seconds() - float64(seconds); by < -60 || by > 60 {
		x.t.Errorf("the clock of this worker is off by %.0f s more than it should be: see %s", by, off.Log)
	}
	x.hurt(x.plan.slots)
	off.Kill()
	x.recovered(x.takenOver(off, time.Now()))
}

// cancelRaces cancels batches while they come in, are claimed and are sent.
func cancelRaces(x *experiment) {
	for range 3 {
		x.worker()
	}
	var all sync.WaitGroup
	ended := make([]time.Time, 20)
	for i := range ended {
		id := "race" + strconv.Itoa(i)
		after := x.between(0, 6*time.Second)
		all.Go(func() {
			if _, err := x.tryEnqueue(release, id, 150, []string{"retry", "fail"}[i%2]); err != nil && harness.ExitCode(err) > 2 {
				x.t.Error(err)
			}
		})
		all.Go(func() {
			x.pass(after)
			// Until it is there to be cancelled.
			x.wait(time.Minute, "batch "+id+" to be cancelled", func() bool {
				return x.tell("cancel", id)
			})
			ended[i] = time.Now()
		})
		if i%5 == 4 {
			all.Wait()
		}
	}
	all.Wait()
	x.result.faults += len(ended)
	x.drained(time.Minute)
	x.recovered(time.Since(ended[len(ended)-1]))
	// A cancelled job is not sent: at most a call that was on its way.
	for i, at := range ended {
		for id, c := range x.calls() {
			if len(c.jobs) > 0 && strings.HasPrefix(c.jobs[0], "race"+strconv.Itoa(i)+"/") && c.began.After(at.Add(time.Second)) {
				x.t.Errorf("the call %s for %s began %s after the cancellation", id, c.jobs[0], c.began.Sub(at))
			}
		}
	}
	x.cutShort()
}

// pauseRaces pauses and resumes batches while they come in, are claimed and are
// sent. Nothing is sent during a pause, and no call is repeated for one.
func pauseRaces(x *experiment) {
	for range 3 {
		x.worker()
	}
	type pause struct{ from, to time.Time }
	var mu sync.Mutex
	pauses := map[string][]pause{}
	var all sync.WaitGroup
	for i := range 10 {
		id := "pause" + strconv.Itoa(i)
		waits := []time.Duration{x.between(0, 2*time.Second), x.between(2*time.Second, 4*time.Second), x.between(0, 2*time.Second), x.between(2*time.Second, 4*time.Second)}
		all.Go(func() {
			if _, err := x.tryEnqueue(release, id, 200, []string{"retry", "fail"}[i%2]); err != nil {
				x.t.Error(err)
			}
		})
		all.Go(func() {
			do := func(verb string) {
				// Until the batch is there.
				x.wait(time.Minute, verb+" "+id, func() bool {
					return x.tell(verb, id)
				})
			}
			for n := 0; n < len(waits); n += 2 {
				x.pass(waits[n])
				do("pause")
				from := time.Now()
				x.pass(waits[n+1])
				to := time.Now()
				do("resume")
				mu.Lock()
				pauses[id] = append(pauses[id], pause{from, to})
				mu.Unlock()
				x.hurt(0)
			}
		})
		if i%5 == 4 {
			all.Wait()
		}
	}
	last := time.Now()
	x.drained(2 * time.Minute)
	x.recovered(time.Since(last))
	for id, c := range x.calls() {
		job := strings.Join(c.jobs, " ")
		batch, _, _ := strings.Cut(job, "/")
		for _, p := range pauses[batch] {
			if c.began.After(p.from.Add(time.Second)) && c.began.Before(p.to) {
				x.t.Errorf("the call %s for %s began %s after the pause", id, job, c.began.Sub(p.from))
			}
		}
	}
}

// cutShort makes up for producers that were stopped by a cancellation before they
// could report: what is in Postgres was accepted.
func (x *experiment) cutShort() {
	for id, b := range x.brought {
		there := int(x.count(`SELECT count(*) FROM jobs WHERE batch_id = $1`, id))
		if b.accepted > there {
			x.t.Errorf("batch %s: the producer was told of %d jobs, there are %d", id, b.accepted, there)
		}
		b.accepted = there
		x.brought[id] = b
	}
}

// terminate asks a worker to stop while all its slots are in a call. With long
// calls the drain is over before they are.
func terminate(x *experiment, long bool) {
	first := x.worker().ready()
	rounds := 2
	if !long {
		rounds = 4 // on a busy machine the first are answered before the last begin
	}
	x.halves(rounds * x.plan.slots)
	x.until(time.Minute, "all slots to be in a call", func() bool { return x.underWay() >= x.plan.slots })
	x.hurt(0)
	if long {
		x.result.allowed += x.plan.slots
	}
	began := time.Now()
	first.stop()
	x.recovered(time.Since(began))
	if n := x.count(`SELECT count(*) FROM job_states WHERE state = 'running'`); n != 0 {
		x.t.Errorf("%d jobs are in the name of a worker that has stopped", n)
	}
	if gone := x.count(`SELECT count(*) FROM calls WHERE state = 'unknown'`); (gone > 0) != long {
		x.t.Errorf("%d calls have an unknown outcome", gone)
	}
	x.worker()
}

// rolling replaces three workers one by one under load. No call may be repeated.
func rolling(x *experiment) {
	load(x, 3, 1200)
	for _, k := range x.alive() {
		x.hurt(0)
		x.worker().ready()
		began := time.Now()
		k.stop()
		x.recovered(time.Since(began))
	}
	if n := x.count(`SELECT count(*) FROM calls WHERE state <> 'succeeded' AND state <> 'running'`); n != 0 {
		x.t.Errorf("%d calls did not succeed", n)
	}
}

// killLeaders kills the leader of three workers again and again.
func killLeaders(x *experiment, kills int) {
	load(x, 3, 200)
	var watching sync.WaitGroup
	for i := range kills {
		x.enqueue("round"+strconv.Itoa(i), 60, []string{"retry", "fail"}[i%2])
		x.pass(x.between(0, time.Second))
		var leader int64
		x.until(time.Minute, "somebody to lead", func() (ok bool) {
			var err error
			leader, err = ask[int64](x, `SELECT w.pid FROM leaders l JOIN workers w ON w.id = l.holder WHERE l.role = 'reconciler' AND l.expires_at > now()`)
			return err == nil
		})
		for _, k := range x.alive() {
			if int64(k.Pid) != leader {
				continue
			}
			x.hurt(x.plan.slots)
			k.Kill()
			died := time.Now()
			x.worker()
			x.until(time.Minute, "another to lead", func() bool {
				n, err := ask[int64](x, `
					SELECT count(*)
					FROM leaders l
					JOIN workers w ON w.id = l.holder
					WHERE l.role = 'reconciler' AND l.expires_at > now() AND w.pid <> $1`, leader)
				return err == nil && n == 1
			})
			led := time.Since(died)
			x.recovered(led)
			if led > 10*time.Second {
				x.t.Errorf("nobody led for %s after the leader's death", led)
			}
			// What it held is not forgotten over the deaths of those who follow it.
			watching.Go(func() {
				if took := x.takenOver(k, died); took > 30*time.Second {
					x.t.Errorf("a dead leader's jobs were taken over after %s", took)
				}
			})
		}
	}
	watching.Wait()
}

// clock returns the time at which a worker says that it started.
func (k *worker) clock() time.Time {
	var line struct {
		Time time.Time `json:"time"`
	}
	if err := json.NewDecoder(strings.NewReader(k.Text())).Decode(&line); err != nil {
		k.x.t.Errorf("%s: %v", k.Log, err)
	}
	return line.Time
}

// tell runs `enqueue VERB ID`, and reports whether the batch was there.
func (x *experiment) tell(verb, id string) bool {
	_, err := x.Run(x.t.Context(), harness.Command{Name: "enqueue", Args: []string{verb, id}})
	return err == nil
}
