package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/batches"
	"oneflow/config"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/internal/harness"
	"oneflow/jobs"
	"oneflow/store"
)

type bench struct {
	grammar
	store *store.Store
	url   string // of Postgres
	opts  *redis.Options
	redis redis.UniversalClient
	fleet *harness.Fleet
}

func newBench(g grammar, services *harness.Services, fleet *harness.Fleet) (*bench, error) {
	opts, err := redis.ParseURL(services.RedisURL)
	if err != nil {
		return nil, err
	}
	return &bench{grammar: g, store: services.Store, url: services.DatabaseURL, opts: opts, redis: redis.NewClient(opts), fleet: fleet}, nil
}

// pushers is the number of goroutines that enqueue on asynq's side, as on ours.
const pushers = 32

// noopServers is the number of asynq.Servers that take from one queue: one takes task by task,
// and four keep both cores busy.
const noopServers = 4

// asynq pushes empty tasks through a handler that does nothing.
func (b *bench) asynq(ctx context.Context) (figures, error) {
	var done atomic.Int64
	last := make(chan struct{})
	handler := asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if done.Add(1) == int64(b.Jobs) {
			close(last)
		}
		return nil
	})
	for range noopServers {
		srv := asynq.NewServer(cli.ForAsynq(b.opts), asynq.Config{
			Concurrency: max(b.Workers/noopServers, 1), Queues: map[string]int{"noop": 1}, TaskCheckInterval: 100 * time.Millisecond, LogLevel: asynq.ErrorLevel,
		})
		if err := srv.Start(handler); err != nil {
			return figures{}, err
		}
		defer srv.Shutdown()
	}
	client := asynq.NewClientFromRedisClient(b.redis)
	started := time.Now()
	var wg sync.WaitGroup
	errs := make(chan error, pushers)
	for p := range pushers {
		wg.Go(func() {
			for i := p; i < b.Jobs; i += pushers {
				if _, err := client.EnqueueContext(ctx, asynq.NewTask("noop", nil), asynq.Queue("noop")); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	f := figures{enqueue: time.Since(started)}
	select {
	case err := <-errs:
		return f, err
	case <-ctx.Done():
		return f, ctx.Err()
	case <-last:
	}
	f.total = time.Since(started)
	return f, nil
}

// oneflow takes as many prompts from lines of JSON to results in Postgres, with so many
// workers that share the handlers; 0: with one in this process. What a worker takes once, for
// its connections and their plans, is counted, unless it has run warmUp jobs before.
func (b *bench) oneflow(ctx context.Context, workers, warmUp int) (f figures, err error) {
	var started []*harness.Process
	var leave func() error
	if workers > 0 {
		started, leave, err = b.workers(ctx, workers)
	} else {
		leave, err = b.worker(ctx, fmt.Sprintf("{mock: {limits: {rpm: 0}, concurrency: %d, mock: {latency: 1ns}}}", b.Workers))
	}
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, leave()) }()
	if warmUp > 0 {
		if _, err := b.batch(ctx, warmUp, &figures{}); err != nil {
			return f, err
		}
	}
	before, err := b.wal(ctx)
	if err != nil {
		return f, err
	}
	used, err := b.processor(ctx, started)
	if err != nil {
		return f, err
	}
	id, err := b.batch(ctx, b.Jobs, &f)
	if err != nil {
		return f, err
	}
	after, err := b.wal(ctx)
	if err != nil {
		return f, err
	}
	f.wal = after - before
	now, err := b.processor(ctx, started)
	if err != nil {
		return f, err
	}
	producer := f.cpu.producer
	f.cpu = now.minus(used)
	f.cpu.producer = producer
	return f, b.check(ctx, id)
}

// batch has the producer accept n prompts, waits for their end, and notes how long that took.
func (b *bench) batch(ctx context.Context, n int, f *figures) (id string, err error) {
	id = batches.NewID(time.Now())
	if f.enqueue, f.cpu.producer, err = b.produce(ctx, id, n); err != nil {
		return id, err
	}
	// Seldom, as looking is not part of the work; nor is what workers do that have none.
	var p jobs.Progress
	for tick := time.Tick(200 * time.Millisecond); !p.Finished(); {
		select {
		case <-ctx.Done():
			return id, ctx.Err()
		case <-tick:
		}
		if p, err = b.store.Progress(ctx, id); err != nil {
			return id, err
		}
	}
	// From the producer's first statement on, by the clock of the database: neither polling nor
	// the start of the producer's process is counted, as for the others.
	began, err := harness.Query[time.Time](ctx, b.url, `SELECT created_at FROM batches WHERE id = $1`, id)
	if err != nil {
		return id, err
	}
	f.total = p.FinishedAt.Sub(began)
	return id, nil
}

// shared is the number of workers of the round that is compared with those of one.
const shared = 4

// scale measures what a job takes with several workers over what it takes with one, once they
// have all run jobs before: in twice as many rounds and one, since two short runs are compared in
// each. The median counts.
func (b *bench) scale(ctx context.Context, w io.Writer) error {
	var shares []float64
	for range 2*b.Rounds + 1 {
		one, err := b.oneflow(ctx, 1, b.Jobs/2)
		if err != nil {
			return err
		}
		several, err := b.oneflow(ctx, shared, b.Jobs/2)
		if err != nil {
			return err
		}
		shares = append(shares, float64(several.cpu.perJob(b.Jobs))/float64(one.cpu.perJob(b.Jobs)))
	}
	slices.Sort(shares)
	fmt.Fprintf(w, "scale/%d_workers_vs_1_cpu_per_job = %.2f\n", shared, shares[len(shares)/2])
	return nil
}

// profiled writes a CPU profile of a round with a worker in this process.
func (b *bench) profiled(ctx context.Context) (err error) {
	file, err := os.Create(b.Profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	_, err = b.oneflow(ctx, 0, 0)
	return err
}

// wal returns the number of bytes that Postgres has written to its log.
func (b *bench) wal(ctx context.Context) (bytes int64, err error) {
	return harness.Query[int64](ctx, b.url, `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint`)
}

// worker runs one with these providers until leave is called.
func (b *bench) worker(ctx context.Context, providers string) (leave func() error, err error) {
	cfg, err := config.Parse([]byte("providers: "+providers), "bench")
	if err != nil {
		return nil, err
	}
	if cfg.Artifacts, err = os.MkdirTemp("", "oneflow-bench-"); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- app.RunWorker(ctx, app.WorkerOptions{Config: cfg, Store: b.store, Redis: cli.ForAsynq(b.opts), Log: zerolog.Nop()})
	}()
	return func() error {
		stop()
		return errors.Join(<-ended, os.RemoveAll(cfg.Artifacts))
	}, nil
}

// check counts rows: a rate without them would mean nothing.
func (b *bench) check(ctx context.Context, id string) error {
	p, err := b.store.Progress(ctx, id)
	if err != nil {
		return err
	}
	totals, err := b.store.Totals(ctx, id)
	if err != nil {
		return err
	}
	results := 0
	err = b.store.Export(ctx, id, func(r batches.Record) error {
		if r.Text != "" {
			results++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n := int64(b.Jobs); p.Counts[jobs.Succeeded] != n || totals.Calls != n || results != b.Jobs {
		return fmt.Errorf("batch %s: %d jobs gave %d that succeeded, %d calls, %d results", id, b.Jobs, p.Counts[jobs.Succeeded], totals.Calls, results)
	}
	return nil
}
