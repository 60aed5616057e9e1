// Command benchlimits shows how much of a provider's limit a fleet uses, and that
// it never breaks it: worker processes as they are shipped, against a server that
// keeps a strict sliding window. It may import everything but the commands.
//
// What it prints comes from that server's log of the calls it received, and from
// nothing that a worker says of itself. The scenarios run side by side, each with
// servers of its own; for comparison one process calls the same kind of server
// through golang.org/x/time/rate.
//
// After these it shows, one by one, what a large queue costs and whom it keeps
// waiting: see parts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

func main() { os.Exit(cli.Main("benchlimits", run)) }

type grammar struct {
	Scenario []string `help:"Run this one of requests, tokens, killed, single, embeddings, models, keys, million, urgent and turns; may be repeated. Default: all." placeholder:"NAME"`
	Rows     int      `help:"How many jobs million queues." default:"1000000" placeholder:"N"`
	Slower   int      `help:"Divide the limits of models and keys by this, where the machine has other work." default:"1" placeholder:"N"`
	Bin      string   `help:"The folder with the built commands." default:"bin"`
}

// scenario is one run against one server.
type scenario struct {
	name  string
	about string
	// limits are the server's, and what the workers are told.
	limits fakeprovider.Limits
	jobs   int
	// workers is the number of processes; 0: this one, with x/time/rate.
	workers int
	// kill says that one of them is killed by SIGKILL in the middle.
	kill bool
	// least is the share of the limit that must be used; 0: nothing must be.
	least float64
	// embeds says that the jobs are texts to embed, which share calls.
	embeds bool
}

const (
	rpm = 600
	tpm = 60_000
	// Three minutes of work each.
	requestJobs = 1800
	tokenJobs   = 1050
	// embeddingTPM and embeddings are two and a half minutes of work.
	embeddingTPM = 1_200_000
	embeddings   = 100_000
)

func scenarios() []scenario {
	requests, tokens := fakeprovider.Limits{Requests: rpm}, fakeprovider.Limits{Tokens: tpm}
	return []scenario{
		{"requests", "4 workers, 600 requests/min", requests, requestJobs, 4, false, 0.99, false},
		{"tokens", "4 workers, 60,000 tokens/min", tokens, tokenJobs, 4, false, 0.98, false},
		{"killed", "4 workers, 600 requests/min, one killed", requests, requestJobs, 4, true, 0.97, false},
		{"single", "x/time/rate in 1 process, 600 requests/min", requests, requestJobs, 0, false, 0, false},
		{"embeddings", "2 workers, embeddings, 1,200,000 tokens/min", fakeprovider.Limits{Tokens: embeddingTPM}, embeddings, 2, false, 0.95, true},
	}
}

// latency of a call: 200 ms ± 50 %.
func latency() fakeprovider.Latency {
	return fakeprovider.Latency{Distribution: fakeprovider.Uniform, Mean: 200 * time.Millisecond, Spread: 0.5}
}

