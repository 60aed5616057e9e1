package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"oneflow/jobs"
)

// window sets how many tasks each of the mock's queues may hold.
func (w *database) window(t *testing.T, n int) {
	t.Helper()
	w.exec(t, `UPDATE providers SET dispatch_window = $1 WHERE name = 'mock'`, n)
}

// bring accepts n jobs of an account, in a batch unless its id is empty, and
// returns what its producer has to push.
func (w *database) bring(t *testing.T, account, batchID string, n int) []jobs.Delivery {
	t.Helper()
	if batchID != "" {
		if err := w.OpenBatch(t.Context(), jobs.Batch{ID: batchID, Account: account}); err != nil {
			t.Fatal(err)
		}
	}
	acc, err := w.AcceptJobs(t.Context(), batchID, rows(t, n, func(r *jobs.New) { r.Account = account }), true)
	if err != nil || acc.New != n {
		t.Fatalf("%d of %d accepted: %v", acc.New, n, err)
	}
	return acc.Deliveries
}

// serve ends jobs as a worker would.
func (w *database) serve(t *testing.T, served []jobs.Delivery) {
	t.Helper()
	ids := make([]uuid.UUID, len(served))
	for i, d := range served {
		ids[i] = d.ID
	}
	w.exec(t, `UPDATE job_states SET state = 'cancelled', finished_at = now() WHERE job_id = ANY ($1)`, ids)
}

// line stands for Redis: first in, first out.
type line struct {
	waiting []jobs.Delivery
	longest int
}

func (l *line) push(more []jobs.Delivery) {
	slices.SortFunc(more, func(a, b jobs.Delivery) int { return int(a.StartTag - b.StartTag) })
	l.waiting = append(l.waiting, more...)
	l.longest = max(l.longest, len(l.waiting))
}

func (l *line) pop(n int) []jobs.Delivery {
	n = min(n, len(l.waiting))
	out := l.waiting[:n]
	l.waiting = l.waiting[n:]
	return out
}

// finishes serves everything, ten at a time, and returns at which place the n-th
// job of each key was served.
func (w *database) finishes(t *testing.T, l *line, n int, key func(jobs.Delivery) string) map[string]int {
	t.Helper()
	counts, at, place := map[string]int{}, map[string]int{}, 0
	for {
		served := l.pop(10)
		for _, d := range served {
			place++
			if counts[key(d)]++; counts[key(d)] == n {
				at[key(d)] = place
			}
		}
		w.serve(t, served)
		more := w.topUp(t, 2000)
		l.push(more)
		if len(served)+len(more) == 0 {
			return at
		}
	}
}

func TestTwoAccountsAreServedAlikeWhoeverCameFirst(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]int{"at once": 0, "in the middle of the first window": 100, "much later": 400} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			w.window(t, 200)
			var l line
			l.push(w.bring(t, "a", "first", 2000))
			for served := 0; served < late; served += 10 {
				w.serve(t, l.pop(10))
				l.push(w.topUp(t, 2000))
			}
			l.push(w.bring(t, "b", "second", 2000))
			at := w.finishes(t, &l, 500, func(d jobs.Delivery) string { return d.Account })
			// From the time when both are there, each has the same.
			a, b := float64(at["a"]), float64(at["b"])
			if a < 0.85*b || b < 0.85*a {
				t.Errorf("500 jobs of the one were served after %v, of the other after %v", a, b)
			}
			if l.longest > 200 {
				t.Errorf("the window of 200 held %d", l.longest)
			}
			if n := w.count(t, `SELECT count(*) FROM job_states WHERE finished_at IS NULL`); n != 0 {
				t.Errorf("%d jobs were never served", n)
			}
		})
	}
}

func TestAJobThatWaitsForARetryBringsNobodyForward(t *testing.T) {
	t.Parallel()
	for _, account := range []string{"a", "c"} { // of one that has brought more since, and of one that has not
		t.Run(account, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			w.window(t, 200)
			stuck := w.bring(t, account, "", 1) // in Redis, with the tag that it got first
			var l line
			l.push(w.bring(t, "a", "first", 3000))
			for range 100 {
				w.serve(t, l.pop(10))
				l.push(w.topUp(t, 2000))
			}
			l.push(w.bring(t, "b", "second", 2000))
			at := w.finishes(t, &l, 500, func(d jobs.Delivery) string { return d.Account })
			a, b := float64(at["a"]), float64(at["b"])
			if a < 0.85*b || b < 0.85*a {
				t.Errorf("500 jobs of the one were served after %v, of the other, who came after 1,000 of the first, after %v", a, b)
			}
			w.serve(t, stuck)
			if n := w.count(t, `SELECT count(*) FROM job_states WHERE finished_at IS NULL`); n != 0 {
				t.Errorf("%d jobs were never served", n)
			}
		})
	}
}

