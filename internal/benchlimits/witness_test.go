package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
)

// logOf is a server's log of calls every so often, of which some are refused.
func logOf(t *testing.T, n int, every time.Duration, refused func(int) bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "calls.jsonl")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	e := json.NewEncoder(file)
	began := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i := range n {
		at := began.Add(time.Duration(i) * every)
		line := fakeprovider.LogLine{Time: at, Event: "begin", Call: int64(i + 1)}
		if err := e.Encode(line); err != nil {
			t.Fatal(err)
		}
		line.Event, line.Outcome, line.Usage, line.Time = "end", "ok", &fakeprovider.Usage{InputTokens: 60, OutputTokens: 40}, at.Add(200*time.Millisecond)
		if refused(i) {
			line.Outcome, line.Usage = "limited", nil
		}
		if err := e.Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestTheWitnessCountsWhatWasAcceptedInEachWindow(t *testing.T) {
	t.Parallel()
	none := func(int) bool { return false }
	for name, tt := range map[string]struct {
		n       int
		every   time.Duration
		refused func(int) bool
		limits  fakeprovider.Limits
		most    int
		used    float64
		refuses int
	}{
		"all of it":          {1801, 100 * time.Millisecond, none, fakeprovider.Limits{Requests: 600}, 600, 1, 0},
		"half of it":         {901, 200 * time.Millisecond, none, fakeprovider.Limits{Requests: 600}, 300, 0.5, 0},
		"too much":           {3601, 50 * time.Millisecond, none, fakeprovider.Limits{Requests: 600}, 1200, 2, 0},
		"tokens":             {1801, 100 * time.Millisecond, none, fakeprovider.Limits{Tokens: 120_000}, 60_000, 0.5, 0},
		"refusals are apart": {3601, 50 * time.Millisecond, func(i int) bool { return i%2 == 1 }, fakeprovider.Limits{Requests: 600}, 600, 1, 1800},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := witness(logOf(t, tt.n, tt.every, tt.refused), tt.limits)
			if err != nil {
				t.Fatal(err)
			}
			if f.most != tt.most || f.refused != tt.refuses || f.accepted != tt.n-tt.refuses {
				t.Errorf("most %d, refused %d, accepted %d", f.most, f.refused, f.accepted)
			}
			if math.Abs(f.used-tt.used) > 1e-9 || math.Abs(f.plain-tt.used) > 0.001 {
				t.Errorf("used %g, and %g to the last call; want %g", f.used, f.plain, tt.used)
			}
		})
	}
}

func TestABrokenBoundFailsTheRun(t *testing.T) {
	t.Parallel()
	good := figures{limit: 600, most: 600, used: 0.995, succeeded: requestJobs}
	s := scenarios()[0]
	for name, tt := range map[string]struct {
		change func(*figures)
		broken bool
	}{
		"good":               {func(*figures) {}, false},
		"a refusal":          {func(f *figures) { f.refused = 1 }, true},
		"too many in 60 s":   {func(f *figures) { f.most = 601 }, true},
		"too little is used": {func(f *figures) { f.used = 0.9899 }, true},
		"a job is missing":   {func(f *figures) { f.succeeded-- }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := good
			tt.change(&f)
			v := &verdicts{out: t.Output()}
			if err := report(v, []scenario{s}, []figures{f}); err != nil || (v.broken > 0) != tt.broken {
				t.Errorf("%d bounds are broken, %v", v.broken, err)
			}
		})
	}
}
