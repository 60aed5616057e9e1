//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"oneflow/internal/fakeprovider"
)

// isolate cuts one of three workers off from something for a time, by silence or
// by broken connections. calls is how many of its calls may be repeated for it.
func isolate(w *world, what string, length time.Duration, calls int, from func(*worker) []*proxy) {
	load(w, 3, 300)
	victim := w.alive()[w.intn(3)]
	w.hurt(calls)
	w.phase("cut off from " + what)
	for _, p := range from(victim) {
		p.Hold()
	}
	// Not all at once: the others would be done before the victim is missed.
	for i := range 6 {
		w.pass(length / 6)
		w.enqueue("more"+strconv.Itoa(i), 60, []string{"retry", "fail"}[i%2])
	}
	w.phase("together again")
	healed := time.Now()
	for _, p := range from(victim) {
		p.Heal()
		if w.intn(2) == 0 {
			p.Cut() // what was sent meanwhile has not survived
		}
	}
	w.enqueue("after", 200, "retry")
	w.until(time.Minute, "the worker to be back at work", func() bool {
		n, err := ask[int64](w, `
			SELECT count(*)
			FROM attempts
			WHERE state = 'succeeded' AND started_at > $1 AND worker_id IN (SELECT id FROM workers WHERE pid = $2)`, healed, victim.cmd.Process.Pid)
		if done, doneErr := ask[int64](w, `SELECT count(*) FROM jobs WHERE finished_at IS NULL`); doneErr == nil && done == 0 && n == 0 {
			w.enqueue("later"+strconv.FormatInt(time.Now().UnixMilli(), 10), 60, "retry") // the others were faster
		}
		return err == nil && n > 0
	})
	w.recovered(time.Since(healed))
}

// restoreRedis kills Redis and starts it again from a dump that is 10 s old: it
// remembers tasks that are done, and has not heard of others.
func restoreRedis(w *world) {
	load(w, 3, 1200)
	client := w.client()
	defer func() { _ = client.Close() }()
	for i := range 2 {
		if err := client.Save(context.WithoutCancel(w.t.Context())).Err(); err != nil {
			w.t.Fatal(err)
		}
		w.phase("saved")
		w.enqueue("unsaved"+strconv.Itoa(i), 300, "fail")
		w.pass(10 * time.Second)
		w.enqueue("late"+strconv.Itoa(i), 300, "fail")
		w.breakRedis(func() {
			w.end(w.redis, syscall.SIGKILL)
			w.begin(w.redis)
		})
	}
}

