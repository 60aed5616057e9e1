package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/devstack"
	"oneflow/internal/fakeprovider"
	"oneflow/jobs"
	"oneflow/migrations"
	"oneflow/store"
)

const (
	model   = "gpt-4o-mini"
	key     = "bench-key-good-for-nothing" // of the fake provider
	batchID = "bench-limits"
	// patience is how long a scenario of three minutes may take.
	patience = 6 * time.Minute
)

// fleet runs a scenario with worker processes, on a Postgres and a Redis of their
// own. It returns how many jobs succeeded.
func fleet(ctx context.Context, s scenario, server *fakeprovider.Server, dir, bin string, env cli.Env) (succeeded int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %s", patience))
	defer cancel()
	stack, err := devstack.Start(ctx, devstack.Options{Log: env.Err, Getenv: func(name string) string {
		if name == "DATABASE_URL" || name == "REDIS_URL" {
			return "" // several scenarios would disturb each other there
		}
		return env.Getenv(name)
	}})
	if err != nil {
		return 0, cli.Fail(cli.Unavailable, err)
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	if _, err := migrations.Up(ctx, stack.DatabaseURL); err != nil {
		return 0, err
	}
	db, err := store.Open(ctx, stack.DatabaseURL)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	c := &commands{dir: dir, bin: bin}
	if c.env, err = c.surroundings(env, stack, server.URL, s.limits); err != nil {
		return 0, err
	}
	if err := c.enqueue(ctx, s); err != nil {
		return 0, err
	}
	for n := range s.workers {
		w, err := c.worker(ctx, n)
		if err != nil {
			return 0, err
		}
		defer w.stop()
		c.workers = append(c.workers, w)
	}
	for tick := time.Tick(time.Second); ; {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-stack.Done():
			return 0, stack.Err()
		case <-tick:
		}
		if s.kill && server.Count() >= int64(s.jobs/2) {
			s.kill = false
			if err := c.workers[0].cmd.Process.Kill(); err != nil {
				return 0, err
			}
			c.workers[0].killed = true
		}
		for _, w := range c.workers {
			if w.ended() && !w.killed {
				return 0, fmt.Errorf("a worker ended by itself: see %s", w.log)
			}
		}
		p, err := db.Progress(ctx, batchID)
		if err != nil {
			return 0, err
		}
		if p.Finished() {
			return int(p.Counts[jobs.Succeeded]), nil
		}
	}
}

// commands runs the built commands.
type commands struct {
	dir, bin string
	env      []string
	workers  []*worker
}

// surroundings writes the configuration and returns the commands' environment:
// nothing of ours gets in, above all no real key.
func (c *commands) surroundings(env cli.Env, stack *devstack.Stack, url string, limits fakeprovider.Limits) ([]string, error) {
	// 0 is no limit. The server tells its own in each answer, too.
	config := fmt.Sprintf("chains: {text: [openai]}\nproviders: {openai: {base_url: %s/openai/v1, limits: {rpm: %d, tpm: %d}}}\n", url, limits.Requests, limits.Tokens)
	file := filepath.Join(c.dir, "oneflow.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return []string{
		"PATH=" + env.Getenv("PATH"), "HOME=" + c.dir, "TMPDIR=" + env.Getenv("TMPDIR"), "ONEFLOW_CONFIG=" + file,
		"DATABASE_URL=" + stack.DatabaseURL, "REDIS_URL=" + stack.RedisURL, "OPENAI_API_KEY=" + key,
	}, nil
}

func (c *commands) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...) //nolint:gosec // our own commands
	cmd.Dir, cmd.Env = c.dir, c.env
	return cmd
}

// enqueue brings the jobs.
func (c *commands) enqueue(ctx context.Context, s scenario) error {
	cmd := c.command(ctx, "enqueue", "batch", "-", "--batch-id", batchID)
	cmd.Stdin = strings.NewReader(rows(s))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("enqueue: %w\n%s", err, out)
	}
	return nil
}

// rows are the jobs. With tokens limited, a call uses 50 to 350 of them: the
// server counts four bytes of a prompt as one.
func rows(s scenario) string {
	rng := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for i := range s.jobs {
		prompt, most := fmt.Sprintf("Say something short about the number %d.", i), 32
		if s.limits.Tokens > 0 {
			tokens := 50 + rng.IntN(301)
			most = min(tokens/3, 100)
			prompt += strings.Repeat(" Then go on.", 1+4*(tokens-most)/len(" Then go on."))
			prompt = prompt[:4*(tokens-most)]
		}
		line, _ := json.Marshal(map[string]any{"provider": "openai", "model": model, "prompt": prompt, "max_tokens": most})
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// worker is one process.
type worker struct {
	cmd    *exec.Cmd
	log    string
	done   chan struct{}
	killed bool
}

func (c *commands) worker(ctx context.Context, n int) (*worker, error) {
	w := &worker{log: filepath.Join(c.dir, fmt.Sprintf("worker-%d.log", n+1)), done: make(chan struct{})}
	log, err := os.Create(w.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	w.cmd = c.command(ctx, "worker", "run", "--provider", "openai")
	w.cmd.Stdout, w.cmd.Stderr = log, log
	w.cmd.Cancel = func() error { return w.cmd.Process.Signal(os.Interrupt) }
	w.cmd.WaitDelay = 20 * time.Second
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(w.done)
		_ = w.cmd.Wait() // how it ended stands in its log
	}()
	return w, nil
}

func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// stop lets the process end, and ends it if it does not.
func (w *worker) stop() {
	_ = w.cmd.Process.Signal(os.Interrupt) // one that has ended does not mind
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		_ = w.cmd.Process.Kill()
		<-w.done
	}
}
