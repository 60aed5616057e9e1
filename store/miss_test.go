package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/jobs"
	"oneflow/providers"
)

// An answer that breaks its schema is paid for; the worker that was to ask again may die.
func TestATakeOverGoesOnFromAnAnswerThatDidNotDo(t *testing.T) {
	t.Parallel()
	for _, unknown := range []jobs.OnUnknown{jobs.RetryUnknown, jobs.FailUnknown} {
		w := newDatabase(t)
		j := w.running(t, func(r *jobs.New) { r.OnUnknown = unknown })
		c := w.sent(t, j, nano(9))
		if err := w.SettleCall(t.Context(), jobs.Settlement{
			CallID: c.CallID, Outcome: jobs.CallFailedBilled, Cost: nano(5), Kind: providers.OffSchema, Message: "/a: got string, want integer",
			Body: []byte(`{"a":"x"}`), Usage: providers.Usage{OutputTokens: 7},
		}); err != nil {
			t.Fatal(err)
		}
		w.takeOver(t)
		if got := w.job(t, j.ID); got.State != jobs.Queued || got.ErrorClass != "" {
			t.Fatalf("on_unknown %s: after the take-over it is %s %s, want queued", unknown, got.State, got.ErrorClass)
		}
		again := w.mustClaim(t, jobs.Delivery{ID: j.ID, Gen: 2})
		if again.Unknowns != 1 {
			t.Errorf("the claim tells of %d calls in vain, want 1: nobody would look for the answer", again.Unknowns)
		}
		got, err := w.Misses(t.Context(), j.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := []jobs.Miss{{
			Kind: providers.OffSchema, Message: "/a: got string, want integer", Answer: `{"a":"x"}`, OutputTokens: 7, Provider: c.Provider, Model: c.Model,
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the answers to go on from (-want +got):\n%s", diff)
		}
		// The next call's end is not known: that is the first such, whatever came before.
		w.sent(t, again, nano(9))
		w.takeOver(t)
		wantState := jobs.Queued
		if unknown == jobs.FailUnknown {
			wantState = jobs.Unknown
		}
		if got := w.job(t, j.ID); got.State != wantState {
			t.Errorf("on_unknown %s: after a call of unknown outcome it is %s, want %s", unknown, got.State, wantState)
		}
		w.holds(t)
	}
}
