package worker_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// shown returns the served providers by the workers table.
func (f *fleet) shown(t *testing.T) []string {
	t.Helper()
	var names []string
	if err := f.sql.QueryRow(t.Context(), `SELECT providers FROM workers WHERE stopped_at IS NULL`).Scan(&names); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestAProviderIsServedFromTheMomentItCanBeAndNoLongerThanThat(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	calling, gate := make(chan struct{}, 10), make(chan struct{})
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		calling <- struct{}{}
		<-gate
		return answers(ctx, n, req)
	})
	var can atomic.Bool
	changed := make(chan struct{})
	f.worker(t, s, func(c *worker.Config) {
		c.Serves, c.Changed = func(string) bool { return can.Load() }, changed
		c.Providers = append(c.Providers, worker.Served{Name: "idle", Kind: "test"})
		c.Hasten(time.Second, 100*time.Millisecond, time.Minute)
	})
	change := func(to bool) {
		can.Store(to)
		changed <- struct{}{}
	}
	first := f.enqueue(t, 1, nil)[0]
	eventually(t, "the job's task waits in Redis", func() bool {
		live, _ := f.tasks(t)
		return live == 1
	})
	eventually(t, "the worker is registered", func() bool { return f.count(t, `SELECT count(*) FROM workers`) == 1 })
	if got := f.shown(t); len(got) != 0 {
		t.Errorf("a worker that serves nothing shows %v", got)
	}

	change(true)
	<-calling
	eventually(t, "both are shown", func() bool { return slices.Equal(f.shown(t), []string{"svc", "idle"}) })
	if n := f.count(t, `SELECT count(*) FROM providers WHERE concurrency > 0`); n != 2 {
		t.Errorf("%d providers have a row, want 2", n)
	}

	// The call in hand goes on to its end; nothing begins.
	change(false)
	eventually(t, "nothing is shown", func() bool { return len(f.shown(t)) == 0 })
	second := f.enqueue(t, 1, func(r *jobs.New) { r.Request.Prompt = "another" })[0]
	gate <- struct{}{}
	f.await(t, first, jobs.Succeeded)
	changed <- struct{}{} // another look, and still none
	if got := f.job(t, second); got.State != jobs.Queued || len(s.made()) != 1 {
		t.Errorf("%+v after %d calls, want it to wait", got, len(s.made()))
	}

	change(true)
	<-calling
	close(gate)
	f.await(t, second, jobs.Succeeded)
	f.drained(t)
}

func TestAProviderIsServedAgainThoughACallOfBeforeStillRuns(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	calling, gate := make(chan struct{}, 10), make(chan struct{})
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		calling <- struct{}{}
		if n == 1 {
			<-gate
		}
		return answers(ctx, n, req)
	})
	var can atomic.Bool
	can.Store(true)
	changed := make(chan struct{})
	f.worker(t, s, func(c *worker.Config) { c.Serves, c.Changed = func(string) bool { return can.Load() }, changed })
	first := f.enqueue(t, 1, nil)[0]
	<-calling
	for _, to := range []bool{false, true} {
		can.Store(to)
		changed <- struct{}{}
	}
	f.await(t, f.enqueue(t, 1, func(r *jobs.New) { r.Request.Prompt = "another" })[0], jobs.Succeeded)
	close(gate)
	f.await(t, first, jobs.Succeeded)
}
