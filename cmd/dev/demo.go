package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/internal/devstack"
	"oneflow/jobs"
)

const (
	connectTimeout = 10 * time.Second
	// demoRPM is the limit of each fake provider: high enough for the demo to
	// take seconds.
	demoRPM = 9000
)

// demoCmd runs the sample prompts through.
type demoCmd struct {
	Jobs   int    `help:"How many prompts." default:"1000"`
	Out    string `help:"Where the results go; default: demo/results.jsonl in the data folder." placeholder:"FILE"`
	Listen string `help:"Where the monitor listens meanwhile." default:"127.0.0.1:0"`
}

// Run does everything and prints a summary.
func (c *demoCmd) Run(s *session) error {
	if c.Jobs < 1 || c.Jobs > 1_000_000 {
		return cli.Fail(cli.Usage, fmt.Errorf("--jobs %d: must be from 1 to 1,000,000", c.Jobs))
	}
	started := time.Now()
	folder, err := s.demoFolder()
	if err != nil {
		return err
	}
	if c.Out == "" {
		c.Out = filepath.Join(folder, "results.jsonl")
	}
	s.config.Artifacts, s.config.State = filepath.Join(folder, "artifacts"), folder
	closeLog, err := s.logTo(filepath.Join(folder, "demo.log"))
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }()
	listener, err := s.listen(c.Listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	fake, _, err := s.fakeProviders(demoRPM, rehearsalLatency, nil)
	if err != nil {
		return err
	}
	defer func() { _ = fake.Close() }()
	stack, err := s.start(devstack.Options{Dir: filepath.Join(folder, "services"), Persist: true, Fresh: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Env.Err, "services and schema ready after %s\n", cli.Span(time.Since(started)))
	services := cli.Services{DatabaseURL: stack.DatabaseURL, RedisURL: stack.RedisURL, ConnectTimeout: connectTimeout}
	err = s.withServices(services, listener, func(ctx context.Context, p *parts) error {
		return c.through(ctx, s, p, stack, folder)
	})
	return errors.Join(err, stack.Close())
}

// relative shortens a path for people who stand in the project's folder.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	short, err := filepath.Rel(here, path)
	if err != nil || strings.HasPrefix(short, "..") {
		return path
	}
	return short
}

// demoFolder is the folder in which the demo leaves files.
func (s *session) demoFolder() (string, error) {
	folder := filepath.Join(s.dir, "demo")
	// The services' account passes through; the files in it are private.
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // see above
		return "", fmt.Errorf("demo: %w", err)
	}
	return folder, nil
}

// through takes the prompts to their results.
func (c *demoCmd) through(ctx context.Context, s *session, p *parts, stack *devstack.Stack, folder string) error {
	fmt.Fprintf(s.Env.Err, "monitor at %s while this runs\n", p.url)
	opts, err := redis.ParseURL(p.services.RedisURL)
	if err != nil {
		return err
	}
	client := redis.NewClient(opts)
	defer func() { _ = client.Close() }()
	prompts, err := samples(c.Jobs)
	if err != nil {
		return err
	}
	id := batches.NewID(time.Now())
	producer, err := app.NewProducer(s.config, p.db, jobs.NewDispatcher(client, p.db))
	if err != nil {
		return err
	}
	intake := batches.Intake{
		Input: batches.Input{
			Defaults: map[string]json.RawMessage{
				"lane": json.RawMessage(`"bulk"`),
			},
			Kind: func(provider string) (string, bool) {
				k, ok := s.config.Providers[provider]
				return k.Kind, ok
			},
		},
		Batch:    jobs.Batch{ID: id, Account: jobs.DefaultAccount, Source: "demo"},
		Store:    p.db,
		Producer: producer,
	}
	begun := time.Now()
	rep, err := intake.Take(ctx, rows.JSONLines("samples", prompts))
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Env.Err, "accepted %s prompts as batch %s\n", cli.Count(int64(rep.Accepted)), rep.BatchID)
	last, err := cli.Watch(ctx, s.Env.Err, func(ctx context.Context) (jobs.Progress, error) { return p.db.Progress(ctx, id) })
	if err != nil {
		return err
	}
	return c.summary(ctx, s, p, last, begun, stack, folder)
}

// summary exports the results and says what happened.
func (c *demoCmd) summary(ctx context.Context, s *session, p *parts, last jobs.Progress, begun time.Time, stack *devstack.Stack, folder string) error {
	wall := last.FinishedAt.Sub(begun)
	totals, err := p.db.Totals(ctx, last.BatchID)
	if err != nil {
		return err
	}
	var n batches.Exported
	err = cli.WriteFile(c.Out, func(w io.Writer) (err error) {
		n, err = batches.Export{}.Write(ctx, p.db, last.BatchID, w)
		return err
	})
	if err != nil {
		return err
	}
	where := "tables jobs, job_states, results, calls, artifacts of DATABASE_URL"
	if stack.OwnPostgres {
		where = "bring this database up again with: bin/dev --dir " + relative(filepath.Join(folder, "services")) + " up"
	}
	rows := [][]string{
		{"succeeded", cli.Count(last.Counts[jobs.Succeeded])},
		{"failed", cli.Count(last.Failures())},
		{"provider calls", cli.Count(totals.Calls)},
		{"tokens", fmt.Sprintf("%s in, %s out", cli.Count(totals.InputTokens), cli.Count(totals.OutputTokens))},
		{"pictures and sounds", fmt.Sprintf("%s in %s", cli.Count(totals.Artifacts), relative(s.config.Artifacts))},
		{"cost", cli.Money(last.Cost+last.Simulated, last.Unpriced) + " at the vendors' prices, had they not been fakes"},
		{"wall time", cli.Span(wall)},
		{"rate", fmt.Sprintf("%.0f jobs/s", float64(last.Done())/wall.Seconds())},
		{"results", fmt.Sprintf("%s lines in %s", cli.Count(n.Lines), relative(c.Out))},
		{"in Postgres", where},
	}
	fmt.Fprintln(s.Env.Out)
	if err := cli.Fields(s.Env.Out, rows); err != nil {
		return err
	}
	if failures := last.Failures(); failures > 0 || last.Counts[jobs.Succeeded] != int64(c.Jobs) {
		return cli.Fail(cli.JobsFailed, fmt.Errorf("%s of %s jobs did not succeed", cli.Count(int64(c.Jobs)-last.Counts[jobs.Succeeded]), cli.Count(int64(c.Jobs))))
	}
	return nil
}
