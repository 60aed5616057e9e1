package mock_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/providers"
	"oneflow/providers/mock"
)

func TestTheErrorRateHoldsAndRepeatingHelps(t *testing.T) {
	t.Parallel()
	const requests, rate = 1000, 0.3
	p := quick(t, func(c *mock.Config) { c.ErrorRate = rate })
	calls, failed := 0, 0
	statuses := map[int]int{}
	for i := range requests {
		req := providers.Request{Task: providers.Text, Prompt: fmt.Sprint("prompt ", i)}
		for try := 1; ; try++ {
			if try > 10 {
				t.Fatalf("request %d failed %d times", i, try-1)
			}
			calls++
			_, err := p.Generate(t.Context(), req)
			if err == nil {
				break
			}
			failed++
			e := providers.AsError("", err)
			if e.Kind != providers.Overloaded || e.Billing != providers.Unbilled {
				t.Fatalf("%+v", e)
			}
			statuses[e.Status]++
		}
	}
	if got := float64(failed) / float64(calls); got < rate-0.04 || got > rate+0.04 {
		t.Errorf("%d of %d calls failed: %.3f, want %.2f", failed, calls, got, rate)
	}
	if len(statuses) != 3 {
		t.Errorf("statuses %v, want a mix of three", statuses)
	}

	down := quick(t, func(c *mock.Config) { c.ErrorRate = 1 })
	for range 20 {
		failure(t.Context(), t, down, providers.Request{Task: providers.Text, Prompt: "a"})
	}
}

func TestRPMIsAStrictSlidingWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := quick(t, func(c *mock.Config) { c.RPM = 3 })
		req := providers.Request{Task: providers.Text, Prompt: "a"}
		for i := range 3 {
			limits := generate(t, p, req).Limits.Requests
			if limits.Limit != 3 || limits.Remaining != int64(2-i) || limits.Reset != time.Minute {
				t.Errorf("call %d: %+v", i, limits)
			}
			time.Sleep(10 * time.Second) //nolint:forbidigo // a fake clock: this is how it is moved
		}
		e := failure(t.Context(), t, p, req)
		if e.Kind != providers.RateLimited || e.RetryAfter != 30*time.Second || e.Billing != providers.Unbilled || e.Status != 429 {
			t.Errorf("%+v", e)
		}
		if e.Limits.Requests.Remaining != 0 {
			t.Errorf("%+v", e.Limits.Requests)
		}
		time.Sleep(e.RetryAfter) //nolint:forbidigo // a fake clock
		generate(t, p, req)
		if e := failure(t.Context(), t, p, req); e.RetryAfter != 10*time.Second {
			t.Errorf("after one more: %v", e.RetryAfter)
		}
	})
}

func TestMaxConcurrentIsKeptAndGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := quick(t, func(c *mock.Config) { c.MaxConcurrent, c.Latency = 2, time.Second })
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() { generate(t, p, providers.Request{Task: providers.Text, Prompt: fmt.Sprint(i)}) })
		}
		synctest.Wait()
		e := failure(t.Context(), t, p, providers.Request{Task: providers.Text, Prompt: "third"})
		if e.Kind != providers.ConcurrencyLimit || e.Limits.Concurrent.Limit != 2 || e.Limits.Concurrent.Remaining != 0 {
			t.Errorf("%+v", e)
		}
		wg.Wait()
		generate(t, p, providers.Request{Task: providers.Text, Prompt: "third"})
	})
}

func TestManyCallersAtOnceAndTheLogSeesEachCall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "calls.ndjson")
	const callers, each = 16, 25
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two"} { // two providers share the file
		p := quick(t, func(c *mock.Config) { c.Name, c.ErrorRate, c.CallLog = name, 0.2, path })
		for i := range callers / 2 {
			wg.Go(func() {
				for j := range each {
					req := providers.Request{Task: providers.Tasks()[j%4], Prompt: fmt.Sprint("secret ", i, j)}
					if _, err := p.Generate(t.Context(), req); err != nil && providers.AsError("", err).Kind != providers.Overloaded {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()

	lines := readLog(t, path)
	begun := map[string]mock.LogLine{}
	outcomes := map[string]int{}
	for _, line := range lines {
		id := fmt.Sprint(line.Provider, line.PID, line.Call)
		switch line.Event {
		case "begin":
			begun[id] = line
		case "end":
			if begin, ok := begun[id]; !ok || begin.Request != line.Request || begin.Try != line.Try {
				t.Errorf("end %+v of begin %+v", line, begin)
			}
			outcomes[line.Outcome]++
			if (line.Outcome == "ok") != (line.Usage != nil) || line.Status == 0 {
				t.Errorf("%+v", line)
			}
		}
	}
	if len(begun) != callers*each || outcomes["ok"]+outcomes["overloaded"] != callers*each || outcomes["overloaded"] == 0 {
		t.Errorf("%d calls begun, outcomes %v; want %d", len(begun), outcomes, callers*each)
	}
	body, err := json.Marshal(providers.Request{Task: providers.Text, Prompt: "secret 0 0"})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256(body))
	if !strings.Contains(fmt.Sprint(lines), want) {
		t.Error("the log has no line with the hash of a request that was made")
	}
}

// readLog reads a call log, which must hold no prompt.
func readLog(t *testing.T, path string) []mock.LogLine {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines []mock.LogLine
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var line mock.LogLine
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", scanner.Text(), err)
		}
		if strings.Contains(scanner.Text(), "secret") {
			t.Errorf("the log holds the prompt: %s", scanner.Text())
		}
		lines = append(lines, line)
	}
	return lines
}
