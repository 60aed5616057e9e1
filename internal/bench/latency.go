package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"syscall"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/harness"
	"oneflow/jobs"
	"oneflow/providers"
)

// hot prints the share of updates that touched no index.
func (b *bench) hot(ctx context.Context, w io.Writer) error {
	for _, table := range []string{"job_states", "job_queue", "calls"} {
		share, err := harness.Query[float64](ctx, b.url, `
			SELECT coalesce(sum(n_tup_hot_upd)::float8 / nullif(sum(n_tup_upd), 0), 0) FROM pg_stat_user_tables WHERE relname = $1`, table)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "hot_updates/%s = %.2f\n", table, share)
	}
	return nil
}

// accept accepts n prompts for the mock, each to run when at says, and pushes them.
func (b *bench) accept(ctx context.Context, batch string, n int, at func(i int) time.Time) ([]jobs.New, error) {
	rows, err := made(0, n, jobs.Default, at)
	if err != nil {
		return nil, err
	}
	_, dispatchErr, err := jobs.NewProducer(b.store, jobs.NewDispatcher(b.redis, b.store)).Enqueue(ctx, batch, rows)
	if err == nil {
		err = dispatchErr
	}
	return rows, err
}

// made makes n rows from a place on.
func made(from, n int, lane jobs.Lane, at func(i int) time.Time) ([]jobs.New, error) {
	keys := jobs.NewKeys()
	rows := make([]jobs.New, n)
	for i := range rows {
		rows[i] = jobs.New{
			ID: jobs.NewID(), Seq: int64(from + i + 1), Provider: "mock", Lane: lane, RunAt: at(i),
			Request: providers.Request{Task: providers.Text, Model: "mock-text", Prompt: fmt.Sprint("number ", from+i)},
		}
		if err := keys.Assign(&rows[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

const free = "{mock: {limits: {rpm: 0}, concurrency: 100, mock: {latency: 1ns}}}"

// waits is the number of single jobs that are waited for.
const waits = 20

// wait prints the time from the acceptance of a single job until who waits for it knows
// its end, with a call that takes none.
func (b *bench) wait(ctx context.Context, w io.Writer) error {
	leave, err := b.worker(ctx, free)
	if err != nil {
		return err
	}
	defer func() { _ = leave() }()
	took := make([]time.Duration, waits)
	for i := range took {
		began := time.Now()
		watching, stop := context.WithCancel(ctx)
		hints := b.store.Hints(watching)
		rows, err := b.accept(ctx, "", 1, func(int) time.Time { return time.Time{} })
		if err == nil {
			_, err = cli.WatchLooking(ctx, io.Discard, hints,
				func(ctx context.Context) (jobs.Progress, error) { return b.store.Progress(ctx, rows[0].ID.String()) },
				func(context.Context) cli.Look { return cli.Look{} })
		}
		stop()
		if err != nil {
			return err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	fmt.Fprintf(w, "wait_roundtrip_ms = %d\n", took[waits/2].Milliseconds())
	fmt.Fprintf(w, "wait_roundtrip_ms/most = %d\n", took[waits-1].Milliseconds())
	return nil
}

// dueJobs become due over dueOver.
const (
	dueJobs = 2000
	dueOver = 20 * time.Second
)

// due prints how late jobs begin that become due one after the other.
func (b *bench) due(ctx context.Context, w io.Writer) error {
	leave, err := b.worker(ctx, free)
	if err != nil {
		return err
	}
	defer func() { _ = leave() }()
	id := "due-" + strings.ToLower(jobs.NewID().String())
	if err := b.store.OpenBatch(ctx, jobs.Batch{ID: id, Account: jobs.DefaultAccount}); err != nil {
		return err
	}
	first := time.Now().Add(3 * time.Second)
	if _, err := b.accept(ctx, id, dueJobs, func(i int) time.Time { return first.Add(time.Duration(i) * dueOver / dueJobs) }); err != nil {
		return err
	}
	if err := b.store.SealBatch(ctx, id); err != nil {
		return err
	}
	err = harness.Until(ctx, time.Second, "jobs that are due", func() (bool, error) {
		p, err := b.store.Progress(ctx, id)
		return p.Finished(), err
	})
	if err != nil {
		return err
	}
	var p99 float64
	var early int64
	err = harness.QueryRow(ctx, b.url, `
		SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM c.started_at - j.run_at)::float8 * 1000),
			count(*) FILTER (WHERE c.started_at < j.run_at)
		FROM jobs j
		JOIN call_jobs cj ON cj.job_id = j.id
		JOIN calls c ON c.id = cj.call_id
		WHERE j.batch_id = $1`, []any{id}, &p99, &early)
	fmt.Fprintf(w, "due_p99_ms = %.0f\ndue_early = %d\n", math.Ceil(p99), early)
	return err
}

// idleFor is the time over which an idle worker is measured.
const idleFor = 15 * time.Second

// idle prints what a worker with 30 providers and no work takes. It runs in this
// process, which does nothing else meanwhile.
func (b *bench) idle(ctx context.Context, w io.Writer) error {
	names := make([]string, 30)
	for i := range names {
		names[i] = fmt.Sprintf("mock%d: {kind: mock}", i)
	}
	leave, err := b.worker(ctx, "{"+strings.Join(names, ", ")+"}")
	if err != nil {
		return err
	}
	defer func() { _ = leave() }()
	start := time.NewTimer(3 * time.Second)
	<-start.C
	cpu, commands, err := b.used(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	start.Reset(idleFor)
	<-start.C
	cpuAfter, commandsAfter, err := b.used(ctx)
	took := time.Since(began)
	fmt.Fprintf(w, "idle_cpu_percent/30_providers = %.1f\n", 100*(cpuAfter-cpu).Seconds()/took.Seconds())
	fmt.Fprintf(w, "idle_redis_commands_s/30_providers = %.0f\n", float64(commandsAfter-commands)/took.Seconds())
	return err
}

// used is the processor time of this process, and the number of commands of Redis, each
// of a script's own included.
func (b *bench) used(ctx context.Context) (cpu time.Duration, commands int64, err error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, 0, err
	}
	text, err := b.redis.Info(ctx, "stats").Result()
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "total_commands_processed:"); ok {
			_, err = fmt.Sscan(value, &commands)
		}
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), commands, err
}
