package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

// poll is the interval at which a part looks whether something has happened.
const poll = 50 * time.Millisecond

// part measures something of the queue, rather than of a limit.
type part struct {
	name string
	// settings are the configuration of the provider.
	settings string
	workers  int
	run      func(ctx context.Context, g grammar, v *verdicts, f *fleet, server *fakeprovider.Server) error
}

func parts() []part {
	return []part{
		// The largest window that a queue has by itself, and a provider that gets
		// nowhere with it.
		{"million", fmt.Sprintf("limits: {rpm: 60}, dispatch_window: %d", largestWindow), 1, million},
		{"urgent", fmt.Sprintf("limits: {rpm: 0, rps: %d}", urgentRate), 4, urgent},
		{"turns", fmt.Sprintf("limits: {rpm: 0, rps: %d}, dispatch_window: %d", turnsRate, turnsWindow), 2, turns},
	}
}

// measure runs a part on services, workers and a server of its own.
func (p part) measure(ctx context.Context, v *verdicts, dir string, g grammar, env cli.Env) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not done after %s", timeLimit))
	defer cancel()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	server, err := harness.Provider(fakeprovider.Config{Keep: 20_000, Default: fakeprovider.Behaviour{Latency: latency()}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	f, err := open(ctx, server, p.settings, dir, g.Bin, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	// A fleet knows from the ledger how long calls take, and how many handlers it
	// needs. One that does not has too many for a while, whose jobs nobody overtakes.
	if err := f.work(ctx, 1); err != nil {
		return err
	}
	if err := f.bring(ctx, "warm-up", 30, "--watch"); err != nil {
		return err
	}
	if err := f.workers[0].Stop(20 * time.Second); err != nil {
		return err
	}
	f.workers = nil
	if err := f.work(ctx, p.workers); err != nil {
		return err
	}
	if _, err := f.enqueue(ctx, nil, "text", "Are you there?", "--provider", "openai", "--model", model, "--set", "max_tokens=16", "--wait"); err != nil {
		return err
	}
	began := time.Now()
	if err := p.run(ctx, g, v, f, server); err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "%s: %.0f s\n", p.name, time.Since(began).Seconds())
	return nil
}

// bring enqueues a batch of n different jobs.
func (f *fleet) bring(ctx context.Context, batch string, n int, flags ...string) error {
	in, pen := io.Pipe()
	go func() { _ = pen.CloseWithError(writeRows(pen, batch, n)) }()
	_, err := f.enqueue(ctx, in, append([]string{"batch", "-", "--batch-id", batch}, flags...)...)
	return errors.Join(err, in.Close())
}

// writeRows writes n rows, in which the name of their batch stands.
func writeRows(w io.Writer, batch string, n int) error {
	out := bufio.NewWriterSize(w, 1<<16)
	for i := range n {
		_, err := fmt.Fprintf(out, "{\"provider\":\"openai\",\"model\":%q,\"prompt\":\"Say something short about the number %d of %s.\",\"max_tokens\":16}\n", model, i, batch)
		if err != nil {
			return err
		}
	}
	return out.Flush()
}
