package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"oneflow/jobs"
	"oneflow/store"
)

// ordered is a running job, and its call that has ordered a film.
func (w *database) ordered(t *testing.T, change func(*jobs.New)) (*jobs.Job, jobs.Call) {
	t.Helper()
	j := w.running(t, change)
	c := w.sent(t, j, nano(100))
	w.handle(t, c, "video_1")
	return j, c
}

func (w *database) handle(t *testing.T, c jobs.Call, handle string) {
	t.Helper()
	if err := w.SetHandle(t.Context(), c.CallID, handle); err != nil {
		t.Fatal(err)
	}
}

func (w *database) order(t *testing.T, job uuid.UUID) *jobs.Order {
	t.Helper()
	o, err := w.Order(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestATakeOverGoesOnWithWhatWasOrdered(t *testing.T) {
	t.Parallel()
	for _, unknown := range []jobs.OnUnknown{jobs.RetryUnknown, jobs.FailUnknown} {
		w := newDatabase(t)
		j, c := w.ordered(t, func(r *jobs.New) { r.OnUnknown = unknown })
		// The second time the worker dies that goes on with it: no call is under way then.
		for died := range 2 {
			w.takeOver(t)
			want := jobRow{State: jobs.Queued, Gen: died + 2, Attempt: died + 1, Crashes: died + 1, CostNano: 100}
			if diff := cmp.Diff(want, w.job(t, j.ID)); diff != "" {
				t.Fatalf("on_unknown %s, after %d deaths (-want +got):\n%s", unknown, died+1, diff)
			}
			j = w.mustClaim(t, jobs.Delivery{ID: j.ID, Gen: died + 2})
			want2 := &jobs.Order{CallID: c.CallID, Provider: c.Provider, Model: c.Model, Handle: "video_1", Reserved: nano(100), Counted: true}
			if diff := cmp.Diff(want2, w.order(t, j.ID), cmpopts.IgnoreFields(jobs.Order{}, "Started")); diff != "" || j.Unknowns != 1 {
				t.Fatalf("%d calls in vain; the order (-want +got):\n%s", j.Unknowns, diff)
			}
		}
		if err := w.Succeed(t.Context(), success(j, c, nano(30))); err != nil {
			t.Fatal(err)
		}
		if got := w.job(t, j.ID); got.State != jobs.Succeeded || got.CostNano != 30 || w.order(t, j.ID) != nil {
			t.Errorf("on_unknown %s: it is %s and costs %d, want one film, paid once", unknown, got.State, got.CostNano)
		}
		w.handle(t, c, "") // by a worker that comes late: what is settled stays
		w.holds(t)
	}
}

func TestAnOrderThatIsOverIsAnUnknownCallLikeAnyOther(t *testing.T) {
	t.Parallel()
	for unknown, want := range map[jobs.OnUnknown]jobs.State{jobs.RetryUnknown: jobs.Queued, jobs.FailUnknown: jobs.Unknown} {
		w := newDatabase(t)
		j, c := w.ordered(t, func(r *jobs.New) { r.OnUnknown = unknown })
		w.handle(t, c, "")
		w.takeOver(t)
		if got := w.job(t, j.ID); got.State != want || got.CostNano != 100 || w.order(t, j.ID) != nil {
			t.Errorf("on_unknown %s: it is %s and costs %d, want %s and 100", unknown, got.State, got.CostNano, want)
		}
		w.holds(t)
	}
}

func TestAnOrderIsNotGoneOnWithForEver(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	killing, _ := w.ordered(t, nil)
	w.exec(t, `UPDATE job_states SET crashes = $1`, jobs.MaxCrashes-1)
	w.takeOver(t)
	if got := w.job(t, killing.ID); got.State != jobs.Failed || got.ErrorClass != "poison" {
		t.Errorf("the job that kills workers is %s (%s), want failed (poison)", got.State, got.ErrorClass)
	}
	lost, _ := w.ordered(t, nil)
	w.exec(t, `UPDATE job_states SET attempt = (SELECT max_attempts FROM jobs WHERE id = job_id) WHERE job_id = $1`, lost.ID)
	if _, err := w.TakeBack(t.Context(), w.worker, []uuid.UUID{lost.LeaseToken}); err != nil {
		t.Fatal(err)
	}
	if got := w.job(t, lost.ID); got.State != jobs.Unknown {
		t.Errorf("the job that is lost sight of is %s after its last attempt, want unknown", got.State)
	}
	cancelled, _ := w.ordered(t, nil)
	if _, err := w.Cancel(t.Context(), cancelled.ID.String()); err != nil {
		t.Fatal(err)
	}
	w.takeOver(t)
	if got := w.job(t, cancelled.ID); got.State != jobs.Cancelled || got.CostNano != 100 {
		t.Errorf("the job that was cancelled is %s and costs %d, want cancelled and 100", got.State, got.CostNano)
	}
	w.holds(t)
}

// What a person brings back may still be made; what a person has settled is over.
func TestARetryGoesOnWithAnOrderThatNobodyHasSettled(t *testing.T) {
	t.Parallel()
	for _, settled := range []bool{false, true} {
		w := newDatabase(t)
		j, c := w.ordered(t, nil)
		if err := w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallUnknown}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Unknown, Class: "timeout"}); err != nil {
			t.Fatal(err)
		}
		if settled {
			if _, err := w.Resolve(t.Context(), j.ID.String(), store.Resolution{Retry: true}); err != nil {
				t.Fatal(err)
			}
		} else {
			w.retry(t, j.ID.String(), jobs.Unknown)
		}
		got := w.mustClaim(t, jobs.Delivery{ID: j.ID, Gen: 2})
		o := w.order(t, j.ID)
		if got.Unknowns != 0 || settled != (o == nil) || o != nil && (o.Counted || o.Handle != "video_1") {
			t.Errorf("settled by hand %t: %d calls in vain, order %+v", settled, got.Unknowns, o)
		}
		w.holds(t)
	}
}