func TestTheBatchesOfAnAccountTakeTurns(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.window(t, 40)
	var l line
	for i := range 4 {
		l.push(w.bring(t, "a", fmt.Sprint("b", i), 300))
	}
	l.push(w.bring(t, "other", "", 300)) // singles
	at := w.finishes(t, &l, 100, func(d jobs.Delivery) string { return d.BatchID })
	// Half of the turns are the other account's.
	if at[""] > 250 {
		t.Errorf("another account's 100th job was served after %d", at[""])
	}
	for i := range 4 {
		low := 620
		if i == 0 {
			low = 480 // it filled the first window
		}
		if got := at[fmt.Sprint("b", i)]; got < low || got > 820 {
			t.Errorf("the 100th job of batch %d was served after %d, want about 700", i, got)
		}
	}
}

func TestAProducerDispatchesNoMoreThanTheWindowHolds(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.window(t, 50)
	first := w.bring(t, "a", "", 30)
	if len(first) != 30 {
		t.Errorf("%d were dispatched, want all", len(first))
	}
	if got := w.bring(t, "a", "", 30); len(got) != 20 || got[0].StartTag != 30 {
		t.Errorf("%d were dispatched, want the 20 that there was room for, in their turn", len(got))
	}
	w.serve(t, first)
	if got := w.bring(t, "b", "", 10); len(got) != 0 {
		t.Errorf("%d were dispatched although others wait already", len(got))
	}
	// 20 are inside; 10 of a and 10 of b wait.
	if got := w.topUp(t, 5); len(got) != 5 {
		t.Errorf("%d, want no more than asked for", len(got))
	}
	if got := w.topUp(t, 100); len(got) != 15 {
		t.Errorf("%d, want the rest", len(got))
	}
	if got := w.topUp(t, 100); len(got) != 0 {
		t.Errorf("%d were dispatched twice", len(got))
	}
	w.bring(t, "a", "", 100)
	if _, full, err := w.TopUp(t.Context(), jobs.Queue{Provider: "mock", Lane: jobs.Default}, 100); err != nil || !full {
		t.Errorf("full: %v, %v", full, err)
	}
	if got, err := w.Backlogs(t.Context()); err != nil || !slices.Equal(got, []jobs.Queue{{Provider: "mock", Lane: jobs.Default}}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestManyWhoTopUpAtOnceMarkEachJobOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	in := rows(t, 400, nil)
	if _, err := w.AcceptJobs(t.Context(), "", in, false); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[uuid.UUID]int{}
	mark := func(limit int) (n int) {
		marked := w.topUp(t, limit)
		mu.Lock()
		defer mu.Unlock()
		for _, m := range marked {
			seen[m.ID]++
		}
		return len(marked)
	}
	together(8, func(int) { mark(30) })
	for mark(100) > 0 {
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was marked %d times", id, n)
		}
	}
	if len(seen) != len(in) {
		t.Errorf("%d were marked, want %d", len(seen), len(in))
	}
}

func TestWhatCouldNotBePushedIsDispatchedAgain(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 4, nil)
	old := d[0]
	old.Gen = 7
	w.mustClaim(t, d[1])
	if err := w.Undispatch(t.Context(), []jobs.Delivery{old, d[1], d[2]}); err != nil {
		t.Fatal(err)
	}
	got := w.topUp(t, 10)
	if len(got) != 1 || got[0].ID != d[2].ID || got[0].Gen != 1 || got[0].Provider != "mock" || got[0].Lane != jobs.Default || got[0].Task != "text" {
		t.Errorf("%+v, want the one that waits and was taken back", got)
	}
}

func TestOnlyWhatIsDueIsDispatched(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	soon := time.Now().Add(20 * time.Second)
	acc, err := w.AcceptJobs(t.Context(), "", rows(t, 4, func(r *jobs.New) {
		r.RunAt = []time.Time{{}, soon}[r.Seq%2]
	}), true)
	if err != nil || acc.New != 4 || len(acc.Deliveries) != 2 || acc.Deliveries[0].At.After(time.Now().Add(time.Second)) {
		t.Fatalf("%+v, %v", acc, err)
	}
	if got := w.topUp(t, 10); len(got) != 0 {
		t.Errorf("%+v was dispatched, due in 20 s", got)
	}
	w.exec(t, `UPDATE job_queue SET run_at = now() WHERE dispatched_at IS NULL`)
	if got := w.topUp(t, 10); len(got) != 2 {
		t.Errorf("%d, want the 2 that have become due", len(got))
	}
	// A retry that is far away keeps nobody from being dispatched.
	w.window(t, 3)
	j := w.running(t, nil)
	if _, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Retrying, After: 2 * time.Hour, Class: "timeout"}); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `UPDATE job_states SET state = 'cancelled', finished_at = now() WHERE state IN ('scheduled', 'queued')`)
	if got := w.bring(t, "a", "", 3); len(got) != 2 {
		t.Errorf("%d, want 2: the retry counts for a producer", len(got))
	}
	if got := w.topUp(t, 10); len(got) != 1 {
		t.Errorf("%d, want 1: the retry does not count for the leader", len(got))
	}
}
