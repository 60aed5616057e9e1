package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
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
	gate    chan struct{} // until it is closed, calls are held; nil: none is
	held    int
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
	gate := v.gate
	if gate != nil {
		v.held++
	}
	v.mu.Unlock()
	if gate != nil {
		body, err := io.ReadAll(r.Body) // else it is not seen that the caller leaves
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	if !refused {
		v.Server.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", fmt.Sprint(v.after.Seconds()))
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = w.Write([]byte(`{"error":{"message":"Rate limit reached for requests","type":"requests","param":null,"code":"rate_limit_exceeded"}}`))
}

// hold holds the calls that come from now on until letGo is called.
func (v *vendors) hold() (held func() int, letGo func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gate = make(chan struct{})
	held = func() int {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.held
	}
	return held, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		close(v.gate)
		v.gate = nil
	}
}

// serves points the system's workers at v.
func (sut *system) serves(v *vendors, openai, anthropic string) {
	sut.t.Helper()
	sut.configure(fmt.Sprintf("providers:\n  openai: {base_url: %s/openai/v1, %s}\n  anthropic: {base_url: %s/anthropic, %s}\n", v.url, openai, v.url, anthropic))
}

func (sut *system) texts(n int) string {
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = map[string]any{"provider": "openai", "model": "gpt-4o-mini", "prompt": fmt.Sprintf("%s no. %d", canaryPrompt, i), "max_tokens": 16}
	}
	return sut.file("texts.jsonl", rows)
}

func TestOneRefusalHoldsAllWorkersForAsLongAsWasAskedAndCostsNoAttempt(t *testing.T) {
	t.Parallel()
	const jobs, asked = 80, 8 * time.Second
	v := newVendors(t, fakeprovider.Config{Default: fakeprovider.Behaviour{
		Latency: fakeprovider.Latency{Distribution: fakeprovider.Uniform, Mean: 50 * time.Millisecond, Spread: 0.5},
	}})
	v.refuse, v.after = 20, asked
	sut := newSystem(t, "latency: 1ms")
	sut.serves(v, "limits: {rpm: 0, rps: 20}", "limits: {rpm: 0}")
	file := sut.texts(jobs)
	for range 4 {
		sut.workerOf("openai")
	}
	sut.run(0, "enqueue", "batch", file, "--batch-id", "refused", "--no-fallback")
	sut.run(0, "enqueue", "watch", "refused")

	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.calls) != jobs+1 {
		t.Errorf("%d calls, want one for each of %d jobs, and the one that was refused", len(v.calls), jobs)
	}
	before := 0
	for _, at := range v.calls {
		since := at.Sub(v.refused)
		if since < asked/2 {
			before++ // those under way, on a slow machine
		} else if since < asked {
			t.Errorf("a call %s after a refusal that asked for %s", since, asked)
		}
	}
	// If it did not hold, all were sent within these seconds.
	if before < 20 || before > 60 {
		t.Errorf("%d calls before the pause, want 20 and a few that were under way", before)
	}
	if last := v.calls[len(v.calls)-1].Sub(v.refused); last > asked+time.Minute {
		t.Errorf("the last call came %s after the refusal", last)
	}
	if n := sut.number(`SELECT count(*) FROM job_states WHERE state = 'succeeded' AND attempt = 1`); n != jobs {
		t.Errorf("%d of %d jobs succeeded with their first attempt", n, jobs)
	}
	if n := sut.number(`SELECT count(*) FROM calls WHERE error_kind = 'rate_limited' AND state = 'failed_unbilled' AND cost_nano = 0`); n != 1 {
		t.Errorf("the ledger has %d refusals, want 1", n)
	}
}

// down makes all calls to a vendor fail with 500 until Clear.
func (v *vendors) down(which ...fakeprovider.Vendor) {
	for _, vendor := range which {
		v.Inject(fakeprovider.Injection{Fault: fakeprovider.ServerError, Times: -1, Vendor: vendor})
	}
}

// times are those at which calls to a vendor arrived, by the server's own record.
func (v *vendors) times(vendor fakeprovider.Vendor) []time.Time {
	var at []time.Time
	for _, c := range v.Calls() {
		if c.Vendor == vendor {
			at = append(at, c.Time)
		}
	}
	return at
}

// probes tells the calls until a breaker opened, which stays open for 10 s, from
// those after it, and checks that no two of these came within a second.
func probes(t *testing.T, calls []time.Time) (trials int, after []time.Time) {
	t.Helper()
	trials = len(calls)
	for i := 1; i < len(calls); i++ {
		gap := calls[i].Sub(calls[i-1])
		if i < trials && gap > 5*time.Second {
			trials = i
		}
		// A call may be on its way longer than the next.
		if i >= trials && gap < time.Second/2 {
			t.Errorf("call %d to a provider whose breaker is open came %s after the one before", i+1, gap)
		}
	}
	return trials, calls[trials:]
}

