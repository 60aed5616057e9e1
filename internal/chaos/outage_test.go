//go:build chaos

package chaos

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// quiet sees that the provider gets no call for a time.
func (x *experiment) quiet(d time.Duration) {
	x.t.Helper()
	before := len(x.calls())
	x.pass(d)
	if after := len(x.calls()); after != before {
		x.t.Errorf("%d calls were begun while Postgres could not record them", after-before)
	}
}

// answered waits until no call is under way, and none follows.
func (x *experiment) answered() {
	x.t.Helper()
	last, since := -1, time.Now()
	x.until(time.Minute, "calls to end, and no other to begin", func() bool {
		if n := len(x.calls()); n != last || x.underWay() > 0 {
			last, since = n, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

// fillDisk lets Postgres' disk be full for half a minute under load: calls end, none
// begins that cannot be recorded, and what was paid for is recorded when there is
// room again.
func fillDisk(x *experiment) {
	d := newDisk(x)
	load(x, 3, 1000)
	x.hurt(0)
	d.fill()
	x.phase("the disk is full")
	x.answered()
	open := x.count(`SELECT count(*) FROM calls WHERE state = 'running'`)
	if open == 0 {
		x.t.Error("no paid answer waits for room: this shows nothing")
	}
	// A full disk takes what fits into pages that are there: a call that was recorded
	// may be sent, and no other.
	before, rows := len(x.calls()), x.count(`SELECT count(*) FROM calls`)
	x.pass(30 * time.Second)
	sent := int64(len(x.calls()) - before)
	if began := x.count(`SELECT count(*) FROM calls`) - rows; sent > began || began > int64(3*x.plan.slots) {
		x.t.Errorf("%d calls were sent while the disk was full, and %d recorded before", sent, began)
	}
	x.t.Logf("%d calls found room to be recorded", sent)
	d.free()
	x.phase("there is room again")
	x.recovered(x.workFrom(time.Now()))
	if n := x.count(`SELECT count(*) FROM calls WHERE state NOT IN ('succeeded', 'running')`); n != 0 {
		x.t.Errorf("%d of the calls did not succeed", n)
	}
}

// leaveWithout asks workers to stop while Postgres is away and they have answers in
// hand. These must reach it by way of the disk, and no call may be repeated.
func leaveWithout(x *experiment) {
	load(x, 2, 120)
	x.until(time.Minute, "calls to be under way", func() bool { return x.underWay() >= x.plan.slots })
	x.hurt(0)
	x.end(x.pg, syscall.SIGQUIT)
	x.phase("Postgres is away")
	x.answered()
	for _, k := range x.alive() {
		k.stop()
	}
	x.phase("the workers have left")
	folder := filepath.Join(x.Dir, "state", "spool")
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		x.t.Fatalf("the folder of spools: %v %v", info, err)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) == 0 {
		x.t.Fatalf("nothing was spooled: %v", err)
	}
	lines := 0
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			x.t.Errorf("the spool %s has mode %v %v, want 0600", f.Name(), info.Mode().Perm(), err)
		}
		data, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			x.t.Fatal(err)
		}
		lines += bytes.Count(data, []byte("\n"))
		if bytes.Contains(data, []byte(canaryKey)) {
			x.t.Error("the key is in the spool")
		}
	}
	x.t.Logf("%d answers were spooled", lines)
	before := len(x.calls())
	x.begin(x.pg)
	back := time.Now()
	x.worker()
	x.until(time.Minute, "the spool to be committed", func() bool {
		files, err := os.ReadDir(folder)
		return err == nil && len(files) == 0
	})
	x.recovered(time.Since(back))
	if n := x.count(`SELECT count(*) FROM calls WHERE state = 'succeeded'`); n < int64(before) {
		x.t.Errorf("%d of %d calls that were answered stand in the ledger", n, before)
	}
	if n := x.count(`SELECT count(*) FROM calls WHERE state = 'unknown'`); n != 0 {
		x.t.Errorf("%d calls have an unknown outcome", n)
	}
}

// silencePostgres lets Postgres be there and say nothing for half a minute.
func silencePostgres(x *experiment) {
	load(x, 3, 1000)
	hangPostgres(x, func() {
		x.answered()
		x.quiet(30 * time.Second)
	})
	if n := x.count(`SELECT count(*) FROM job_states WHERE crashes > 0`); n != 0 {
		x.t.Errorf("%d jobs were taken from living workers", n)
	}
}
