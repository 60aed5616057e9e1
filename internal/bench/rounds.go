package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/batches"
	"oneflow/batches/rows"
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
}

func newBench(g grammar, services *harness.Services) (*bench, error) {
	opts, err := redis.ParseURL(services.RedisURL)
	if err != nil {
		return nil, err
	}
	return &bench{grammar: g, store: services.Store, url: services.DatabaseURL, opts: opts, redis: redis.NewClient(opts)}, nil
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
// workers that share the handlers.
func (b *bench) oneflow(ctx context.Context, workers int) (f figures, err error) {
	before, err := b.wal(ctx)
	if err != nil {
		return f, err
	}
	for range workers {
		leave, failed := b.worker(ctx, fmt.Sprintf("{mock: {limits: {rpm: 0}, concurrency: %d, mock: {latency: 1ns}}}", max(b.Workers/workers, 1)))
		if failed != nil {
			return f, failed
		}
		defer func() { err = errors.Join(err, leave()) }()
	}
	id := batches.NewID(time.Now())
	intake := batches.Intake{
		Input: batches.Input{Kind: func(string) (string, bool) { return "mock", true }, Defaults: map[string]json.RawMessage{"provider": json.RawMessage(`"mock"`), "lane": json.RawMessage(`"bulk"`)}},
		Batch: jobs.Batch{ID: id, Account: jobs.DefaultAccount, Source: "bench"}, Store: b.store,
		Producer: jobs.NewProducer(b.store, jobs.NewDispatcher(b.redis, b.store)),
	}
	used, err := b.processor(ctx)
	if err != nil {
		return f, err
	}
	started := time.Now()
	rep, err := intake.Take(ctx, rows.JSONLines("bench", prompts(b.Jobs)))
	if err != nil {
		return f, err
	}
	f.enqueue = time.Since(started)
	// Seldom, as looking is not free and not part of the work.
	var p jobs.Progress
	for tick := time.Tick(2 * time.Second); !p.Finished(); {
		select {
		case <-ctx.Done():
			return f, ctx.Err()
		case <-tick:
		}
		if p, err = b.store.Progress(ctx, id); err != nil {
			return f, err
		}
	}
	// By the clock of the database, on the same machine: polling is not counted.
	f.total = p.FinishedAt.Sub(started)
	after, err := b.wal(ctx)
	if err != nil {
		return f, err
	}
	f.wal = after - before
	now, err := b.processor(ctx)
	if err != nil {
		return f, err
	}
	f.cpu = now.minus(used)
	return f, b.check(ctx, id, rep)
}

// profiled is oneflow with a CPU profile, where one is asked for.
func (b *bench) profiled(ctx context.Context, last bool) (f figures, err error) {
	if b.Profile == "" || !last {
		return b.oneflow(ctx, 1)
	}
	file, err := os.Create(b.Profile)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return f, err
	}
	defer pprof.StopCPUProfile()
	return b.oneflow(ctx, 1)
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
func (b *bench) check(ctx context.Context, id string, rep batches.Report) error {
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
	if n := int64(b.Jobs); rep.Accepted != b.Jobs || p.Counts[jobs.Succeeded] != n || totals.Calls != n || results != b.Jobs {
		return fmt.Errorf("batch %s: %d jobs gave %d accepted, %d succeeded, %d attempts, %d results", id, b.Jobs, rep.Accepted, p.Counts[jobs.Succeeded], totals.Calls, results)
	}
	return nil
}

func prompts(n int) io.Reader {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "{\"prompt\":\"Say something short about the number %d.\",\"max_tokens\":32}\n", i)
	}
	return strings.NewReader(s.String())
}
