package chaos

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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

// hangPostgres stops Postgres as it stands for as long as during takes: connections
// stay open, new ones are taken by the kernel, and nobody answers. No call may be
// repeated for it.
func hangPostgres(w *world, during func()) {
	w.t.Helper()
	server := postmaster(w)
	w.hurt(0)
	signal := func(s syscall.Signal, pids ...int) {
		for _, pid := range pids {
			if err := syscall.Kill(pid, s); err != nil && err != syscall.ESRCH { //nolint:errorlint // an Errno
				w.t.Errorf("%s to %d of Postgres: %v", s, pid, err)
			}
		}
	}
	signal(syscall.SIGSTOP, server) // it makes no more children
	stopped := children(w, server)
	signal(syscall.SIGSTOP, stopped...)
	w.phase("Postgres is silent")
	during()
	signal(syscall.SIGCONT, append(stopped, server)...)
	w.phase("Postgres speaks again")
	w.recovered(w.workFrom(time.Now()))
}

// clusterOf is the folder of Postgres' data.
func clusterOf(w *world) string {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.pg.Dir, "*", "*", "postmaster.pid"))
	if err != nil || len(found) != 1 {
		w.t.Fatalf("where Postgres keeps its data: %v %v", found, err)
	}
	return filepath.Dir(found[0])
}

// postmaster is the process that Postgres' others are children of.
func postmaster(w *world) int {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(clusterOf(w), "postmaster.pid"))
	if err != nil {
		w.t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid <= 1 {
		w.t.Fatalf("postmaster.pid begins with %q", line)
	}
	return pid
}

func children(w *world, parent int) (pids []int) {
	w.t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(w.t.Context()), "ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var fields [2]int
		for i, f := range strings.Fields(line) {
			if fields[i], err = strconv.Atoi(f); err != nil {
				w.t.Fatal(err)
			}
		}
		if fields[1] == parent {
			pids = append(pids, fields[0])
		}
	}
	return pids
}
