package worker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// gated is a service whose calls wait until they are let go.
type gated struct {
	*service
	mu   sync.Mutex
	gate chan struct{}
	// inFlight is the number of calls that wait now.
	inFlight atomic.Int64
}

// serveGated makes one whose calls take a second, by what it says of them.
func serveGated() *gated {
	g := &gated{gate: make(chan struct{})}
	g.service = serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		g.mu.Lock()
		gate := g.gate
		g.mu.Unlock()
		g.inFlight.Add(1)
		defer g.inFlight.Add(-1)
		select {
		case <-gate:
		case <-ctx.Done():
			return providers.Response{}, failure(providers.Cancelled, providers.BillingUnknown)
		}
		res, err := answers(ctx, n, req)
		res.Latency = time.Second
		return res, err
	})
	return g
}

// letGo lets go the calls that wait now; those that come later wait again.
func (g *gated) letGo() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.gate)
	g.gate = make(chan struct{})
}

// open lets all calls go from now on.
func (g *gated) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.gate)
}

// awaitInFlight waits until that many calls are in flight.
func (g *gated) awaitInFlight(t *testing.T, want int64) {
	t.Helper()
	eventually(t, fmt.Sprint(want, " calls are in flight"), func() bool { return g.inFlight.Load() == want })
}

// planned has a worker plan its concurrency by a limit in requests a minute that
// may change, and a latency of a second.
func planned(rpm *atomic.Int64) func(*worker.Config) {
	return func(c *worker.Config) {
		c.Providers = []worker.Served{{Name: "svc", Kind: "test", Latency: time.Second}}
		c.Limits = func(string) providers.Limits { return providers.Limits{RPM: rpm.Load()} }
		c.Hasten(50*time.Millisecond, 100*time.Millisecond, time.Minute)
		c.Patient()
	}
}

// servers are the concurrencies of all asynq.Servers, in order.
func (f *fleet) servers(t *testing.T) []int {
	t.Helper()
	list, err := f.inspector.Servers()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int, len(list))
	for i, s := range list {
		out[i] = s.Concurrency
	}
	slices.Sort(out)
	return out
}

// awaitServers waits until the asynq.Servers are of these concurrencies.
func (f *fleet) awaitServers(t *testing.T, want ...int) {
	t.Helper()
	eventually(t, fmt.Sprint("the Servers are ", want), func() bool { return slices.Equal(f.servers(t), want) })
}

// awaitPlanned waits until each worker runs so many jobs at once where there are any.
func (f *fleet) awaitPlanned(t *testing.T, want int) {
	t.Helper()
	eventually(t, fmt.Sprint("a worker runs ", want, " at once"), func() bool {
		return f.count(t, `SELECT coalesce(max(concurrency), 0) FROM providers WHERE name = 'svc'`) == want
	})
}

// onceEach fails for each job that was sent twice, or whose claim was repeated.
func (f *fleet) onceEach(t *testing.T, s *service, n int) {
	t.Helper()
	if made := s.made(); len(made) != n {
		t.Errorf("%d calls for %d jobs", len(made), n)
	}
	for prompt, n := range s.perPrompt() {
		if n != 1 {
			t.Errorf("%q was sent %d times", prompt, n)
		}
	}
	for what, where := range map[string]string{
		"have not succeeded": `state <> 'succeeded'`, "have not cost what one call does": `cost_nano <> 10`, "were claimed again": `attempt <> 1`,
		"were delivered again": `gen <> 1`, "had a worker that died": `crashes > 0`,
	} {
		if n := f.count(t, `SELECT count(*) FROM job_states WHERE `+where); n != 0 {
			t.Errorf("%d jobs %s", n, what)
		}
	}
}

func TestLimitsThatChangeChangeTheConcurrencyOfARunningWorker(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serveGated()
	var rpm atomic.Int64
	rpm.Store(600)
	f.worker(t, s, planned(&rpm))
	const n = 100
	f.enqueue(t, n, nil)
	s.awaitInFlight(t, 15) // ceil(10/s × 1.08 s) and 4 that wait
	rpm.Store(60)
	// The old Server keeps its calls, the new one begins 6 of its own.
	s.awaitInFlight(t, 21)
	eventually(t, "6 at once are shown", func() bool { return f.count(t, `SELECT concurrency FROM providers WHERE name = 'svc'`) == 6 })
	if info, err := f.inspector.GetQueueInfo(jobs.QueueName("svc", jobs.Default)); err != nil || info.Active != 21 {
		t.Errorf("%+v, %v, want that nobody else may have the 21 that are in flight", info, err)
	}
	s.letGo()
	s.awaitInFlight(t, 6)
	f.awaitServers(t, 2, 6) // one for the high lane, one for all
	rpm.Store(1200)
	s.awaitInFlight(t, 6+28) // 20/s × 1.08 s and 6 that wait, beside those of the old one
	s.open()
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	f.onceEach(t, s.service, n)
}

