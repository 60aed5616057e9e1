package worker_test

import (
	"context"
	"fmt"
	"testing"

	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// limited has calls of the model slow limited to 30 a minute, and all others not.
func limited(_, model string) (string, providers.Limits) {
	if model == "slow" {
		return model, providers.Limits{RPM: 30}
	}
	return model, providers.Limits{}
}

func TestJobsOfAFastModelEndWhileThoseOfASlowOneWait(t *testing.T) {
	t.Parallel()
	for _, lane := range []jobs.Lane{jobs.Default, jobs.Bulk, jobs.High} {
		t.Run(string(lane), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			slow := make(chan struct{})
			s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
				if req.Model == "slow" {
					<-slow // its limit
				}
				return answers(ctx, n, req)
			})
			// All of the slow model come first, and are more than a worker has handlers for.
			model := "slow"
			of := func(r *jobs.New) { r.Lane, r.Request.Model = lane, model }
			f.enqueue(t, 150, of)
			model = "fast"
			f.enqueue(t, 150, of)
			f.worker(t, s, func(c *worker.Config) {
				c.Providers[0].Concurrency, c.Providers[0].ByModel, c.Class = 0, true, limited
			})
			ended := func(model string) int {
				return f.count(t, `SELECT count(*) FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE s.state = 'succeeded' AND j.model = '`+model+`'`)
			}
			eventually(t, "all of the fast model have ended", func() bool { return ended("fast") == 150 })
			if n := ended("slow"); n != 0 {
				t.Errorf("%d of the slow model have ended", n)
			}
			if n := f.count(t, `SELECT count(*) FROM calls WHERE model = 'slow'`); n == 0 || n > 20 {
				t.Errorf("%d of the slow model are under way, want those that its rate asks for", n)
			}
			close(slow)
			f.awaitAll(t, jobs.Succeeded)
			storetest.Invariants(t, f.sql)
			if n := len(s.made()); n != 300 {
				t.Errorf("%d calls for 300 jobs", n)
			}
			if n := f.count(t, `SELECT count(*) FROM provider_models WHERE provider = 'svc' AND limits = '{"rpm": 30}' AND model = 'slow'`); n != 1 {
				t.Errorf("%d rows of the slow model, with its limit", n)
			}
		})
	}
}

// heldBack makes a service whose calls wait until held is closed, but for urgent ones.
func heldBack(held chan struct{}, urgent func(req providers.Request) bool) *service {
	return serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if !urgent(req) {
			<-held // its limit
		}
		return answers(ctx, n, req)
	})
}

func TestAnUrgentJobWaitsForNoneOfTheBulkLane(t *testing.T) {
	t.Parallel()
	for _, models := range [][]string{{"slow"}, {"slow", "other"}} {
		t.Run(fmt.Sprint(len(models), " in the queue"), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			held := make(chan struct{})
			s := heldBack(held, func(req providers.Request) bool { return req.System == "urgent" })
			for _, model := range models {
				f.enqueue(t, 60, func(r *jobs.New) { r.Lane, r.Request.Model = jobs.Bulk, model })
			}
			f.worker(t, s, func(c *worker.Config) {
				c.Providers[0].Concurrency, c.Providers[0].ByModel, c.Class = 0, true, func(_, model string) (string, providers.Limits) {
					return model, providers.Limits{RPM: 30}
				}
			})
			eventually(t, "the bulk lane fills the worker's hand", func() bool { return len(s.made()) >= 4 })
			putBack := 0
			for i := range 8 { // either Server may take one
				f.enqueue(t, 1, func(r *jobs.New) { r.Lane, r.Request.Model, r.Request.System = jobs.High, "slow", "urgent" })
				eventually(t, "the urgent job has ended", func() bool {
					if info, err := f.inspector.GetQueueInfo(jobs.QueueName("svc", jobs.High)); err == nil {
						putBack = max(putBack, info.Retry)
					}
					return f.count(t, `SELECT count(*) FROM job_states WHERE state = 'succeeded'`) == i+1
				})
			}
			if putBack > 0 {
				t.Error("an urgent job was put back, although its places were free")
			}
			close(held)
			f.awaitAll(t, jobs.Succeeded)
			storetest.Invariants(t, f.sql)
		})
	}
}

func TestATaskOfTheOnlyClassIsNotPutBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	held := make(chan struct{})
	s := heldBack(held, func(providers.Request) bool { return false })
	f.enqueue(t, 150, func(r *jobs.New) { r.Request.Model = "slow" })
	f.worker(t, s, func(c *worker.Config) {
		c.Providers[0].Concurrency, c.Providers[0].ByModel, c.Class = 0, true, limited
	})
	queue := jobs.QueueName("svc", jobs.Default)
	eventually(t, "the worker has its hand full", func() bool {
		info, err := f.inspector.GetQueueInfo(queue)
		return err == nil && info.Active > 4 && len(s.made()) >= 4
	})
	info, err := f.inspector.GetQueueInfo(queue)
	if err != nil {
		t.Fatal(err)
	}
	if info.Retry != 0 || info.Pending < 100 {
		t.Errorf("%d were put back and %d are pending, want none and most of them", info.Retry, info.Pending)
	}
	close(held)
	f.awaitAll(t, jobs.Succeeded)
	storetest.Invariants(t, f.sql)
}

func TestAClassThatComesBehindTheOnlyOneIsSeen(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	held := make(chan struct{})
	s := heldBack(held, func(req providers.Request) bool { return req.Model == "fast" })
	f.enqueue(t, 150, func(r *jobs.New) { r.Request.Model = "slow" })
	f.worker(t, s, func(c *worker.Config) {
		c.Providers[0].Concurrency, c.Providers[0].ByModel, c.Class = 0, true, limited
	})
	eventually(t, "the slow model fills the worker's hand", func() bool { return len(s.made()) >= 4 })
	f.enqueue(t, 10, func(r *jobs.New) { r.Request.Model = "fast" })
	eventually(t, "the fast model's have ended", func() bool {
		return f.count(t, `SELECT count(*) FROM job_states WHERE state = 'succeeded'`) == 10
	})
	close(held)
	f.awaitAll(t, jobs.Succeeded)
}