// fillRedis lets Redis refuse writes for 15 s, while more jobs come in.
func fillRedis(w *world) {
	load(w, 3, 600)
	client := w.client()
	defer func() { _ = client.Close() }()
	ctx := context.WithoutCancel(w.t.Context())
	limit := func(bytes string) {
		if err := client.ConfigSet(ctx, "maxmemory", bytes).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.breakRedis(func() {
		limit("1mb") // less than it uses already
		w.enqueue("full", 300, "fail")
		w.pass(15 * time.Second)
		limit("0")
	})
}

// wrongClock lets one of three workers be wrong about the time, and then kills it,
// so that what it left behind is found by the others.
func wrongClock(w *world, seconds int) {
	off := w.workerOf(skewed, clockEnv+"="+strconv.Itoa(seconds)).ready()
	load(w, 2, 600)
	w.result.faults++
	// A time in which jobs fail and go back to the queue, to be tried later: by
	// whose clock?
	w.provider.Inject(fakeprovider.Injection{Fault: fakeprovider.ServerError, Times: 12})
	w.progressed(time.Minute, 300)
	if by := off.clock().Sub(off.born).Seconds() - float64(seconds); by < -60 || by > 60 {
		w.t.Errorf("the clock of this worker is off by %.0f s more than it should be: see %s", by, off.log)
	}
	w.hurt(w.plan.slots)
	off.kill()
	w.recovered(w.takenOver(off, time.Now()))
}

// cancelRaces cancels batches while they come in, are claimed and are sent.
func cancelRaces(w *world) {
	for range 3 {
		w.worker()
	}
	var all sync.WaitGroup
	ended := make([]time.Time, 20)
	for i := range ended {
		id := "race" + strconv.Itoa(i)
		after := w.between(0, 6*time.Second)
		all.Go(func() {
			if _, err := w.tryEnqueue(release, id, 150, []string{"retry", "fail"}[i%2]); err != nil && exitCode(err) > 2 {
				w.t.Error(err)
			}
		})
		all.Go(func() {
			w.pass(after)
			// Until it is there to be cancelled.
			w.wait(time.Minute, "batch "+id+" to be cancelled", func() bool {
				return w.command(release, "enqueue", w.pg.URL, w.redis.URL, w.provider.URL, "cancel", id).Run() == nil
			})
			ended[i] = time.Now()
		})
		if i%5 == 4 {
			all.Wait()
		}
	}
	all.Wait()
	w.result.faults += len(ended)
	w.drained(time.Minute)
	w.recovered(time.Since(ended[len(ended)-1]))
	// A cancelled job is not sent: at most a call that was on its way.
	for i, at := range ended {
		for id, c := range w.calls() {
			if strings.HasPrefix(c.job, "race"+strconv.Itoa(i)+"/") && c.began.After(at.Add(time.Second)) {
				w.t.Errorf("the call %s for %s began %s after the cancellation", id, c.job, c.began.Sub(at))
			}
		}
	}
	w.cutShort()
}

// pauseRaces pauses and resumes batches while they come in, are claimed and are
// sent. Nothing is sent during a pause, and no call is repeated for one.
func pauseRaces(w *world) {
	for range 3 {
		w.worker()
	}
	type pause struct{ from, to time.Time }
	var mu sync.Mutex
	pauses := map[string][]pause{}
	var all sync.WaitGroup
	for i := range 10 {
		id := "pause" + strconv.Itoa(i)
		waits := []time.Duration{w.between(0, 2*time.Second), w.between(2*time.Second, 4*time.Second), w.between(0, 2*time.Second), w.between(2*time.Second, 4*time.Second)}
		all.Go(func() {
			if _, err := w.tryEnqueue(release, id, 200, []string{"retry", "fail"}[i%2]); err != nil {
				w.t.Error(err)
			}
		})
		all.Go(func() {
			do := func(verb string) {
				// Until the batch is there.
				w.wait(time.Minute, verb+" "+id, func() bool {
					return w.command(release, "enqueue", w.pg.URL, w.redis.URL, w.provider.URL, verb, id).Run() == nil
				})
			}
			for n := 0; n < len(waits); n += 2 {
				w.pass(waits[n])
				do("pause")
				from := time.Now()
				w.pass(waits[n+1])
				to := time.Now()
				do("resume")
				mu.Lock()
				pauses[id] = append(pauses[id], pause{from, to})
				mu.Unlock()
				w.hurt(0)
			}
		})
		if i%5 == 4 {
			all.Wait()
		}
	}
	last := time.Now()
	w.drained(2 * time.Minute)
	w.recovered(time.Since(last))
	for id, c := range w.calls() {
		batch, _, _ := strings.Cut(c.job, "/")
		for _, p := range pauses[batch] {
			if c.began.After(p.from.Add(time.Second)) && c.began.Before(p.to) {
				w.t.Errorf("the call %s for %s began %s after the pause", id, c.job, c.began.Sub(p.from))
			}
		}
	}
}

// cutShort makes up for producers that were stopped by a cancellation before they
// could report: what is in Postgres was accepted.
func (w *world) cutShort() {
	for id, b := range w.brought {
		there := int(w.count(`SELECT count(*) FROM jobs WHERE batch_id = $1`, id))
		if b.accepted > there {
			w.t.Errorf("batch %s: the producer was told of %d jobs, there are %d", id, b.accepted, there)
		}
		b.accepted = there
		w.brought[id] = b
	}
}

// terminate asks a worker to stop while all its slots are in a call. With long
// calls the drain is over before they are.
func terminate(w *world, long bool) {
	first := w.worker().ready()
	w.halves(2 * w.plan.slots)
	w.until(time.Minute, "all slots to be in a call", func() bool { return w.underWay() >= w.plan.slots })
	w.hurt(0)
	if long {
		w.result.allowed += w.plan.slots
	}
	began := time.Now()
	first.stop()
	w.recovered(time.Since(began))
	if n := w.count(`SELECT count(*) FROM jobs WHERE state = 'running'`); n != 0 {
		w.t.Errorf("%d jobs are in the name of a worker that has stopped", n)
	}
	if gone := w.count(`SELECT count(*) FROM attempts WHERE state = 'unknown'`); (gone > 0) != long {
		w.t.Errorf("%d calls have an unknown outcome", gone)
	}
	w.worker()
}

// rolling replaces three workers one by one under load. No call may be repeated.
func rolling(w *world) {
	load(w, 3, 1200)
	for _, k := range w.alive() {
		w.hurt(0)
		w.worker().ready()
		began := time.Now()
		k.stop()
		w.recovered(time.Since(began))
	}
	if n := w.count(`SELECT count(*) FROM attempts WHERE state <> 'succeeded' AND state <> 'running'`); n != 0 {
		w.t.Errorf("%d calls did not succeed", n)
	}
}

// killLeaders kills the leader of three workers again and again.
func killLeaders(w *world, kills int) {
	load(w, 3, 200)
	var watching sync.WaitGroup
	for i := range kills {
		w.enqueue("round"+strconv.Itoa(i), 60, []string{"retry", "fail"}[i%2])
		w.pass(w.between(0, time.Second))
		var leader int64
		w.until(time.Minute, "somebody to lead", func() (ok bool) {
			var err error
			leader, err = ask[int64](w, `SELECT w.pid FROM leases l JOIN workers w ON w.id = l.holder WHERE l.role = 'reconciler' AND l.expires_at > now()`)
			return err == nil
		})
		for _, k := range w.alive() {
			if int64(k.cmd.Process.Pid) != leader {
				continue
			}
			w.hurt(w.plan.slots)
			k.kill()
			died := time.Now()
			w.worker()
			w.until(time.Minute, "another to lead", func() bool {
				n, err := ask[int64](w, `
					SELECT count(*)
					FROM leases l
					JOIN workers w ON w.id = l.holder
					WHERE l.role = 'reconciler' AND l.expires_at > now() AND w.pid <> $1`, leader)
				return err == nil && n == 1
			})
			led := time.Since(died)
			w.recovered(led)
			if led > 10*time.Second {
				w.t.Errorf("nobody led for %s after the leader's death", led)
			}
			// What it held is not forgotten over the deaths of those who follow it.
			watching.Go(func() {
				if took := w.takenOver(k, died); took > 30*time.Second {
					w.t.Errorf("a dead leader's jobs were taken over after %s", took)
				}
			})
		}
	}
	watching.Wait()
}

// clock is what a worker said the time was when it started.
func (k *worker) clock() time.Time {
	var line struct {
		Time time.Time `json:"time"`
	}
	if err := json.NewDecoder(strings.NewReader(k.text())).Decode(&line); err != nil {
		k.w.t.Errorf("%s: %v", k.log, err)
	}
	return line.Time
}

// exitCode is how a command ended.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}
