package frontdoor_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"oneflow/access"
	"oneflow/internal/fakeprovider"
)

// The clients, the worker and the fake provider are in this process, too: the monitor alone
// takes less. What is garbage by then depends on the machine, and is not counted.
func TestAThousandCallsWaitForALimitInLittleMemoryInsteadOfFailing(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	h := openAt(t, fakeprovider.Config{}, 6000, true, "")
	client := h.openai(h.token(t, access.Enqueue, ""))
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before, most := used(), uint64(0)
	const n = 1000
	began := time.Now()
	failures := make(chan error, n)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			res, err := client.Chat.Completions.New(t.Context(), chat("gpt-5.4-mini", fmt.Sprintf("hello %d", i)))
			if err == nil && len(res.Choices) != 1 {
				err = fmt.Errorf("empty answer: %s", res.RawJSON())
			}
			if err != nil {
				failures <- err
			}
		})
	}
	go func() { defer close(done); wg.Wait() }()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for waits := true; waits; {
		select {
		case <-done:
			waits = false
		case <-tick.C:
			most = max(most, used())
		}
	}
	close(failures)
	for err := range failures {
		t.Fatalf("%d of %d failed: %v", len(failures)+1, n, err)
	}
	took := time.Since(began)
	t.Logf("%d calls took %s and %d MiB", n, took.Round(time.Millisecond), (most-min(before, most))>>20)
	if took < 7*time.Second {
		t.Errorf("%d calls at 6,000 a minute took %s only", n, took)
	}
	const limit = 200 << 20
	if measurable && most > before+limit {
		t.Errorf("%d MiB", (most-before)>>20)
	}
}
