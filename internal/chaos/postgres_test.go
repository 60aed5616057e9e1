package chaos

import (
	"context"
	"errors"
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
func restartPostgres(x *experiment, times int, pause time.Duration) {
	for i := range times {
		x.progressed(2*time.Minute, int64(20+i*60))
		x.pass(x.between(0, 500*time.Millisecond))
		x.hurt(0)
		x.end(x.pg, syscall.SIGQUIT)
		x.pass(pause)
		x.begin(x.pg)
		x.recovered(x.workFrom(time.Now()))
	}
}

// cutCommits cuts connections to Postgres around so many commits, half of them
// before and half after. No call may be repeated for it: what was committed is
// read back.
func cutCommits(x *experiment, cuts int, share float64) {
	running := x.alive()
	each := cuts / len(running)
	for _, k := range running {
		k.commits.cutCommits(each, share)
	}
	x.until(3*time.Minute, "all cuts to be made", func() bool {
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
			x.t.Error(k.commits.missed)
		}
		k.commits.mu.Unlock()
	}
	x.result.faults += before + after
	x.t.Logf("cut %d commits before, %d after; by what they write: %v", before, after, verbs)
	x.recovered(x.workFrom(last))
}

// hangPostgres stops Postgres as it stands for as long as during takes: connections
// stay open, new ones are taken by the kernel, and nobody answers. No call may be
// repeated for it.
func hangPostgres(x *experiment, during func()) {
	x.t.Helper()
	server := postmaster(x)
	x.hurt(0)
	signal := func(s syscall.Signal, pids ...int) {
		for _, pid := range pids {
			if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
				x.t.Errorf("%s to %d of Postgres: %v", s, pid, err)
			}
		}
	}
	signal(syscall.SIGSTOP, server) // it makes no more children
	stopped := children(x, server)
	signal(syscall.SIGSTOP, stopped...)
	x.phase("Postgres is silent")
	during()
	signal(syscall.SIGCONT, append(stopped, server)...)
	x.phase("Postgres speaks again")
	x.recovered(x.workFrom(time.Now()))
}

// clusterOf is the folder of Postgres' data.
func clusterOf(x *experiment) string {
	x.t.Helper()
	found, err := filepath.Glob(filepath.Join(x.pg.Dir, "*", "*", "postmaster.pid"))
	if err != nil || len(found) != 1 {
		x.t.Fatalf("where Postgres keeps its data: %v %v", found, err)
	}
	return filepath.Dir(found[0])
}

// postmaster is the process that Postgres' others are children of.
func postmaster(x *experiment) int {
	x.t.Helper()
	data, err := os.ReadFile(filepath.Join(clusterOf(x), "postmaster.pid"))
	if err != nil {
		x.t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid <= 1 {
		x.t.Fatalf("postmaster.pid begins with %q", line)
	}
	return pid
}

func children(x *experiment, parent int) (pids []int) {
	x.t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(x.t.Context()), "ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		x.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var fields [2]int
		for i, f := range strings.Fields(line) {
			if fields[i], err = strconv.Atoi(f); err != nil {
				x.t.Fatal(err)
			}
		}
		if fields[1] == parent {
			pids = append(pids, fields[0])
		}
	}
	return pids
}
