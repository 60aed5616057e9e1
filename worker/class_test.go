package worker_test

import (
	"context"
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
