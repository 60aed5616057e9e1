package worker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/jobs"
	"oneflow/providers"
)

// studio is a provider whose calls order films; resumed says what becomes of the first.
type studio struct {
	*service
	looks   atomic.Int64
	resumed func(ctx context.Context, look int64) error
}

func (s *studio) Resume(ctx context.Context, req providers.Request, handle string) (providers.Response, error) {
	look := s.looks.Add(1)
	if handle != "film_1" {
		return providers.Response{}, failure(providers.NotFound, providers.BillingUnknown)
	}
	if err := s.resumed(ctx, look); err != nil {
		return providers.Response{}, err
	}
	return answers(ctx, 1, req)
}

func TestWhatWasOrderedIsGoneOnWithAndNotOrderedAgain(t *testing.T) {
	t.Parallel()
	outOfSight := failure(providers.Timeout, providers.BillingUnknown)
	givenUp := func(ctx context.Context, _ int64) error {
		providers.Ordered(ctx, "")
		return failure(providers.Unknown, providers.BillingUnknown)
	}
	for name, tt := range map[string]struct {
		unknown  jobs.OnUnknown
		resumed  func(ctx context.Context, look int64) error
		orders   int
		state    jobs.State
		cost     int64
		outcomes []string
	}{
		"it is made": {jobs.FailUnknown, func(_ context.Context, look int64) error {
			if look == 1 {
				return outOfSight
			}
			return nil
		}, 1, jobs.Succeeded, 10, []string{"succeeded"}},
		"a look is refused": {jobs.RetryUnknown, func(_ context.Context, look int64) error {
			if look == 1 {
				return failure(providers.InvalidRequest, providers.BillingUnknown)
			}
			return nil
		}, 1, jobs.Succeeded, 10, []string{"succeeded"}},
		"it stays out of sight":          {jobs.RetryUnknown, func(context.Context, int64) error { return outOfSight }, 1, jobs.Unknown, 100, []string{"unknown"}},
		"it is given up, and may repeat": {jobs.RetryUnknown, givenUp, 2, jobs.Succeeded, 110, []string{"unknown", "succeeded"}},
		"it is given up, and may not":    {jobs.FailUnknown, givenUp, 1, jobs.Unknown, 100, []string{"unknown"}},
		"it is refused for its content": {jobs.RetryUnknown, func(context.Context, int64) error {
			return failure(providers.Moderated, providers.Unbilled)
		}, 1, jobs.Failed, 0, []string{"failed_unbilled"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			s := &studio{resumed: tt.resumed, service: serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
				if n == 1 {
					providers.Ordered(ctx, "film_1")
					return providers.Response{}, outOfSight
				}
				return answers(ctx, n, req)
			})}
			f.worker(t, s, nil)
			id := f.enqueue(t, 1, func(r *jobs.New) {
				r.Request.Task, r.OnUnknown, r.MaxAttempts = providers.Video, tt.unknown, 3
			})[0]
			got := f.await(t, id, tt.state)
			if diff := cmp.Diff(tt.outcomes, got.Outcomes); diff != "" || len(s.made()) != tt.orders || got.Cost != tt.cost {
				t.Errorf("%d orders for %d nano-USD, want %d for %d; calls (-want +got):\n%s", len(s.made()), got.Cost, tt.orders, tt.cost, diff)
			}
		})
	}
}

// A worker that died when the order was over, and before the job was, leaves neither an
// order nor an unknown outcome that the take-over sees.
func TestAnOrderThatIsLostIsNotRepeatedWhereForbidden(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.enqueue(t, 1, func(r *jobs.New) { r.Request.Task, r.OnUnknown = providers.Video, jobs.FailUnknown })[0]
	f.exec(t, `
		WITH c AS (
			INSERT INTO calls (id, worker_id, provider, model, simulated, deadline)
			VALUES (gen_random_uuid(), gen_random_uuid(), 'svc', 'm', false, now()) RETURNING id
		)
		INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token)
		SELECT c.id, s.job_id, 1, 1, gen_random_uuid() FROM c, job_states s`)
	f.exec(t, `UPDATE calls SET state = 'unknown', finished_at = now()`)
	s := serve(answers)
	f.worker(t, s, nil)
	if got := f.await(t, id, jobs.Unknown); len(s.made()) != 0 {
		t.Errorf("%d orders, %+v", len(s.made()), got)
	}
}
