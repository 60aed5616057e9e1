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
func (w *world) quiet(d time.Duration) {
	w.t.Helper()
	before := len(w.calls())
	w.pass(d)
	if after := len(w.calls()); after != before {
		w.t.Errorf("%d calls were begun while Postgres could not record them", after-before)
	}
}

// answered waits until no call is under way, and none follows.
func (w *world) answered() {
	w.t.Helper()
	last, since := -1, time.Now()
	w.until(time.Minute, "calls to end, and no other to begin", func() bool {
		if n := len(w.calls()); n != last || w.underWay() > 0 {
			last, since = n, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

// fillDisk lets Postgres' disk be full for half a minute under load: calls end, none
// begins that cannot be recorded, and what was paid for is recorded when there is
// room again.
func fillDisk(w *world) {
	d := newDisk(w)
	load(w, 3, 1000)
	w.hurt(0)
	d.fill()
	w.phase("the disk is full")
	w.answered()
	open := w.count(`SELECT count(*) FROM attempts WHERE state = 'running'`)
	if open == 0 {
		w.t.Error("no paid answer waits for room: this shows nothing")
	}
	// A full disk takes what fits into pages that are there: a call that was recorded
	// may be sent, and no other.
	before, rows := len(w.calls()), w.count(`SELECT count(*) FROM attempts`)
	w.pass(30 * time.Second)
	sent := int64(len(w.calls()) - before)
	if began := w.count(`SELECT count(*) FROM attempts`) - rows; sent > began || began > int64(3*w.plan.slots) {
		w.t.Errorf("%d calls were sent while the disk was full, and %d recorded before", sent, began)
	}
	w.t.Logf("%d calls found room to be recorded", sent)
	d.free()
	w.phase("there is room again")
	w.recovered(w.workFrom(time.Now()))
	if n := w.count(`SELECT count(*) FROM attempts WHERE state NOT IN ('succeeded', 'running')`); n != 0 {
		w.t.Errorf("%d of the calls did not succeed", n)
	}
}

// leaveWithout asks workers to stop while Postgres is away and they have answers in
// hand. These must reach it by way of the disk, and no call may be repeated.
func leaveWithout(w *world) {
	load(w, 2, 120)
	w.until(time.Minute, "calls to be under way", func() bool { return w.underWay() >= w.plan.slots })
	w.hurt(0)
	w.end(w.pg, syscall.SIGQUIT)
	w.phase("Postgres is away")
	w.answered()
	for _, k := range w.alive() {
		k.stop()
	}
	w.phase("the workers have left")
	folder := filepath.Join(w.dir, "state", "spool")
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		w.t.Fatalf("the folder of spools: %v %v", info, err)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) == 0 {
		w.t.Fatalf("nothing was spooled: %v", err)
	}
	lines := 0
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			w.t.Errorf("the spool %s has mode %v %v, want 0600", f.Name(), info.Mode().Perm(), err)
		}
		data, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			w.t.Fatal(err)
		}
		lines += bytes.Count(data, []byte("\n"))
		if bytes.Contains(data, []byte(canaryKey)) {
			w.t.Error("the key is in the spool")
		}
	}
	w.t.Logf("%d answers were spooled", lines)
	before := len(w.calls())
	w.begin(w.pg)
	back := time.Now()
	w.worker()
	w.until(time.Minute, "the spool to be committed", func() bool {
		files, err := os.ReadDir(folder)
		return err == nil && len(files) == 0
	})
	w.recovered(time.Since(back))
	if n := w.count(`SELECT count(*) FROM attempts WHERE state = 'succeeded'`); n < int64(before) {
		w.t.Errorf("%d of %d calls that were answered stand in the ledger", n, before)
	}
	if n := w.count(`SELECT count(*) FROM attempts WHERE state = 'unknown'`); n != 0 {
		w.t.Errorf("%d calls have an unknown outcome", n)
	}
}

// silencePostgres lets Postgres be there and say nothing for half a minute.
func silencePostgres(w *world) {
	load(w, 3, 1000)
	hangPostgres(w, func() {
		w.answered()
		w.quiet(30 * time.Second)
	})
	if n := w.count(`SELECT count(*) FROM jobs WHERE crashes > 0`); n != 0 {
		w.t.Errorf("%d jobs were taken from living workers", n)
	}
}
