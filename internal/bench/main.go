// Command bench measures OneFlow from end to end against asynq alone, side by
// side in one run, so that the ratio holds on any machine. It may import
// everything but the commands.
//
// Three commits a job take their time, as a provider's answer does: handlers
// enough keep both cores busy, on either side.
//
// Both sides are measured from the first enqueue to the last completion, with
// the same number of workers and a provider that answers at once: asynq alone
// runs a handler that does nothing; OneFlow accepts the same number of prompts,
// claims each, writes its ledger row, calls the mock, and records its result.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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

func main() { os.Exit(cli.Main("bench", run)) }

type grammar struct {
	Jobs    int `help:"Jobs in each round." default:"10000"`
	Rounds  int `help:"Rounds of each side, in turns; the median counts." default:"3"`
	Workers int `help:"Handlers at once, on both sides." default:"400"`
}

// figures are the measurements of one side in one round.
type figures struct {
	enqueue time.Duration // until the last job was accepted
	total   time.Duration // until the last job was done
}

func (f figures) rate(n int) float64 { return float64(n) / f.total.Seconds() }

func run(ctx context.Context, args []string, env cli.Env) (err error) {
	var g grammar
	_, done, err := cli.Program{Name: "bench", Description: "Measure OneFlow against asynq alone."}.Parse(&g, args, env)
	if err != nil || done {
		return err
	}
	if g.Jobs < 1 || g.Rounds < 1 || g.Workers < 1 {
		return cli.Fail(cli.Usage, errors.New("--jobs, --rounds and --workers must be positive"))
	}
	services, err := harness.StartServices(ctx, env.Err, env.Getenv)
	if err != nil {
		return cli.Fail(cli.Unavailable, err)
	}
	defer func() { err = errors.Join(err, services.Close()) }()
	b, err := newBench(g, services)
	if err != nil {
		return err
	}
	defer func() { _ = b.redis.Close() }()

	var raw, ours []figures
	for i := range g.Rounds {
		r, err := b.asynq(ctx)
		if err != nil {
			return err
		}
		o, err := b.oneflow(ctx)
		if err != nil {
			return err
		}
		raw, ours = append(raw, r), append(ours, o)
		fmt.Fprintf(env.Err, "round %d: asynq %.0f jobs/s, OneFlow %.0f jobs/s\n", i+1, r.rate(g.Jobs), o.rate(g.Jobs))
	}
	r, o := median(raw), median(ours)
	rows := [][]string{
		{"", "jobs/s", "accepted/s"},
		{"asynq alone, no-op handler", fmt.Sprintf("%.0f", r.rate(g.Jobs)), fmt.Sprintf("%.0f", float64(g.Jobs)/r.enqueue.Seconds())},
		{"OneFlow, all recorded", fmt.Sprintf("%.0f", o.rate(g.Jobs)), fmt.Sprintf("%.0f", float64(g.Jobs)/o.enqueue.Seconds())},
	}
	if err := cli.Table(env.Out, rows); err != nil {
		return err
	}
	fmt.Fprintf(env.Out, "checked: %d rounds of %d jobs with %d handlers, each job with one succeeded job, one attempt and one result in Postgres\n", g.Rounds, g.Jobs, g.Workers)
	_, err = fmt.Fprintf(env.Out, "end_to_end/asynq_noop = %.2f\n", o.rate(g.Jobs)/r.rate(g.Jobs))
	return err
}

// median is the round with the median total.
func median(all []figures) figures {
	slices.SortFunc(all, func(a, b figures) int { return int(a.total - b.total) })
	return all[len(all)/2]
}

type bench struct {
	grammar
	store *store.Store
	opts  *redis.Options
	redis redis.UniversalClient
}

func newBench(g grammar, services *harness.Services) (*bench, error) {
	opts, err := redis.ParseURL(services.RedisURL)
	if err != nil {
		return nil, err
	}
	return &bench{grammar: g, store: services.Store, opts: opts, redis: redis.NewClient(opts)}, nil
}

// pushers is the number of goroutines that enqueue on asynq's side, as on ours.
const pushers = 32

// asynq pushes empty tasks through a handler that does nothing.
func (b *bench) asynq(ctx context.Context) (figures, error) {
	var done atomic.Int64
	last := make(chan struct{})
	srv := asynq.NewServer(cli.ForAsynq(b.opts), asynq.Config{
		Concurrency: b.Workers, Queues: map[string]int{"noop": 1}, TaskCheckInterval: 100 * time.Millisecond, LogLevel: asynq.ErrorLevel,
	})
	err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if done.Add(1) == int64(b.Jobs) {
			close(last)
		}
		return nil
	}))
	if err != nil {
		return figures{}, err
	}
	defer srv.Shutdown()
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

// oneflow takes as many prompts from lines of JSON to results in Postgres.
func (b *bench) oneflow(ctx context.Context) (f figures, err error) {
	cfg, err := config.Parse(fmt.Appendf(nil, "providers: {mock: {limits: {rpm: 0}, concurrency: %d, mock: {latency: 1ns}}}", b.Workers), "bench")
	if err != nil {
		return f, err
	}
	if cfg.Artifacts, err = os.MkdirTemp("", "oneflow-bench-"); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.Artifacts)) }()
	workerCtx, stop := context.WithCancel(ctx)
	defer stop()
	worker := make(chan error, 1)
	go func() {
		worker <- app.RunWorker(workerCtx, app.WorkerOptions{Config: cfg, Providers: []string{"mock"}, Store: b.store, Redis: cli.ForAsynq(b.opts), Log: zerolog.Nop()})
	}()
	id := batches.NewID(time.Now())
	intake := batches.Intake{
		Input: batches.Input{Kind: func(string) (string, bool) { return "mock", true }, Defaults: map[string]json.RawMessage{"provider": json.RawMessage(`"mock"`)}},
		Batch: jobs.Batch{ID: id, Account: jobs.DefaultAccount, Source: "bench"}, Store: b.store,
		Producer: jobs.NewProducer(b.store, jobs.NewDispatcher(b.redis, b.store)),
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
	stop()
	if err := <-worker; err != nil {
		return f, err
	}
	return f, b.check(ctx, id, rep)
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
