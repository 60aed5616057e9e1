package cli_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

// at tells how far a batch of 1,000 is after a time: 50 a second, of which a few
// fail, and then it is finished.
func at(since time.Duration) jobs.Progress {
	done := min(int64(since/time.Second)*50, 1000)
	p := jobs.Progress{BatchID: "b", State: jobs.BatchRunning, Cost: billing.NanoUSD(done) * 1_000_000, Counts: counts(map[jobs.State]int64{
		jobs.Succeeded: done - done/100, jobs.Failed: done / 100, jobs.Queued: 1000 - done,
	})}
	if done == 1000 {
		p.State = jobs.BatchFinished
	}
	return p
}

// plain takes the time of day off each line, after checking it.
func plain(t *testing.T, start time.Time, out string) (list []string) {
	t.Helper()
	for line := range strings.Lines(out) {
		clock, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		at, err := time.ParseInLocation(time.TimeOnly, clock, time.Local)
		if err != nil {
			t.Errorf("%q does not begin with the time: %v", line, err)
		}
		zero, _ := time.ParseInLocation(time.TimeOnly, start.Format(time.TimeOnly), time.Local)
		list = append(list, at.Sub(zero).String()+" "+text)
	}
	return list
}

func TestWatchPrintsALineNowAndThenAndTheLastOneWhenAllIsDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		start := time.Now()
		p, err := cli.Watch(t.Context(), &out, func(context.Context) (jobs.Progress, error) { return at(time.Since(start)), nil })
		if err != nil || p.State != jobs.BatchFinished || time.Since(start) != 20*time.Second {
			t.Errorf("%+v, %v after %v", p, err, time.Since(start))
		}
		want := []string{
			"0s 0/1,000 done, $0.00",
			"5s 250/1,000 done, 2 failed, 50/s, 15.0s left, $0.25 of about $1.00",
			"10s 500/1,000 done, 5 failed, 50/s, 10.0s left, $0.50 of about $1.00",
			"15s 750/1,000 done, 7 failed, 50/s, 5.0s left, $0.75 of about $1.00",
			"20s 1,000/1,000 done, 10 failed, 50/s, $1.00",
		}
		if diff := cmp.Diff(want, plain(t, start, out.String())); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestWatchPrintsEachNoteOnceAndLooksAgainAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		start := time.Now()
		var asked []time.Duration
		_, err := cli.WatchLooking(t.Context(), &out, nil,
			func(context.Context) (jobs.Progress, error) { return at(time.Since(start)), nil },
			func(context.Context) cli.Look {
				asked = append(asked, time.Since(start))
				l := cli.Look{TokensPerMinute: 1234, Waits: "the limit of openai", Notes: []string{"one"}}
				if len(asked) > 1 {
					l.Notes = []string{"one", "two"}
				}
				return l
			})
		if diff := cmp.Diff([]time.Duration{time.Second, 6 * time.Second, 11 * time.Second, 16 * time.Second}, asked); diff != "" || err != nil {
			t.Errorf("%v, %s", err, diff)
		}
		var notes []string
		for line := range strings.Lines(out.String()) {
			if !strings.Contains(line, " done") {
				notes = append(notes, line)
			}
		}
		if diff := cmp.Diff([]string{"one\n", "two\n"}, notes); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(out.String(), " 50/s, 10.0s left, $0.50 of about $1.00, 1,234 tokens/min; the limit of openai\n") {
			t.Errorf("the figures are missing: %s", out.String())
		}
	})
}

func TestWatchSaysWhatElseTheJobsDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		start := time.Now()
		p := jobs.Progress{JobID: "j", State: "cancelled", Unpriced: 1, Counts: counts(map[jobs.State]int64{jobs.Cancelled: 2, jobs.Retrying: 3, jobs.Expired: 1, jobs.Unknown: 1})}
		if _, err := cli.Watch(t.Context(), &out, func(context.Context) (jobs.Progress, error) { return p, nil }); err != nil {
			t.Error(err)
		}
		want := []string{"0s 4/7 done, 2 failed, 2 cancelled, 3 retrying, $0.00 + 1 call without a known price"}
		if diff := cmp.Diff(want, plain(t, start, out.String())); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWatchReadsAtOnceWhenItIsToldTo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hints := make(chan struct{}, 1)
		start := time.Now()
		time.AfterFunc(610*time.Millisecond, func() { hints <- struct{}{} })
		p, err := cli.WatchLooking(t.Context(), &bytes.Buffer{}, hints, func(context.Context) (jobs.Progress, error) {
			if time.Since(start) < 605*time.Millisecond {
				return at(time.Second), nil
			}
			return at(time.Hour), nil
		}, func(context.Context) cli.Look { return cli.Look{} })
		if took := time.Since(start); err != nil || !p.Finished() || took != 610*time.Millisecond {
			t.Errorf("%+v, %v after %v", p, err, took)
		}
	})
}

func TestWatchShowsSlowRatesToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		start := time.Now()
		_, err := cli.Watch(t.Context(), &out, func(context.Context) (jobs.Progress, error) {
			done := int64(time.Since(start) / (5 * time.Second))
			p := jobs.Progress{BatchID: "b", State: jobs.BatchRunning, Counts: counts(map[jobs.State]int64{jobs.Succeeded: done, jobs.Queued: 3 - done})}
			if done == 3 {
				p.State = jobs.BatchFinished
			}
			return p, nil
		})
		lines := plain(t, start, out.String())
		if err != nil || len(lines) != 4 || lines[2] != "10s 2/3 done, 0.2/s, 5.0s left, $0.00" {
			t.Errorf("%v: %q", err, lines)
		}
	})
}

func TestWatchBearsAFewFailuresInARow(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection refused")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		n := 0
		p, err := cli.Watch(t.Context(), &bytes.Buffer{}, func(context.Context) (jobs.Progress, error) {
			if n++; n%20 != 0 { // 19 failures, a success, 19 failures …
				return jobs.Progress{}, broken
			}
			return at(time.Since(start)), nil
		})
		if err != nil || !p.Finished() {
			t.Errorf("%+v, %v", p, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		n := 0
		p, err := cli.Watch(t.Context(), &bytes.Buffer{}, func(context.Context) (jobs.Progress, error) {
			if n++; n > 3 {
				return jobs.Progress{}, broken
			}
			return at(time.Second), nil
		})
		if exit, ok := errors.AsType[*cli.ExitError](err); !ok || exit.Code != cli.Unavailable {
			t.Errorf("%v, want exit code %d", err, cli.Unavailable)
		}
		if !errors.Is(err, broken) || p.Done() != 50 || time.Since(start) < 10*time.Second || time.Since(start) > 15*time.Second {
			t.Errorf("%+v, %v after %v", p, err, time.Since(start))
		}
	})
}

func TestWatchDoesNotWaitForEverForAPostgresThatIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		n := 0
		p, err := cli.Watch(t.Context(), &bytes.Buffer{}, func(ctx context.Context) (jobs.Progress, error) {
			if n++; n == 1 {
				return at(time.Second), nil
			}
			<-ctx.Done()
			return jobs.Progress{}, ctx.Err()
		})
		if exit, ok := errors.AsType[*cli.ExitError](err); !ok || exit.Code != cli.Unavailable || p.Done() != 50 || time.Since(start) > 20*time.Second {
			t.Errorf("%+v, %v after %v", p, err, time.Since(start))
		}
	})
}

func TestWatchEndsWhenNobodyLooksAnyMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		start := time.Now()
		p, err := cli.Watch(ctx, &bytes.Buffer{}, func(context.Context) (jobs.Progress, error) { return at(time.Since(start)), nil })
		if !errors.Is(err, context.DeadlineExceeded) || p.Done() == 0 || time.Since(start) != 7*time.Second {
			t.Errorf("%+v, %v after %v", p, err, time.Since(start))
		}
	})
}
