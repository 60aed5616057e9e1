package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	// sentence is what long prompts are made of.
	sentence = " Another sentence follows without saying anything remarkable."
	// patience is how long a scenario of three minutes may take.
	patience = 6 * time.Minute
)

// fleet runs a scenario with worker processes. It returns how many jobs succeeded.
func fleet(ctx context.Context, s scenario, server *fakeprovider.Server, dir, bin string, env cli.Env) (succeeded int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %s", patience))
	defer cancel()
	// 0 is no limit. The server tells its own in each answer, too.
	c, err := open(ctx, server, fmt.Sprintf("limits: {rpm: %d, tpm: %d}", s.limits.Requests, s.limits.Tokens), dir, bin, env)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.enqueue(ctx, strings.NewReader(rows(s)), "batch", "-", "--batch-id", batchID); err != nil {
		return 0, err
	}
	if err := c.work(ctx, s.workers); err != nil {
		return 0, err
	}
	for tick := time.Tick(time.Second); ; {
		if err := c.next(ctx, tick); err != nil {
			return 0, err
		}
		if s.kill && server.Count() >= int64(s.jobs/2) {
			s.kill = false
			if err := c.workers[0].cmd.Process.Kill(); err != nil {
				return 0, err
			}
			c.workers[0].killed = true
		}
		p, err := c.db.Progress(ctx, batchID)
		if err != nil {
			return 0, err
		}
		if p.Finished() {
			return int(p.Counts[jobs.Succeeded]), nil
		}
	}
}

// commands runs the built commands, on a Postgres and a Redis of their own.
type commands struct {
	dir, bin string
	env      []string
	stack    *devstack.Stack
	db       *store.Store
	workers  []*worker
}

// open starts the services and writes the configuration: settings are OpenAI's.
func open(ctx context.Context, server *fakeprovider.Server, settings, dir, bin string, env cli.Env) (_ *commands, err error) {
	c := &commands{dir: dir, bin: bin}
	c.stack, err = devstack.Start(ctx, devstack.Options{Log: env.Err, Getenv: func(name string) string {
		if name == "DATABASE_URL" || name == "REDIS_URL" {
			return "" // several scenarios would disturb each other there
		}
		return env.Getenv(name)
	}})
	if err != nil {
		return nil, cli.Fail(cli.Unavailable, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if _, err := migrations.Up(ctx, c.stack.DatabaseURL); err != nil {
		return nil, err
	}
	if c.db, err = store.Open(ctx, c.stack.DatabaseURL); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("chains: {text: [openai]}\nproviders: {openai: {base_url: %s/openai/v1, %s}}\n", server.URL, settings)
	file := filepath.Join(dir, "oneflow.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	// Nothing of our own environment gets in, above all no real key.
	c.env = []string{
		"PATH=" + env.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + env.Getenv("TMPDIR"), "ONEFLOW_CONFIG=" + file,
		"DATABASE_URL=" + c.stack.DatabaseURL, "REDIS_URL=" + c.stack.RedisURL, "OPENAI_API_KEY=" + key,
	}
	return c, nil
}

// close stops the workers and the services.
func (c *commands) close() error {
	for _, w := range c.workers {
		w.stop()
	}
	if c.db != nil {
		c.db.Close()
	}
	return c.stack.Close()
}

// work starts so many workers.
func (c *commands) work(ctx context.Context, n int) error {
	for range n {
		w, err := c.worker(ctx, len(c.workers))
		if err != nil {
			return err
		}
		c.workers = append(c.workers, w)
	}
	return nil
}

// next waits for a tick. It fails if something ends that should run.
func (c *commands) next(ctx context.Context, tick <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.stack.Done():
		return c.stack.Err()
	case <-tick:
	}
	for _, w := range c.workers {
		if w.ended() && !w.killed {
			return fmt.Errorf("a worker ended by itself: see %s", w.log)
		}
	}
	return nil
}

func (c *commands) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...) //nolint:gosec // our own commands
	cmd.Dir, cmd.Env = c.dir, c.env
	return cmd
}

// enqueue runs `enqueue` to its end.
func (c *commands) enqueue(ctx context.Context, in io.Reader, args ...string) error {
	_, _, err := c.ask(ctx, in, args...)
	return err
}

// ask runs `enqueue` to its end, and returns what it printed and how it ended.
func (c *commands) ask(ctx context.Context, in io.Reader, args ...string) (string, *os.ProcessState, error) {
	cmd := c.command(ctx, "enqueue", args...)
	var said, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &said, &problems
	if err := cmd.Run(); err != nil {
		return "", nil, fmt.Errorf("enqueue: %w\n%s", err, &problems)
	}
	return said.String(), cmd.ProcessState, nil
}

// rows are the jobs. With tokens limited, a call uses 50 to 350 of them, up to a third for
// its answer. The server counts four bytes as one, so the prompt is of words that
// OpenAI's tokenizer cuts into no more than that.
func rows(s scenario) string {
	rng := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for i := range s.jobs {
		prompt, most := fmt.Sprintf("Say something short about the number %d.", i), 32
		if s.limits.Tokens > 0 {
			tokens := 50 + rng.IntN(301)
			most = min(tokens/3, 100)
			prompt += strings.Repeat(sentence, 1+4*(tokens-most)/len(sentence))
			prompt = prompt[:4*(tokens-most)]
		}
		fmt.Fprintf(&b, "{\"provider\":\"openai\",\"model\":%q,\"prompt\":%q,\"max_tokens\":%d}\n", model, prompt, most)
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