func run(ctx context.Context, args []string, env cli.Env) (err error) {
	var g grammar
	_, done, err := cli.Program{Name: "benchlimits", Description: "Measure how much of a limit is used, and whether it holds."}.Parse(&g, args, env)
	if err != nil || done {
		return err
	}
	if g.Slower < 1 || g.Slower > 50 {
		return cli.Fail(cli.Usage, fmt.Errorf("--slower: must be from 1 to 50, got %d", g.Slower))
	}
	chosen, models, parts, err := choose(g.Scenario)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	if g.Bin, err = filepath.Abs(g.Bin); err != nil { // workers run in folders of their own
		return err
	}
	dir, err := os.MkdirTemp("", "oneflow-bench-limits-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
			return
		}
		err = fmt.Errorf("%w; logs are kept in %s", err, dir)
	}()
	results := make([]figures, len(chosen))
	errs := make([]error, len(chosen))
	progress := &lines{w: env.Err}
	var wg sync.WaitGroup
	for i, s := range chosen {
		wg.Go(func() {
			results[i], errs[i] = measure(ctx, s, filepath.Join(dir, s.name), g.Bin, env, progress)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	v := &verdicts{out: env.Out}
	if len(chosen) > 0 {
		if err := report(v, chosen, results); err != nil {
			return err
		}
	}
	// These need the machine to themselves.
	for _, m := range models {
		for name := range m.limits {
			m.limits[name] /= g.Slower
		}
		if err := m.measure(ctx, v, filepath.Join(dir, m.name), g, env); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	for _, p := range parts {
		if err := p.measure(ctx, v, filepath.Join(dir, p.name), g, env); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if v.broken > 0 {
		return fmt.Errorf("%d bounds were broken", v.broken)
	}
	return nil
}

// choose returns those of the scenarios and parts that are named; all, if none is.
func choose(names []string) (chosen []scenario, models []modelRun, some []part, err error) {
	if len(names) == 0 {
		return scenarios(), modelRuns(), parts(), nil
	}
	for _, name := range names {
		i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == name })
		j := slices.IndexFunc(parts(), func(p part) bool { return p.name == name })
		k := slices.IndexFunc(modelRuns(), func(m modelRun) bool { return m.name == name })
		switch {
		case k >= 0:
			models = append(models, modelRuns()[k])
		case i >= 0:
			chosen = append(chosen, scenarios()[i])
		case j >= 0:
			some = append(some, parts()[j])
		default:
			return nil, nil, nil, fmt.Errorf("--scenario %q: there are requests, tokens, killed, single, embeddings, models, keys, million, urgent and turns", name)
		}
	}
	return chosen, models, some, nil
}

// measure runs one scenario and reads its server's log.
func measure(ctx context.Context, s scenario, dir, bin string, env cli.Env, progress io.Writer) (f figures, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", s.name, err)
		}
	}()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return f, err
	}
	log := filepath.Join(dir, "calls.jsonl")
	server, err := harness.Provider(fakeprovider.Config{
		CallLog: log, Keep: -1, Default: fakeprovider.Behaviour{Limits: s.limits, Latency: latency()},
	})
	if err != nil {
		return f, err
	}
	var seen figures
	if s.workers == 0 {
		seen.succeeded, err = single(ctx, s, server)
	} else {
		seen, err = runFleet(ctx, s, server, dir, bin, env)
	}
	// Its log is whole only after it.
	if err := errors.Join(err, server.Close()); err != nil {
		return f, err
	}
	if f, err = witness(log, s.limits); err != nil {
		return f, err
	}
	f.succeeded, f.wrong, f.memory = seen.succeeded, seen.wrong, seen.memory
	_, err = fmt.Fprintf(progress, "%s: %d jobs in %.0f s\n", s.name, s.jobs, f.took.Seconds())
	return f, err
}

// report prints what was measured.
func report(v *verdicts, chosen []scenario, results []figures) error {
	rows := [][]string{{"", "429s", "used once warm", "most in 60 s", "jobs", "calls", "tokens a call"}}
	for i, s := range chosen {
		f := results[i]
		rows = append(rows, []string{
			s.about, fmt.Sprint(f.refused), fmt.Sprintf("%.2f %%", 100*f.used), fmt.Sprintf("%d of %d", f.most, f.limit),
			fmt.Sprintf("%d of %d", f.succeeded, s.jobs), fmt.Sprint(f.accepted), fmt.Sprintf("%d to %d", f.smallest, f.largest),
		})
	}
	if err := cli.Table(v.out, rows); err != nil {
		return err
	}
	for i, s := range chosen {
		f := results[i]
		v.say("%s/used_to_the_last_call = %.2f %% (for comparison)", s.name, 100*f.plain)
		v.check(f.most <= f.limit, "%s/most_in_60s = %d (at most %d)", s.name, f.most, f.limit)
		if s.least == 0 {
			v.say("%s/429s = %d (for comparison)", s.name, f.refused)
			v.say("%s/used = %.2f %% (for comparison)", s.name, 100*f.used)
			continue
		}
		v.check(f.refused == 0, "%s/429s = %d (none)", s.name, f.refused)
		v.check(f.used >= s.least, "%s/used = %.2f %% (at least %.0f %%)", s.name, 100*f.used, 100*s.least)
		v.check(f.succeeded == s.jobs, "%s/succeeded = %d (all %d)", s.name, f.succeeded, s.jobs)
		if s.embeds {
			v.check(f.wrong == 0, "%s/wrong_vectors = %d (none)", s.name, f.wrong)
			v.check(f.memory < mostProcessMemory, "%s/worker_peak_rss = %d MB (less than %d MB)", s.name, f.memory/1_000_000, mostProcessMemory/1_000_000)
			v.say("%s/jobs_a_call = %.0f", s.name, float64(f.succeeded)/float64(f.accepted))
		}
	}
	return nil
}

// verdicts prints figures, and counts those that break their bounds.
type verdicts struct {
	out    io.Writer
	broken int
}

func (v *verdicts) say(format string, args ...any) { fmt.Fprintf(v.out, format+"\n", args...) }

func (v *verdicts) check(ok bool, format string, args ...any) {
	verdict := "ok"
	if !ok {
		verdict = "BROKEN"
		v.broken++
	}
	v.say(format+"  %s", append(args, verdict)...)
}

// lines lets several write whole lines to one.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
