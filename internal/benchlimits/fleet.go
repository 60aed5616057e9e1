package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
	"oneflow/jobs"
	"oneflow/providers/keys"
)

const (
	model   = "gpt-4o-mini"
	key     = "bench-key-good-for-nothing" // of the fake provider
	batchID = "bench-limits"
	// sentence is repeated to make long prompts.
	sentence = " Another sentence follows without saying anything remarkable."
	// timeLimit is the time that a scenario of three minutes may take.
	timeLimit = 6 * time.Minute
)

// runFleet runs a scenario with worker processes. It returns how many jobs succeeded, and of
// embeddings how many are wrong, and the memory of a worker.
func runFleet(ctx context.Context, s scenario, server *fakeprovider.Server, dir, bin string, env cli.Env) (seen figures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not done after %s", timeLimit))
	defer cancel()
	// 0 is no limit. The server tells its own in each answer, too.
	f, err := open(ctx, server, fmt.Sprintf("limits: {rpm: %d, tpm: %d}", s.limits.Requests, s.limits.Tokens), dir, bin, env)
	if err != nil {
		return seen, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	in, pen := io.Pipe()
	go func() {
		if s.embeds {
			_ = pen.CloseWithError(embeddingRows(pen, s.jobs))
			return
		}
		_, err := io.WriteString(pen, rows(s))
		_ = pen.CloseWithError(err)
	}()
	if _, err := f.enqueue(ctx, in, "batch", "-", "--batch-id", batchID); err != nil {
		return seen, err
	}
	if err := f.work(ctx, s.workers); err != nil {
		return seen, err
	}
	err = f.until(ctx, time.Second, "the batch to finish", func() (bool, error) {
		if s.kill && server.Count() >= int64(s.jobs/2) {
			s.kill = false
			f.workers[0].killed = true
			f.workers[0].Kill()
		}
		p, err := f.services.Store.Progress(ctx, batchID)
		seen.succeeded = int(p.Counts[jobs.Succeeded])
		return p.Finished(), err
	})
	if err == nil && s.embeds {
		seen.memory = f.peakMemory()
		seen.wrong, err = f.wrongVectors(ctx, s.jobs)
	}
	return seen, err
}

// fleet is one on services of its own, with the process's own view of them.
type fleet struct {
	harness.Fleet
	services *harness.Services
	workers  []*worker
}

// worker is a process that must not end by itself.
type worker struct {
	*harness.Process
	killed bool
}

// open starts the services and writes the configuration: settings are OpenAI's, which has
// those keys. Default: key.
func open(ctx context.Context, server *fakeprovider.Server, settings, dir, bin string, env cli.Env, secrets ...string) (*fleet, error) {
	services, err := harness.StartServices(ctx, env.Err, harness.Isolated) // several scenarios would disturb each other on given ones
	if err != nil {
		return nil, cli.Fail(cli.Unavailable, err)
	}
	f := &fleet{services: services, Fleet: harness.Fleet{
		Dir: dir, Bin: bin, DatabaseURL: services.DatabaseURL, RedisURL: services.RedisURL,
	}}
	if len(secrets) == 0 {
		secrets = []string{key}
	}
	file := filepath.Join(dir, "keys.json")
	if err := keys.Set(file, "openai", secrets...); err != nil {
		return nil, errors.Join(err, services.Close())
	}
	config := fmt.Sprintf("keys: %s\nchains: {text: [openai]}\nproviders: {openai: {base_url: %s/openai/v1, %s}}\n", file, server.URL, settings)
	if err := f.Configure(config); err != nil {
		return nil, errors.Join(err, services.Close())
	}
	return f, nil
}

// close stops the workers and the services.
func (f *fleet) close() error {
	for _, w := range f.workers {
		if w.Alive() {
			_ = w.Stop(20 * time.Second) // what it did has been measured
		}
	}
	return f.services.Close()
}

// work starts so many workers.
func (f *fleet) work(ctx context.Context, n int) error {
	for range n {
		p, err := f.Worker(ctx, "openai")
		if err != nil {
			return err
		}
		f.workers = append(f.workers, &worker{Process: p})
	}
	return nil
}

// until asks every so often until done. It fails if something ends that should run.
func (f *fleet) until(ctx context.Context, every time.Duration, what string, done func() (bool, error)) error {
	return harness.Until(ctx, every, what, func() (bool, error) {
		select {
		case <-f.services.Done():
			return false, f.services.Err()
		default:
		}
		for _, w := range f.workers {
			if !w.Alive() && !w.killed {
				return false, fmt.Errorf("a worker ended by itself: see %s", w.Log)
			}
		}
		return done()
	})
}

// enqueue runs `enqueue` to its end.
func (f *fleet) enqueue(ctx context.Context, in io.Reader, args ...string) (harness.Result, error) {
	return f.Run(ctx, harness.Command{Name: "enqueue", Args: args, Stdin: in})
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