func TestAProviderThatFailsIsLeftAloneUntilItComesBack(t *testing.T) {
	t.Parallel()
	v := newVendors(t, fakeprovider.Config{Keep: 100_000})
	v.down(fakeprovider.OpenAI)
	sut := newSystem(t, "latency: 1ms")
	sut.serves(v, "limits: {rpm: 0, rps: 10}", "limits: {rpm: 0, rps: 10}")
	for range 4 {
		sut.workerOf("openai", "anthropic")
	}
	// There is always something to do, for as long as it takes.
	const some = 20
	jobs := 0
	until := func(what string, done func() bool) {
		t.Helper()
		sut.until(what, func() bool {
			if sut.number(`SELECT count(*) FROM job_states WHERE finished_at IS NULL`) < some {
				jobs += some
				sut.run(0, "enqueue", "batch", sut.texts(some), "--batch-id", fmt.Sprintf("fallback-%d", jobs))
			}
			return done()
		})
	}
	until("a probe that fails", func() bool {
		at := v.times(fakeprovider.OpenAI)
		return len(at) > 0 && at[len(at)-1].Sub(at[0]) > 5*time.Second
	})
	failed := v.times(fakeprovider.OpenAI)
	v.Clear()
	until("the traffic to return", func() bool {
		calls := v.Calls()
		last := calls[max(0, len(calls)-some):]
		return !slices.ContainsFunc(last, func(c fakeprovider.Call) bool { return c.Vendor != fakeprovider.OpenAI })
	})
	for n := some; n <= jobs; n += some {
		sut.run(0, "enqueue", "watch", fmt.Sprintf("fallback-%d", n))
	}

	back := v.times(fakeprovider.OpenAI)
	trials, after := probes(t, back[:len(failed)+1])
	if trials < 10 || trials > 20 || len(after) < 2 {
		t.Errorf("%d calls until the breaker opened, want 10 to 20; and then %d probes, want one that failed, and one that succeeded", trials, len(after))
	}
	t.Logf("%d calls until it opened; probes after %s; %d jobs", trials, since(back[trials-1], after), jobs)
	if n := sut.number(`SELECT count(*) FROM results WHERE provider = 'openai'`); n != int64(len(back)-len(failed)) {
		t.Errorf("%d results from the first, which answered %d calls", n, len(back)-len(failed))
	}
	if n := sut.number(`SELECT count(*) FROM results WHERE provider = 'anthropic'`); n != int64(len(v.times(fakeprovider.Anthropic))) {
		t.Errorf("%d results from the second, which answered %d calls", n, len(v.times(fakeprovider.Anthropic)))
	}
	if n := sut.number(`SELECT count(*) FROM job_states WHERE state = 'succeeded' AND attempt = 1`); n != int64(jobs) {
		t.Errorf("%d of %d jobs succeeded with their first attempt", n, jobs)
	}
}

// since says how long after from each came.
func since(from time.Time, at []time.Time) (all []time.Duration) {
	for _, a := range at {
		all = append(all, a.Sub(from).Round(10*time.Millisecond))
	}
	return all
}

func TestWhereAllProvidersFailJobsWaitAndNoneIsLost(t *testing.T) {
	t.Parallel()
	const jobs = 40
	v := newVendors(t, fakeprovider.Config{Keep: 100_000})
	v.down(fakeprovider.OpenAI, fakeprovider.Anthropic)
	sut := newSystem(t, "latency: 1ms")
	sut.serves(v, "limits: {rpm: 0, rps: 40}", "limits: {rpm: 0, rps: 40}")
	for range 4 {
		sut.workerOf("openai", "anthropic")
	}
	sut.run(0, "enqueue", "batch", sut.texts(jobs), "--batch-id", "down")
	sut.until("all jobs to wait for later", func() bool {
		return sut.number(`
			SELECT count(*) FROM job_states
			WHERE state = 'retrying' OR state = 'queued' AND wait_reason = 'breaker'`) == jobs
	})
	dead := len(v.Calls())
	v.Clear()
	v.down(fakeprovider.OpenAI)
	sut.run(0, "enqueue", "watch", "down")

	if n := sut.number(`SELECT count(*) FROM results WHERE provider = 'anthropic'`); n != jobs {
		t.Errorf("%d of %d jobs have their result from the one that came back", n, jobs)
	}
	if n := sut.number(`SELECT count(*) FROM jobs JOIN job_states ON job_id = id WHERE state = 'succeeded' AND attempt <= max_attempts`); n != jobs {
		t.Errorf("%d of %d jobs succeeded", n, jobs)
	}
	if n := sut.number(`SELECT count(*) FROM jobs j WHERE (SELECT count(*) FROM call_jobs cj WHERE cj.job_id = j.id) > j.max_provider_calls`); n != 0 {
		t.Errorf("%d jobs have made more calls than they may", n)
	}
	if calls, rows := int64(len(v.Calls())), sut.number(`SELECT count(*) FROM calls`); calls != rows {
		t.Errorf("the ledger has %d calls, the providers saw %d", rows, calls)
	}
	if trials, _ := probes(t, v.times(fakeprovider.OpenAI)); trials > 20 || dead-trials > 20 {
		t.Errorf("%d and %d calls until the breakers opened, want 20 at most", trials, dead-trials)
	}
	t.Logf("%d calls while both failed", dead)
}
