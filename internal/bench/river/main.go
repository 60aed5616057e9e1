// Command river measures River (github.com/riverqueue/river) beside OneFlow: as many jobs
// from their acceptance to their results in Postgres. It is a module of its own, so that
// the project does not depend on River; internal/bench builds and runs it.
//
// Each job records what OneFlow records of one: the row of a call before it, that row's end and
// the answer after it, each committed before the job goes on, with OneFlow's columns, the same
// values in them, and its constraints of values. The answer is as long as that of OneFlow's mock, its text and
// the vendor's body around it, with the body's hash. Indexes serve the same questions: a call
// by its id, the calls of a job, those under way of a worker, those that ended at a time; and a result by its
// job. As OneFlow does, it commits the rows of many jobs together, at most 500, which wait 2 ms for
// each other; River's own completer does so for the ends of jobs.
//
// What OneFlow keeps beside is not recorded: nothing of queues and states, which are River's
// own here; no link of calls to several jobs (the call has its job's id); no sums by batch, provider,
// hour and latency; no reservation, price list or check whether the lease still holds.
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

	"github.com/google/uuid"
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
	call, err := uuid.NewV7()
	if err != nil {
		return err
	}
	if err := r.calls.write(ctx, row{call: call, job: job.ID}); err != nil {
		return err
	}
	body := fmt.Sprintf(`{"id":"mock-%012x-1","object":"chat.completion","created":0,"model":"mock-text","choices":[{"index":0,`+
		`"message":{"role":"assistant","content":%q},"finish_reason":"length"}],"usage":{"completion_tokens":32,"prompt_tokens":11,"total_tokens":43}}`, job.ID, r.answer)
	return r.ended.write(ctx, row{call: call, job: job.ID, text: r.answer, raw: []byte(body)})
}

// schema holds the columns of OneFlow's calls and results. Where a call stands for several jobs
// there, it has one here.
const schema = `
	CREATE TABLE recorded_calls (
		id uuid PRIMARY KEY, worker_id uuid NOT NULL, started_at timestamptz NOT NULL DEFAULT now(), deadline timestamptz NOT NULL,
		job_id bigint NOT NULL, gen int NOT NULL, attempt int NOT NULL, lease_token uuid NOT NULL,
		simulated bool NOT NULL DEFAULT false, provider text NOT NULL, model text NOT NULL, scope text NOT NULL DEFAULT '',
		reserved_nano bigint CHECK (reserved_nano >= 0), unit_nano numeric, markup numeric, charge_reserved_nano bigint,
		state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'succeeded', 'failed_unbilled', 'failed_billed', 'unknown')),
		cost_nano bigint CHECK (cost_nano >= 0), charge_nano bigint CHECK (charge_nano >= 0), finished_at timestamptz, corrected_at timestamptz,
		latency_ms bigint, input_tokens bigint NOT NULL DEFAULT 0, output_tokens bigint NOT NULL DEFAULT 0, http_status int,
		price_ids text[] NOT NULL DEFAULT '{}', request_id text NOT NULL DEFAULT '', handle text NOT NULL DEFAULT '',
		error_kind text NOT NULL DEFAULT '', error_message text NOT NULL DEFAULT '', error_body bytea,
		usage jsonb NOT NULL DEFAULT '{}', rate_limits jsonb NOT NULL DEFAULT '{}',
		CHECK ((finished_at IS NULL) = (state = 'running'))) WITH (fillfactor = 35);
	CREATE INDEX ON recorded_calls (job_id);
	CREATE INDEX ON recorded_calls (worker_id) WHERE state = 'running';
	CREATE INDEX ON recorded_calls USING brin (finished_at) WITH (autosummarize = on, pages_per_range = 16);
	CREATE TABLE recorded_results (
		job_id bigint PRIMARY KEY, call_id uuid NOT NULL, provider text NOT NULL, model text NOT NULL, text text NOT NULL DEFAULT '', vector bytea,
		raw bytea, raw_sha256 bytea CHECK (raw_sha256 IS NULL OR length(raw_sha256) = 32), finish_reason text NOT NULL DEFAULT '',
		request_id text NOT NULL DEFAULT '', http_status int NOT NULL DEFAULT 200, latency_ms bigint NOT NULL DEFAULT 0,
		usage jsonb NOT NULL DEFAULT '{}', cached bool NOT NULL DEFAULT false, saved_nano bigint, created_at timestamptz NOT NULL DEFAULT now())`

// Both take the call's id, the job's, the text, the body and its hash.
const (
	given    = `unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[], $5::bytea[]) AS w (call, job, text, raw, sum)`
	beginSQL = `
		INSERT INTO recorded_calls (id, worker_id, deadline, job_id, gen, attempt, lease_token, simulated, provider, model, reserved_nano)
		SELECT call, '01a22670-0aa5-7b3f-bb9a-117c6751a577', now() + interval '2 minutes', job, 1, 1, call, true, 'mock', 'mock-text', 23300
		FROM ` + given
	endSQL = `
		WITH ended AS (
			UPDATE recorded_calls c
			SET state = 'succeeded', finished_at = now(), cost_nano = 13900, charge_nano = 13900, latency_ms = 0, http_status = 200,
				price_ids = '{mock/mock-text/input_tokens@2020-01-01,mock/mock-text/output_tokens@2020-01-01}',
				request_id = 'mock-' || right(w.call::text, 12) || '-1', usage = '{"input_tokens": 11, "output_tokens": 32}', input_tokens = 11, output_tokens = 32
			FROM ` + given + `
			WHERE c.id = w.call
		)
		INSERT INTO recorded_results (job_id, call_id, provider, model, text, raw, raw_sha256, finish_reason, request_id, usage)
		SELECT job, call, 'mock', 'mock-text', text, raw, sum, 'length', 'mock-' || right(call::text, 12) || '-1', '{"input_tokens": 11, "output_tokens": 32}'
		FROM ` + given
)

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("river", flag.ContinueOnError)
	database := flags.String("database", "", "URL of an empty database")
	jobs := flags.Int("jobs", 10_000, "jobs")
	workers := flags.Int("workers", 400, "jobs that run at once")
	size := flags.Int("answer", 128, "bytes of an answer's text")
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
			err := pool.QueryRow(ctx, `SELECT count(*) FROM recorded_results r JOIN recorded_calls c ON c.id = r.call_id WHERE c.state = 'succeeded'`).Scan(&results)
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
