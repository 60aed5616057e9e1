package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

const (
	// largestWindow is the largest window that a queue gets by itself.
	largestWindow = 10_000
	// mostMemory bounds Redis with everything queued, in bytes.
	mostMemory = 50_000_000
)

// million queues many jobs for a provider that gets nowhere with them, and tells
// what Redis holds then.
func million(ctx context.Context, g grammar, v *verdicts, f *fleet, _ *fakeprovider.Server) error {
	rdb, err := harness.Redis(f.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	began := time.Now()
	stopped := make(chan struct{})
	peak := make(chan int64, 1)
	go func() { peak <- childsPeak("enqueue", stopped) }()
	err = f.bring(ctx, "million", g.Rows)
	close(stopped)
	producer := <-peak
	if err != nil {
		return err
	}
	took := time.Since(began)
	// The window fills up after that, and again whenever it falls below four fifths.
	// A worker puts back what it has no place for: it is in the window all the same.
	const queue = "asynq:{openai.bulk}:"
	inside := int64(0)
	err = f.until(ctx, poll, "the window to fill up", func() (bool, error) {
		var pending, putBack *redis.IntCmd
		_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			pending, putBack = p.LLen(ctx, queue+"pending"), p.ZCard(ctx, queue+"retry")
			return nil
		})
		inside = pending.Val() + putBack.Val()
		return inside >= min(largestWindow, int64(g.Rows))*4/5-100, err
	})
	if err != nil {
		return err
	}
	info, err := rdb.Info(ctx, "memory").Result()
	if err != nil {
		return err
	}
	memory := map[string]float64{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			memory[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	p, err := f.services.Store.Progress(ctx, "million")
	if err != nil {
		return err
	}
	v.say("\n%s jobs of one batch, queued by one `enqueue batch` while a worker runs; the window of their queue is the largest", cli.Count(int64(g.Rows)))
	v.check(p.Total() == int64(g.Rows), "million/accepted = %s (all %s)", cli.Count(p.Total()), cli.Count(int64(g.Rows)))
	v.say("million/rows_a_second = %.0f (%.1f s)", float64(g.Rows)/took.Seconds(), took.Seconds())
	v.check(producer < mostProcessMemory, "million/producer_peak_rss = %d MB (less than %d MB)", producer/1e6, mostProcessMemory/1_000_000)
	v.check(f.peakMemory() < mostProcessMemory, "million/worker_peak_rss = %d MB (less than %d MB)", f.peakMemory()/1e6, mostProcessMemory/1_000_000)
	v.say("million/tasks_in_redis = %s", cli.Count(inside))
	v.say("million/used_memory_dataset = %.1f MB", memory["used_memory_dataset"]/1e6)
	v.say("million/used_memory_peak = %.1f MB", memory["used_memory_peak"]/1e6)
	v.check(memory["used_memory"] > 0 && memory["used_memory"] < mostMemory, "million/used_memory = %.1f MB (less than %d MB)",
		memory["used_memory"]/1e6, mostMemory/1_000_000)
	return nil
}

// childsPeak is the most memory, in bytes, that a child of this process with that name has until
// stopped is closed; 0 where the system does not tell. What the system says when a process has ended
// is no less than its parent had when it was started.
func childsPeak(name string, stopped <-chan struct{}) (most int64) {
	for tick := time.Tick(100 * time.Millisecond); ; {
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, path := range stats {
			text, _ := os.ReadFile(path) //nolint:gosec // of /proc
			var pid, parent int
			if n, _ := fmt.Sscanf(string(text), "%d ("+name+") %1s %d", &pid, new(string), &parent); n == 3 && parent == os.Getpid() {
				most = max(most, peakOf(strconv.Itoa(pid)))
			}
		}
		select {
		case <-stopped:
			return most
		case <-tick:
		}
	}
}
