package policy_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/providers"
)

// stalled is a ledger that takes a while, for as long as it stands still.
type stalled struct {
	open
	until time.Time
	takes time.Duration // afterwards
	lost  []error       // what calls ended with that were not sent
}

func (s *stalled) Begin(ctx context.Context, provider string, req providers.Request) (providers.Call, error) {
	if _, err := s.open.Begin(ctx, provider, req); err != nil {
		return nil, err
	}
	pass(max(time.Until(s.until), s.takes))
	return s, nil
}

func (s *stalled) Ordered(context.Context, string) error { return nil }

func (s *stalled) End(ctx context.Context, res providers.Response, err error) error {
	if failure, failed := errors.AsType[*providers.Error](err); failed && !failure.Sent {
		s.lost = append(s.lost, err)
		if failure.Kind != providers.NotAsked || failure.Billing != providers.Unbilled {
			return errors.New("a call that was not sent must neither cost nor count")
		}
	}
	return s.open.End(ctx, res, err)
}

func TestALedgerThatStoodStillDoesNotMakeABurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const handlers = 5
		provider := newService("a", after(200*time.Millisecond, ok))
		w := newWorkers(t, provider)
		w.set("a", settings{Limits: providers.Limits{RPM: 600}})
		stall := time.Now().Add(3 * time.Second)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, s := range w.workers(4) {
			for range handlers {
				wg.Go(func() {
					j := &stalled{until: stall}
					if _, err := s.Generate(t.Context(), first, providers.Request{Task: providers.Text, Prompt: "p"}, j); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if j.ended != len(j.calls) {
						t.Errorf("%d calls in the ledger, %d were ended", len(j.calls), j.ended)
					}
				})
			}
		}
		wg.Wait()
		if got := provider.calls(); got != 4*handlers {
			t.Errorf("%d calls, want one for each job", got)
		}
		// Three slots at most are young enough at the end of the stall, one comes then.
		for _, at := range provider.since(time.Time{}) {
			n := 0
			for _, other := range provider.since(at) {
				if other.Before(at.Add(100 * time.Millisecond)) {
					n++
				}
			}
			if n > 4 {
				t.Errorf("%d calls within 100 ms at 600 a minute", n)
			}
		}
	})
}

func TestALedgerThatIsAlwaysSlowHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a)
		for _, limits := range []providers.Limits{{RPM: 600}, {}} {
			w.set("a", settings{Limits: limits})
			j := &stalled{takes: time.Second}
			if _, err := w.worker(nil).Generate(t.Context(), first, providers.Request{Task: providers.Text, Prompt: "p"}, j); err != nil {
				t.Error(err)
			}
			if len(j.calls) != 1 || j.ended != 1 || len(j.lost) != 0 {
				t.Errorf("%d rows in the ledger, %d ended, %d of calls that were not sent", len(j.calls), j.ended, len(j.lost))
			}
		}
	})
}

func TestACallThatFindsNoOtherSlotIsEndedAsNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a)
		w.set("a", settings{Limits: providers.Limits{RPM: 1}})
		j := &stalled{takes: time.Second}
		_, err := w.worker(nil).Generate(t.Context(), providers.Route{Provider: "a", Fallback: providers.FallbackNever}, providers.Request{Task: providers.Text, Prompt: "p"}, j)
		failure, _ := errors.AsType[*providers.Error](err)
		if failure == nil || failure.Kind.Reaction() != providers.Wait || failure.RetryAfter < 50*time.Second {
			t.Errorf("%v, want that it waits in the queue for its turn", err)
		}
		if a.calls() != 0 || j.ended != 1 || len(j.lost) != 1 {
			t.Errorf("%d calls were sent, %d rows ended, %d of calls that were not sent", a.calls(), j.ended, len(j.lost))
		}
	})
}

// By the time a seldom slot comes, the job may be somebody else's, however urgent it
// is: what stands in the ledger is not sent so late.
func TestNothingIsSentLongAfterItsRowWasWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newService("a", ok)
		w := newWorkers(t, a)
		w.set("a", settings{Limits: providers.Limits{RPM: 6}}) // one in 10 s
		j := &stalled{takes: time.Second}
		began := time.Now()
		_, err := w.worker(nil).Generate(t.Context(), providers.Route{Provider: "a", Fallback: providers.FallbackNever}, providers.Request{Task: providers.Text, Prompt: "p"}, j)
		failure, _ := errors.AsType[*providers.Error](err)
		if failure == nil || failure.Kind.Reaction() != providers.Wait || failure.Sent {
			t.Errorf("%v, want a wait that costs no attempt", err)
		}
		if n := a.calls(); n != 0 || len(j.lost) != 1 || j.ended != 1 {
			t.Errorf("%d calls were sent, %d rows ended as not sent", n, len(j.lost))
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it waited for %v", took)
		}
	})
}

// A Postgres that is slow is so for the next provider, too, which may be dearer.
func TestASlowLedgerIsNoReasonToAskAnotherProvider(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newService("a", ok), newService("b", ok)
		w := newWorkers(t, a, b)
		w.set("a", settings{Limits: providers.Limits{RPM: 6}}) // one in 10 s
		j := &stalled{takes: time.Second}
		_, err := w.worker(nil).Generate(t.Context(), first, providers.Request{Task: providers.Text, Prompt: "p"}, j)
		failure, _ := errors.AsType[*providers.Error](err)
		if failure == nil || failure.Kind.Reaction() != providers.Wait || failure.Waiting == nil || failure.Waiting.For != providers.WaitForLedger {
			t.Errorf("%v, want that it waits in the queue, and says for what", err)
		}
		if a.calls() != 0 || b.calls() != 0 || len(j.lost) != 1 {
			t.Errorf("%d and %d calls were sent, and %d rows ended as not sent, want no call and one row", a.calls(), b.calls(), len(j.lost))
		}
	})
}