func TestAWorkerThatStopsWhileItIsBeingRebuiltWaitsForOldAndNewCalls(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serveGated()
	var rpm atomic.Int64
	rpm.Store(60)
	w := f.worker(t, s, planned(&rpm))
	const n = 60
	f.enqueue(t, n, nil)
	s.awaitInFlight(t, 6)
	rpm.Store(600)
	s.awaitInFlight(t, 6+15)
	rpm.Store(6000) // nothing comes of it: the first Server has not left
	w.stop()
	others := serve(answers)
	next := f.worker(t, others, (*worker.Config).Patient)
	eventually(t, "another worker does the rest", func() bool {
		return f.count(t, `SELECT count(*) FROM job_states WHERE state = 'succeeded'`) == n-21
	})
	select {
	case <-w.done:
		t.Error("the worker has left, although calls are in flight")
	default:
	}
	s.open()
	w.wait(t)
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	if made := len(s.made()); made != 21 {
		t.Errorf("%d calls by the worker that was asked to stop, want 21", made)
	}
	for _, c := range s.made() {
		others.mu.Lock()
		others.calls = append(others.calls, c)
		others.mu.Unlock()
	}
	f.onceEach(t, others, n)
	next.stop()
	next.wait(t)
	f.awaitServers(t)
}

func TestWorkersShareWhatALimitNeeds(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var rpm atomic.Int64
	rpm.Store(1200) // 28 at once
	first, second := serveGated(), serveGated()
	f.worker(t, first, planned(&rpm))
	f.awaitPlanned(t, 28)
	w := f.worker(t, second, planned(&rpm))
	eventually(t, "both plan for two", func() bool { // the first has shown itself after the second had
		return f.count(t, `
			SELECT count(*)
			FROM providers
			WHERE concurrency = 14 AND updated_at > (SELECT max(started_at) FROM workers)`) == 1
	})
	const n = 60
	f.enqueue(t, n, nil)
	f.awaitServers(t, 3, 3, 14, 14)
	first.awaitInFlight(t, 14)
	second.awaitInFlight(t, 14)
	w.stop()
	second.open()
	w.wait(t)
	first.awaitInFlight(t, 14+28) // beside those of its old Server
	first.open()
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	if a, b := len(first.made()), len(second.made()); a+b != n {
		t.Errorf("%d and %d calls for %d jobs", a, b, n)
	}
}

func TestTheLatencyThatTheLedgerHasSeenCounts(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var rpm atomic.Int64
	rpm.Store(600)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		res, err := answers(ctx, n, req)
		res.Latency = 4 * time.Second // it says
		return res, err
	})
	f.worker(t, s, planned(&rpm))
	f.awaitPlanned(t, 15) // what is configured
	f.enqueue(t, 10, nil)
	f.awaitServers(t, 13, 52) // 10/s × 4.05 s, and 11 that wait
	f.awaitAll(t, jobs.Succeeded)
}

func TestConcurrencyGrowsAtOnceShrinksSlowlyAndDoesNotWobble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		runs        int
		asked, want []int
	}{
		"as it is":                       {20, []int{20, 20}, []int{20, 20}},
		"less than a quarter":            {20, []int{24, 16, 16, 16, 16, 16, 16, 16}, []int{20, 20, 20, 20, 20, 20, 20, 20}},
		"a quarter more":                 {20, []int{25, 25}, []int{25, 25}},
		"a quarter less":                 {20, []int{15, 15, 15, 15, 15, 15}, []int{20, 20, 20, 20, 20, 15}},
		"less, as much as was asked for": {20, []int{10, 12, 8, 9, 9, 9, 9}, []int{20, 20, 20, 20, 20, 12, 12}},
		"a wobble starts anew":           {20, []int{10, 10, 10, 10, 10, 18, 10, 10, 10, 10, 10, 10}, []int{20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 10}},
		"few":                            {1, []int{2, 1, 2, 1, 1, 1, 1, 1, 1}, []int{2, 2, 2, 2, 2, 2, 2, 2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := worker.NewRegulator(c.runs)
			for i, share := range c.asked {
				if got := r.Asked(share); got != c.want[i] {
					t.Errorf("look %d asks for %d: %d run, want %d", i+1, share, got, c.want[i])
				}
			}
		})
	}
}

func TestBulkThatWaitsDoesNotKeepAHighJobFromItsCall(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	gate := make(chan struct{})
	var waiting atomic.Int64
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if req.Model == "bulk" {
			waiting.Add(1)
			<-gate // as for a slot of the limit
		}
		return answers(ctx, n, req)
	})
	f.worker(t, s, func(c *worker.Config) { c.Providers[0].Concurrency = 4 })
	f.enqueue(t, 100, func(r *jobs.New) { r.Lane, r.Request.Model = jobs.Bulk, "bulk" })
	eventually(t, "bulk has every slot", func() bool { return waiting.Load() == 4 })
	for _, id := range f.enqueue(t, 10, func(r *jobs.New) { r.Lane = jobs.High }) {
		f.await(t, id, jobs.Succeeded)
	}
	if n := waiting.Load(); n != 4 {
		t.Errorf("%d calls of bulk jobs are in flight, want 4", n)
	}
	close(gate)
	f.awaitAll(t, jobs.Succeeded)
}
