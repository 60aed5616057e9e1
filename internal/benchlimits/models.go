package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

// modelRun is a batch over models of one provider that are limited each by itself, and for
// each key. Everything that is in it is for one key.
type modelRun struct {
	name string
	keys []string
	// limits are requests a minute, by model.
	limits map[string]int
	// halved is the model whose limit is halved after halveAfter; empty: none is.
	halved string
	// lasts is the time that is measured, in which all models have jobs.
	lasts time.Duration
}

const (
	halveAfter = 150 * time.Second
	// modelsLeast is the share of each limit that must be used.
	modelsLeast = 0.97
	// modelWorkers is the number of worker processes: beside these, 592 calls a second keep two
	// databases and the vendor busy, on what may be two processors.
	modelWorkers = 2
)

// slowest, middle and fastest are models of the vendor's today.
const (
	slowest = "gpt-6-sol"
	middle  = "gpt-6-astra"
	fastest = "gpt-6-luna"
)

func modelRuns() []modelRun {
	return []modelRun{
		{"models", []string{key}, map[string]int{slowest: 500, middle: 5_000, fastest: 30_000}, middle, 2 * halveAfter},
		{"keys", []string{key + "-1", key + "-2"}, map[string]int{slowest: 250, middle: 2_500, fastest: 15_000}, "", 3 * time.Minute},
	}
}

// measure runs it on services, workers and a server of its own. Nothing tells the workers
// the limits but the answers.
func (m modelRun) measure(ctx context.Context, v *verdicts, dir string, g grammar, env cli.Env) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not done after %s", timeLimit))
	defer cancel()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	log := filepath.Join(dir, "calls.jsonl")
	behaviour := fakeprovider.Behaviour{Latency: latency(), Models: map[string]fakeprovider.Limits{}}
	for name, rpm := range m.limits {
		behaviour.Models[name] = fakeprovider.Limits{Requests: rpm}
	}
	server, err := harness.Provider(fakeprovider.Config{CallLog: log, Keep: -1, Default: behaviour})
	if err != nil {
		return err
	}
	halved, err := m.run(ctx, server, dir, g, env)
	// Its log is whole only after it.
	if err := errors.Join(err, server.Close()); err != nil {
		return err
	}
	lines, err := harness.ReadLog[fakeprovider.LogLine](log)
	if err != nil {
		return err
	}
	v.say("\none batch over three models of one provider, %d keys, %d workers, %s; %s", len(m.keys), modelWorkers, m.lasts, m.about())
	for _, name := range []string{slowest, middle, fastest} {
		for _, k := range m.keys {
			if err := m.report(v, lines, name, k, halved); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m modelRun) about() string {
	if m.halved == "" {
		return "nothing tells the limits but the answers"
	}
	return fmt.Sprintf("after %s the limit of %s is halved, and nothing tells that but the answers", halveAfter, m.halved)
}

// run has the fleet work for as long as is measured, and returns when a limit was halved.
func (m modelRun) run(ctx context.Context, server *fakeprovider.Server, dir string, g grammar, env cli.Env) (halved time.Time, err error) {
	f, err := open(ctx, server, "limits: {}", dir, g.Bin, env, m.keys...)
	if err != nil {
		return halved, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	in, pen := io.Pipe()
	go func() { _ = pen.CloseWithError(m.rows(pen)) }()
	_, err = f.enqueue(ctx, in, "batch", "-", "--batch-id", m.name)
	if err := errors.Join(err, in.Close()); err != nil {
		return halved, err
	}
	if err := f.work(ctx, modelWorkers); err != nil {
		return halved, err
	}
	began := time.Now()
	err = f.until(ctx, poll, "the end of what is measured", func() (bool, error) {
		if m.halved != "" && halved.IsZero() && time.Since(began) > halveAfter {
			halved = time.Now()
			return false, server.SetModelLimits(m.halved, fakeprovider.Limits{Requests: m.limits[m.halved] / 2})
		}
		return time.Since(began) > m.lasts, nil
	})
	if err != nil {
		return halved, err
	}
	p, err := f.services.Store.Progress(ctx, m.name)
	if err == nil && p.Finished() {
		err = errors.New("the batch was too small: all of it is done")
	}
	return halved, err
}

// rows writes more than can be done, the models mixed as their limits are.
func (m modelRun) rows(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	rng := rand.New(rand.NewPCG(1, 1))
	sum := 0
	for _, rpm := range m.limits {
		sum += rpm
	}
	rows := int(1.2 * float64(sum*len(m.keys)) * m.lasts.Minutes())
	for i := range rows {
		name := fastest
		switch n := rng.IntN(sum); {
		case n < m.limits[slowest]:
			name = slowest
		case n < m.limits[slowest]+m.limits[middle]:
			name = middle
		}
		_, err := fmt.Fprintf(out, "{\"provider\":\"openai\",\"model\":%q,\"prompt\":\"Say something short about the number %d.\",\"max_tokens\":16}\n", name, i)
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

// report says how much of one limit was used, by the server's log.
func (m modelRun) report(v *verdicts, lines []fakeprovider.LogLine, name, secret string, halved time.Time) error {
	var first, then []fakeprovider.LogLine // before and after the limit is halved
	began := map[int64]time.Time{}
	for _, l := range lines {
		if l.Model != name || len(m.keys) > 1 && l.Key != secret[len(secret)-len(l.Key):] {
			continue
		}
		if l.Event == "begin" {
			began[l.Call] = l.Time
		}
		if name == m.halved && began[l.Call].After(halved) {
			then = append(then, l)
		} else {
			first = append(first, l)
		}
	}
	of := m.name + "/" + name
	if len(m.keys) > 1 {
		of += "@" + secret[len(secret)-1:]
	}
	for _, part := range []struct {
		of    string
		lines []fakeprovider.LogLine
		limit int
	}{{of, first, m.limits[name]}, {of + "/halved", then, m.limits[name] / 2}} {
		if len(part.lines) == 0 {
			continue
		}
		f, err := figuresOf(part.lines, fakeprovider.Limits{Requests: part.limit})
		if err != nil {
			return fmt.Errorf("%s: %w", part.of, err)
		}
		v.check(f.refused == 0, "%s/429s = %d (none)", part.of, f.refused)
		v.check(f.most <= f.limit, "%s/most_in_60s = %d (at most %d)", part.of, f.most, f.limit)
		v.check(f.used >= modelsLeast, "%s/used = %.2f %% (at least %.0f %%), %d calls", part.of, 100*f.used, 100*modelsLeast, f.accepted)
	}
	return nil
}
