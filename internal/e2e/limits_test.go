package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
)

// vendors is a server of all vendors in front of which calls can be refused.
type vendors struct {
	*fakeprovider.Server
	url string

	mu      sync.Mutex
	calls   []time.Time
	refuse  int // the number of the call that is refused
	after   time.Duration
	refused time.Time
}

func newVendors(t *testing.T, cfg fakeprovider.Config) *vendors {
	t.Helper()
	fake, err := fakeprovider.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	v := &vendors{Server: fake}
	front := httptest.NewServer(v)
	v.url = front.URL
	t.Cleanup(func() {
		front.Close()
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// ServeHTTP refuses one call as OpenAI does.
func (v *vendors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.calls = append(v.calls, time.Now())
	refused := len(v.calls) == v.refuse
	if refused {
		v.refused = time.Now()
	}
	v.mu.Unlock()
	if !refused {
		v.Server.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", fmt.Sprint(v.after.Seconds()))
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = w.Write([]byte(`{"error":{"message":"Rate limit reached for requests","type":"requests","param":null,"code":"rate_limit_exceeded"}}`))
}

// serves points the world's workers at v.
func (w *world) serves(v *vendors, openai, anthropic string) {
	w.t.Helper()
	text := fmt.Sprintf("providers:\n  openai: {base_url: %s/openai/v1, %s}\n  anthropic: {base_url: %s/anthropic, %s}\n", v.url, openai, v.url, anthropic)
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) texts(n int) string {
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = map[string]any{"provider": "openai", "model": "gpt-4o-mini", "prompt": fmt.Sprintf("%s no. %d", canaryPrompt, i), "max_tokens": 16}
	}
	return w.file("texts.jsonl", rows)
}

func TestOneRefusalHoldsAllWorkersForAsLongAsWasAskedAndCostsNoAttempt(t *testing.T) {
	t.Parallel()
	const jobs, asked = 120, 4 * time.Second
	v := newVendors(t, fakeprovider.Config{Default: fakeprovider.Behaviour{
		Latency: fakeprovider.Latency{Distribution: fakeprovider.Uniform, Mean: 50 * time.Millisecond, Spread: 0.5},
	}})
	v.refuse, v.after = 40, asked
	w := newWorld(t, "latency: 1ms")
	w.serves(v, "limits: {rpm: 0, rps: 40}", "limits: {rpm: 0}")
	file := w.texts(jobs)
	for range 4 {
		w.workerOf("openai")
	}
	w.run(0, "enqueue", "batch", file, "--batch-id", "refused", "--no-fallback")
	w.run(0, "enqueue", "watch", "refused")

	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.calls) != jobs+1 {
		t.Errorf("%d calls, want one for each of %d jobs, and the one that was refused", len(v.calls), jobs)
	}
	before := 0
	for _, at := range v.calls {
		since := at.Sub(v.refused)
		if since < asked/10 {
			before++ // those under way, on a slow machine
		} else if since < asked {
			t.Errorf("a call %s after a refusal that asked for %s", since, asked)
		}
	}
	if before < 40 || before > 60 {
		t.Errorf("%d calls before the pause, want 40 and a few that were under way", before)
	}
	if last := v.calls[len(v.calls)-1].Sub(v.refused); last > asked+20*time.Second {
		t.Errorf("the last call came %s after the refusal", last)
	}
	if n := w.number(`SELECT count(*) FROM jobs WHERE state = 'succeeded' AND attempt = 1`); n != jobs {
		t.Errorf("%d of %d jobs succeeded with their first attempt", n, jobs)
	}
	if n := w.number(`SELECT count(*) FROM attempts WHERE error_kind = 'rate_limited' AND state = 'failed_unbilled' AND cost_nano = 0`); n != 1 {
		t.Errorf("the ledger has %d refusals, want 1", n)
	}
}

func TestWhereTheFirstProviderFailsJobsSucceedOnTheSecond(t *testing.T) {
	t.Parallel()
	const jobs = 60
	v := newVendors(t, fakeprovider.Config{Vendors: map[fakeprovider.Vendor]fakeprovider.Behaviour{
		fakeprovider.OpenAI: {Faults: map[fakeprovider.Fault]float64{fakeprovider.ServerError: 1}},
	}})
	w := newWorld(t, "latency: 1ms")
	w.serves(v, "limits: {rpm: 0, rps: 40}", "limits: {rpm: 0, rps: 40}")
	file := w.texts(jobs)
	began := time.Now()
	for range 4 {
		w.workerOf("openai", "anthropic")
	}
	w.run(0, "enqueue", "batch", file, "--batch-id", "fallback")
	w.run(0, "enqueue", "watch", "fallback")

	calls := map[fakeprovider.Vendor]int{}
	for _, c := range v.Calls() {
		calls[c.Vendor]++
	}
	// 20 in all until the breaker opens, and then one probe a second.
	if most := 20 + int(time.Since(began).Seconds()); calls[fakeprovider.OpenAI] < 10 || calls[fakeprovider.OpenAI] > most {
		t.Errorf("%d calls to the one that fails, want 10 to %d", calls[fakeprovider.OpenAI], most)
	}
	if calls[fakeprovider.Anthropic] != jobs {
		t.Errorf("%d calls to the other, want one for each of %d jobs", calls[fakeprovider.Anthropic], jobs)
	}
	if n := w.number(`SELECT count(*) FROM results WHERE provider = 'anthropic'`); n != jobs {
		t.Errorf("%d of %d jobs have their result from the other", n, jobs)
	}
	if n := w.number(`SELECT count(*) FROM jobs WHERE state = 'succeeded' AND attempt = 1`); n != jobs {
		t.Errorf("%d of %d jobs succeeded with their first attempt", n, jobs)
	}
}
