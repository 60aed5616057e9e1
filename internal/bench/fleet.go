package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"oneflow/internal/harness"
)

// newFleet builds the commands that are measured.
func newFleet(ctx context.Context, dir string, services *harness.Services) (*harness.Fleet, error) {
	f := &harness.Fleet{Dir: filepath.Join(dir, "fleet"), Bin: filepath.Join(dir, "bin"), DatabaseURL: services.DatabaseURL, RedisURL: services.RedisURL}
	if err := os.Mkdir(f.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := harness.Build(ctx, f.Bin, nil, "worker", "enqueue"); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-C", "internal/bench/river", "-o", filepath.Join(f.Bin, "river"), ".").CombinedOutput() //nolint:gosec // our own arguments
	if err != nil {
		return nil, fmt.Errorf("build internal/bench/river: %w\n%s", err, out)
	}
	return f, nil
}

// workers starts processes that share so many handlers, and returns how to end them. They
// have started when it returns.
func (b *bench) workers(ctx context.Context, n int) (started []*harness.Process, end func() error, err error) {
	err = b.fleet.Configure(fmt.Sprintf("artifacts: %s\nstate: %s\nproviders: {mock: {limits: {rpm: 0}, concurrency: %d, mock: {latency: 1ns}}}\n",
		filepath.Join(b.fleet.Dir, "artifacts"), filepath.Join(b.fleet.Dir, "state"), max(b.Workers/n, 1)))
	end = func() error {
		for _, p := range started {
			if err := p.Stop(time.Minute); err != nil {
				return fmt.Errorf("a worker ended with %w: see %s", err, p.Log)
			}
		}
		return nil
	}
	for range n {
		if err != nil {
			break
		}
		var p *harness.Process
		if p, err = b.fleet.Start(ctx, harness.Command{Name: "worker", Args: []string{"run", "--provider", "mock"}, Env: []string{"ONEFLOW_LOG_LEVEL=warn"}}); err == nil {
			started = append(started, p)
		}
	}
	if err == nil {
		err = harness.Until(ctx, 20*time.Millisecond, "the workers to start", func() (bool, error) {
			live, err := harness.Query[int](ctx, b.url, `SELECT count(*) FROM workers WHERE stopped_at IS NULL AND heartbeat_at > now() - interval '5 seconds'`)
			return live >= n, err
		})
	}
	return started, end, err
}

// produce has the producer, a process of its own, accept prompts, and returns what time
// that took, of the clock and of the processor.
func (b *bench) produce(ctx context.Context, batch string, n int) (took, cpu time.Duration, err error) {
	began := time.Now()
	r, err := b.fleet.Run(ctx, harness.Command{
		Name: "enqueue", Args: []string{"batch", "-", "--provider", "mock", "--batch-id", batch, "-o", "json"}, Stdin: prompts(n),
	})
	took = time.Since(began)
	if err != nil {
		return took, 0, err
	}
	var report struct {
		Accepted int `json:"accepted"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || report.Accepted != n {
		return took, 0, fmt.Errorf("batch %s: %d of %d prompts were accepted: %w", batch, report.Accepted, n, err)
	}
	return took, r.State.UserTime() + r.State.SystemTime(), nil
}

// river runs River on a fresh database of the same Postgres. It is a program of its own,
// in a module of its own: see internal/bench/river.
func (b *bench) river(ctx context.Context, round int) (f figures, err error) {
	name := "river_" + strconv.Itoa(round)
	if err := harness.Exec(ctx, b.url, `CREATE DATABASE `+name); err != nil {
		return f, err
	}
	database, err := url.Parse(b.url)
	if err != nil {
		return f, err
	}
	database.Path = "/" + name
	r, err := b.fleet.Run(ctx, harness.Command{
		Name: "river", Args: []string{"-database", database.String(), "-jobs", strconv.Itoa(b.Jobs), "-workers", strconv.Itoa(b.Workers)},
	})
	if err != nil {
		return f, err
	}
	f.total, f.enqueue = time.Duration(float64(b.Jobs)/value(r.Stdout, "jobs_per_s")*1e9), time.Duration(float64(b.Jobs)/value(r.Stdout, "accepted_per_s")*1e9)
	return f, harness.Exec(ctx, b.url, `DROP DATABASE `+name)
}

// value reads a line NAME = VALUE of text.
func value(text, name string) (v float64) {
	for line := range strings.Lines(text) {
		if n, rest, ok := strings.Cut(strings.TrimSpace(line), " = "); ok && n == name {
			v, _ = strconv.ParseFloat(rest, 64)
		}
	}
	return v
}

func prompts(n int) io.Reader {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "{\"prompt\":\"Say something short about the number %d.\",\"max_tokens\":32}\n", i)
	}
	return strings.NewReader(s.String())
}
