// Command river measures River (github.com/riverqueue/river) beside OneFlow: as many jobs
// from their acceptance to their results in Postgres. It is a module of its own, so that
// the project does not depend on River; internal/bench builds and runs it.
//
// Each job writes what OneFlow writes for one: a row before its call, that row's end and
// the answer after it, each committed before the job goes on. As OneFlow does, it commits
// the rows of many jobs together; River's own completer does so for the ends of jobs.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		stop()
		os.Exit(1)
	}
}

// promptArgs is a job.
type promptArgs struct {
	Prompt    string `json:"prompt"`
	MaxTokens int    `json:"max_tokens"`
}

// Kind implements river.JobArgs.
func (promptArgs) Kind() string { return "prompt" }

// recorder is the worker: it makes a call that takes no time, and records it.
type recorder struct {
	river.WorkerDefaults[promptArgs]

	answer       string
	calls, ended *together
}

// Work implements river.Worker.
func (r *recorder) Work(ctx context.Context, job *river.Job[promptArgs]) error {
	if err := r.calls.write(ctx, row{job: job.ID}); err != nil {
		return err
	}
	return r.ended.write(ctx, row{job: job.ID, text: r.answer})
}

const schema = `
	CREATE TABLE recorded_calls (
		job_id bigint PRIMARY KEY, provider text NOT NULL, model text NOT NULL, state text NOT NULL DEFAULT 'running',
		started_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz, cost_nano bigint, input_tokens bigint, output_tokens bigint);
	CREATE TABLE recorded_results (
		job_id bigint PRIMARY KEY, text text NOT NULL, created_at timestamptz NOT NULL DEFAULT now())`

const (
	beginSQL = `INSERT INTO recorded_calls (job_id, provider, model) SELECT job, 'mock', 'mock' FROM unnest($1::bigint[], $2::text[]) AS w (job, text)`
	endSQL   = `
		WITH ended AS (
			UPDATE recorded_calls c
			SET state = 'succeeded', finished_at = now(), cost_nano = 0, input_tokens = 8, output_tokens = 250
			FROM unnest($1::bigint[]) AS w (job)
			WHERE c.job_id = w.job
		)
		INSERT INTO recorded_results (job_id, text) SELECT job, text FROM unnest($1::bigint[], $2::text[]) AS w (job, text)`
)

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("river", flag.ContinueOnError)
	database := flags.String("database", "", "URL of an empty database")
	jobs := flags.Int("jobs", 10_000, "jobs")
	workers := flags.Int("workers", 400, "jobs that run at once")
	size := flags.Int("answer", 1024, "bytes of an answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg, err := pgxpool.ParseConfig(*database)
	if err != nil {
		return err
	}
	cfg.MaxConns = 16
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := prepare(ctx, pool, *workers, *size)
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if stopErr := client.Stop(stopCtx); err == nil {
			err = stopErr
		}
	}()
	began := time.Now()
	if err := accept(ctx, client, *jobs); err != nil {
		return err
	}
	accepted := time.Since(began)
	took, err := wait(ctx, pool, *jobs, began)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "jobs_per_s = %.0f\naccepted_per_s = %.0f\n", float64(*jobs)/took.Seconds(), float64(*jobs)/accepted.Seconds())
	return err
}

// prepare brings the schemas up and makes a client that fetches as often as it may.
func prepare(ctx context.Context, pool *pgxpool.Pool, workers, size int) (*river.Client[pgx.Tx], error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, schema); err != nil {
		return nil, err
	}
	all := river.NewWorkers()
	err = river.AddWorkerSafely(all, &recorder{
		answer: strings.Repeat("x", size), calls: newTogether(ctx, pool, beginSQL), ended: newTogether(ctx, pool, endSQL),
	})
	if err != nil {
		return nil, err
	}
	return river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		FetchCooldown: time.Millisecond, FetchPollInterval: 50 * time.Millisecond,
		Workers: all, Logger: slog.New(slog.DiscardHandler),
	})
}

// accept inserts the jobs by COPY, 2,000 at a time.
func accept(ctx context.Context, client *river.Client[pgx.Tx], jobs int) error {
	const page = 2000
	for first := 0; first < jobs; first += page {
		var list []river.InsertManyParams
		for i := first; i < min(first+page, jobs); i++ {
			list = append(list, river.InsertManyParams{Args: promptArgs{Prompt: fmt.Sprintf("Say something short about the number %d.", i), MaxTokens: 32}})
		}
		if _, err := client.InsertManyFast(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until all jobs are completed and recorded, and returns how long after began
// the last one was, by the database's clock, which is this machine's.
func wait(ctx context.Context, pool *pgxpool.Pool, jobs int, began time.Time) (time.Duration, error) {
	for tick := time.Tick(500 * time.Millisecond); ; {
		var completed int
		var last *time.Time
		err := pool.QueryRow(ctx, `SELECT count(*), max(finalized_at) FROM river_job WHERE state = 'completed'`).Scan(&completed, &last)
		if err != nil {
			return 0, err
		}
		if completed == jobs {
			var results int
			err := pool.QueryRow(ctx, `SELECT count(*) FROM recorded_results JOIN recorded_calls USING (job_id) WHERE state = 'succeeded'`).Scan(&results)
			if err == nil && results != jobs {
				err = fmt.Errorf("%d jobs have %d results", jobs, results)
			}
			return last.Sub(began), err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick:
		}
	}
}
