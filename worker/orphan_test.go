package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// forgetful is a store that does not record the first end of a claim.
type forgetful struct {
	worker.WorkStore
	failed atomic.Bool
}

func (f *forgetful) Complete(ctx context.Context, e jobs.Completion) (jobs.State, error) {
	if f.failed.CompareAndSwap(false, true) {
		return "", errors.New("not recorded")
	}
	return f.WorkStore.Complete(ctx, e)
}

func TestAJobWhoseEndWasNotRecordedIsTakenBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if n == 1 {
			return providers.Response{}, failure(providers.OutOfMoney, providers.Unbilled)
		}
		return answers(ctx, n, req)
	})
	db := &forgetful{WorkStore: f.store}
	f.worker(t, s, func(c *worker.Config) { c.Store.Work = db })
	id := f.enqueue(t, 1, nil)[0]
	if got := f.await(t, id, jobs.Succeeded); got.Gen != 2 || !db.failed.Load() {
		t.Errorf("%+v, want it taken back once", got)
	}
	f.drained(t)
}
