package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// gate holds requests up before they reach the providers of a generator, as a limit does.
type gate struct {
	worker.Generator

	wait func(ctx context.Context, prompt string) error
}

func (g gate) Generate(ctx context.Context, route providers.Route, req providers.Request, j providers.Journal) (providers.Response, error) {
	if err := g.wait(ctx, req.Prompt); err != nil {
		return providers.Response{}, err
	}
	return g.Generator.Generate(ctx, route, req, j)
}

const claimed = `SELECT count(*) FROM job_states WHERE state = 'running'`

func TestAJobOfAChunkIsClaimedWhenItsCallHasItsSlot(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 10)
	slots, waiting := make(chan struct{}), make(chan struct{}, 8)
	s := serve(answers)
	ids := f.enqueue(t, 8, inBulk)
	began := time.Now()
	f.worker(t, s, func(c *worker.Config) {
		c.Generator = gate{c.Generator, func(ctx context.Context, _ string) error {
			waiting <- struct{}{}
			select {
			case <-slots:
			case <-ctx.Done():
			}
			return ctx.Err()
		}}
	})
	for range ids {
		<-waiting
	}
	// On a busy machine they may have waited for so long by now that they are claimed all the same.
	if n := f.count(t, claimed+` OR attempt > 0`); n != 0 && time.Since(began) < 2*time.Second {
		t.Errorf("%d jobs are claimed, and none has its slot", n)
	}
	close(slots)
	for _, id := range ids {
		if got := f.await(t, id, jobs.Succeeded); got.Attempt != 1 || got.Gen != 1 || len(got.Outcomes) != 1 {
			t.Errorf("%+v, want one attempt and one call", got)
		}
	}
	f.bulkDrained(t)
}

func TestAJobOfAChunkThatWaitsForLongIsClaimedAndWaitsOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 10)
	slots := make(chan struct{})
	ids := f.enqueue(t, 4, inBulk)
	f.worker(t, serve(answers), func(c *worker.Config) {
		c.Generator = gate{c.Generator, func(ctx context.Context, _ string) error {
			select {
			case <-slots:
			case <-ctx.Done():
			}
			return ctx.Err()
		}}
	})
	eventually(t, "all are claimed", func() bool { return f.count(t, claimed) == len(ids) })
	if n := f.count(t, `SELECT count(*) FROM calls`); n != 0 {
		t.Errorf("%d calls have begun", n)
	}
	close(slots)
	for _, id := range ids {
		if got := f.await(t, id, jobs.Succeeded); got.Gen != 1 || got.Attempt != 1 || len(got.Outcomes) != 1 {
			t.Errorf("%+v, want one attempt and one call", got)
		}
	}
	f.bulkDrained(t)
}

func TestAJobOfAChunkThatIsNotSentSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 10)
	var mu sync.Mutex
	refused := map[string]bool{}
	ids := f.enqueue(t, 4, inBulk)
	f.worker(t, serve(answers), func(c *worker.Config) {
		c.Generator = gate{c.Generator, func(_ context.Context, prompt string) error {
			mu.Lock()
			defer mu.Unlock()
			if refused[prompt] {
				return nil
			}
			refused[prompt] = true
			return &providers.Error{
				Provider: "svc", Kind: providers.NotAsked, Billing: providers.Unbilled, RetryAfter: 3 * time.Second,
				Waiting: &providers.WaitError{For: providers.WaitForBreaker},
			}
		}}
	})
	eventually(t, "all wait, and say so", func() bool {
		return f.count(t, `SELECT count(*) FROM job_states WHERE state = 'queued' AND wait_reason = 'breaker' AND not_before > now() AND attempt = 0`) == len(ids)
	})
	for _, id := range ids {
		if got := f.await(t, id, jobs.Succeeded); got.Gen != 1 || got.Attempt != 1 || len(got.Outcomes) != 1 {
			t.Errorf("%+v, want one attempt and one call", got)
		}
	}
	f.bulkDrained(t)
}

// A panic before the first call must end the job, though nobody has claimed it.
func TestAPanicBeforeTheCallOfAnUnclaimedJobEndsIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 10)
	ids := f.enqueue(t, 3, inBulk)
	f.worker(t, serve(answers), func(c *worker.Config) {
		c.Generator = gate{c.Generator, func(_ context.Context, prompt string) error {
			if prompt == "secret prompt 1" {
				panic("in a policy")
			}
			return nil
		}}
	})
	for i, id := range ids {
		want := jobs.Succeeded
		if i == 1 {
			want = jobs.Failed
		}
		if got := f.await(t, id, want); i == 1 && (got.Class != "panic" || got.Gen != 1 || len(got.Outcomes) != 0) {
			t.Errorf("%+v", got)
		}
	}
	f.bulkDrained(t)
}

// slowRegister is a database that is slow as a worker registers.
type slowRegister struct {
	worker.PresenceStore

	asked chan struct{}
}

func (s slowRegister) Register(ctx context.Context, _ worker.Presence) error {
	close(s.asked)
	<-ctx.Done()
	return ctx.Err()
}

func TestAWorkerThatIsToldToStopAsItStartsEndsWell(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	asked := make(chan struct{})
	r := f.worker(t, serve(answers), func(c *worker.Config) { c.Store.Presence = slowRegister{c.Store.Presence, asked} })
	<-asked
	r.stop()
	r.wait(t)
}
