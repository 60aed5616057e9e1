// Command bench measures OneFlow from end to end beside asynq alone and beside River, in
// turns in one run, so that the ratios hold on any machine. It may import everything but
// the commands.
//
// All are measured from the first enqueue to the last completion, with the same number of
// handlers and a provider that answers at once: asynq alone runs a handler that does
// nothing; River and OneFlow accept the same number of prompts and record a call and a
// result of each. Worker and producer are the built commands, in processes of their own,
// and River is a program of its own (internal/bench/river). Postgres writes to the disk before it
// answers, as in production.
//
// What one job, one wait, jobs that become due and an idle worker take is measured after
// that, and last what a job takes where a million wait, or have ended.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/harness"
)

func main() { os.Exit(cli.Main("bench", run)) }

type grammar struct {
	Jobs    int    `help:"Jobs in each round." default:"10000"`
	Rounds  int    `help:"Rounds of each side, in turns; the median counts." default:"3"`
	Only    bool   `help:"Measure the rounds alone."`
	Many    int    `help:"Jobs that wait, and then have ended, for the lines of growth; 0 leaves them out." default:"1000000"`
	Profile string `help:"File for a CPU profile of a round with the worker in this process."`
	Workers int    `help:"Handlers at once, on both sides." default:"400"`
}

// figures are the measurements of one side in one round.
type figures struct {
	enqueue time.Duration // until the last job was accepted
	total   time.Duration // until the last job was done
	wal     int64         // bytes that Postgres wrote to its log
	cpu     processor
}

func (f figures) rate(n int) float64 { return float64(n) / f.total.Seconds() }

func run(ctx context.Context, args []string, env cli.Env) (err error) {
	var g grammar
	_, done, err := cli.Program{Name: "bench", Description: "Measure OneFlow against asynq alone and against River."}.Parse(&g, args, env)
	if err != nil || done {
		return err
	}
	if g.Jobs < 1 || g.Rounds < 1 || g.Workers < 1 || g.Many != 0 && g.Many < 2*g.Jobs {
		return cli.Fail(cli.Usage, errors.New("--jobs, --rounds and --workers must be positive, and --many 0 or twice as many as --jobs"))
	}
	dir, err := os.MkdirTemp("", "oneflow-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	services, err := harness.StartDurable(ctx, env.Err, env.Getenv, dir)
	if err != nil {
		return cli.Fail(cli.Unavailable, err)
	}
	defer func() { err = errors.Join(err, services.Close()) }()
	fleet, err := newFleet(ctx, dir, services)
	if err != nil {
		return err
	}
	b, err := newBench(g, services, fleet)
	if err != nil {
		return err
	}
	defer func() { _ = b.redis.Close() }()

	var raw, river, ours []figures
	for i := range g.Rounds {
		r, err := b.asynq(ctx)
		if err != nil {
			return err
		}
		v, err := b.river(ctx, i)
		if err != nil {
			return err
		}
		o, err := b.oneflow(ctx, 1, 0)
		if err != nil {
			return err
		}
		raw, river, ours = append(raw, r), append(river, v), append(ours, o)
		fmt.Fprintf(env.Err, "round %d: asynq %.0f jobs/s, River %.0f jobs/s, OneFlow %.0f jobs/s\n", i+1, r.rate(g.Jobs), v.rate(g.Jobs), o.rate(g.Jobs))
	}
	r, v, o := median(raw), median(river), median(ours)
	rows := [][]string{
		{"", "jobs/s", "accepted/s"},
		{"asynq alone, no-op handler, 4 Servers", fmt.Sprintf("%.0f", r.rate(g.Jobs)), fmt.Sprintf("%.0f", float64(g.Jobs)/r.enqueue.Seconds())},
		{"River, the same rows recorded", fmt.Sprintf("%.0f", v.rate(g.Jobs)), fmt.Sprintf("%.0f", float64(g.Jobs)/v.enqueue.Seconds())},
		{"OneFlow, all recorded", fmt.Sprintf("%.0f", o.rate(g.Jobs)), fmt.Sprintf("%.0f", float64(g.Jobs)/o.enqueue.Seconds())},
	}
	if err := cli.Table(env.Out, rows); err != nil {
		return err
	}
	fmt.Fprintf(env.Out, "checked: %d rounds of %d jobs with %d handlers, each job with one succeeded job, one attempt and one result in Postgres\n", g.Rounds, g.Jobs, g.Workers)
	fmt.Fprintf(env.Out, "work/asynq_noop_4servers = %.2f\n", o.rate(g.Jobs)/r.rate(g.Jobs))
	fmt.Fprintf(env.Out, "work/river_recorded = %.2f\n", o.rate(g.Jobs)/v.rate(g.Jobs))
	o.cpu.write(env.Out, g.Jobs)
	fmt.Fprintf(env.Out, "wal_bytes_per_job = %d\n", o.wal/int64(g.Jobs))
	if err := b.budget(ctx, env.Out, o); err != nil {
		return err
	}
	if g.Profile != "" {
		if err := b.profiled(ctx); err != nil {
			return err
		}
	}
	if g.Only {
		return nil
	}
	for _, measure := range []func(context.Context, io.Writer) error{b.scale, b.hot, b.wait, b.due, b.idle} {
		if err := measure(ctx, env.Out); err != nil {
			return err
		}
	}
	if g.Many == 0 {
		return nil
	}
	return b.many(ctx, env.Out)
}

// median is the round with the median total.
func median(all []figures) figures {
	slices.SortFunc(all, func(a, b figures) int { return int(a.total - b.total) })
	return all[len(all)/2]
}
