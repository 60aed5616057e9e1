package batches_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"oneflow/batches"
	"oneflow/jobs"
)

// slowSteps is a store that takes a second to say that no batch has a next step.
type slowSteps struct {
	asked atomic.Int64
	fails atomic.Bool
}

func (s *slowSteps) StepAfter(context.Context, string) (*jobs.Step, string, error) {
	s.asked.Add(1)
	<-time.After(time.Second)
	if s.fails.Load() {
		return nil, "", errors.New("Postgres is away")
	}
	return nil, "", nil
}

func (*slowSteps) Parent(context.Context, uuid.UUID) (jobs.Parent, error) {
	return jobs.Parent{}, errors.New("nobody asks for the row of a job without a next step")
}

// A worker begins hundreds of jobs of a batch at once. Each with a query of its own would take
// all connections.
func TestJobsOfABatchThatBeginAtOnceLookForItsNextStepTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var store slowSteps
		steps := batches.Steps{Store: &store}
		begin := func(n int) (failed int64) {
			var jobsOf sync.WaitGroup
			var errs atomic.Int64
			for range n {
				jobsOf.Go(func() {
					child, err := steps.After(t.Context(), jobs.Job{ID: jobs.NewID(), BatchID: "b"})
					if err != nil {
						errs.Add(1)
					} else if child != nil {
						t.Error("a batch without steps makes children")
					}
				})
			}
			jobsOf.Wait()
			return errs.Load()
		}
		store.fails.Store(true)
		if failed := begin(300); failed != 300 {
			t.Errorf("%d of 300 jobs were told that Postgres is away", failed)
		}
		store.fails.Store(false)
		for range 2 {
			if failed := begin(300); failed != 0 {
				t.Errorf("%d of 300 jobs failed after Postgres had come back", failed)
			}
		}
		if asked := store.asked.Load(); asked != 2 {
			t.Errorf("900 jobs asked Postgres %d times, want once while it was away and once after", asked)
		}
	})
}
