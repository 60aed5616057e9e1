package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"oneflow/internal/harness"
)

// processor is the processor time of the processes that a run uses.
type processor struct {
	worker   time.Duration // all of them
	producer time.Duration
	redis    time.Duration
	postgres time.Duration // of all its processes, those that have ended included
}

func (p processor) minus(q processor) processor {
	return processor{p.worker - q.worker, p.producer - q.producer, p.redis - q.redis, p.postgres - q.postgres}
}

// perJob returns what each of n jobs took in all.
func (p processor) perJob(n int) time.Duration {
	return (p.worker + p.producer + p.redis + p.postgres) / time.Duration(n)
}

// write writes what each of n jobs took, in microseconds.
func (p processor) write(w io.Writer, n int) {
	for _, part := range []struct {
		name string
		took time.Duration
	}{{"worker", p.worker}, {"producer", p.producer}, {"redis", p.redis}, {"postgres", p.postgres}} {
		fmt.Fprintf(w, "cpu_us_per_job/%s = %d\n", part.name, part.took.Microseconds()/int64(n))
	}
}

// processor reads what workers and servers have used until now. All run on this machine.
func (b *bench) processor(ctx context.Context, workers []*harness.Process) (p processor, err error) {
	for _, w := range workers {
		took, err := family(w.Pid)
		if err != nil {
			return p, err
		}
		p.worker += took
	}
	info, err := b.redis.Info(ctx, "cpu").Result()
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return p, fmt.Errorf("processor time of Redis: %w", err)
			}
			p.redis += time.Duration(seconds * float64(time.Second))
		}
	}
	postmaster, err := harness.Query[int](ctx, b.url, `SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int`)
	if err != nil {
		return p, err
	}
	p.postgres, err = family(postmaster)
	return p, err
}

// clockTick is the unit of times in /proc, on all of Linux.
const clockTick = time.Second / 100

// family is the processor time of a process, of its children, and of those that it has
// had. Where there is no /proc, it is 0.
func family(parent int) (total time.Duration, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		fields, err := stat(path)
		if err != nil { // it has ended
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		switch {
		case pid == parent:
			total += ticks(fields[11:15])
		case fields[1] == strconv.Itoa(parent):
			total += ticks(fields[11:13])
		}
	}
	return total, nil
}

// stat are the fields of a process from its state on.
func stat(path string) ([]string, error) {
	f, err := os.Open(path) //nolint:gosec // of /proc
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 15 {
		return nil, fmt.Errorf("%s has %d fields", path, len(fields))
	}
	return fields, nil
}

func ticks(fields []string) (total time.Duration) {
	for _, f := range fields {
		n, _ := strconv.ParseInt(f, 10, 64)
		total += time.Duration(n) * clockTick
	}
	return total
}
