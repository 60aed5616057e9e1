package store_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oneflow/jobs"
)

func TestAcceptedRowsAreNewOnceAndThenDuplicates(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	if err := w.OpenBatch(ctx, jobs.Batch{ID: "b", Account: "acme", Source: "in.jsonl"}); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	first := rows(t, 3, func(r *jobs.New) {
		r.Account = "acme"
		if r.Seq == 3 {
			r.RunAt = later
		}
	})
	acc, err := w.AcceptJobs(ctx, "b", first, true)
	if err != nil {
		t.Fatal(err)
	}
	if acc.New != 3 || acc.Duplicates != 0 || acc.Conflicts != nil {
		t.Fatalf("%+v", acc)
	}
	for i, r := range first {
		wantState := jobs.Queued
		if i == 2 {
			wantState = jobs.Scheduled
		}
		if got := w.job(t, r.ID); got.State != wantState || (got.Dispatched != nil) != (i < 2) {
			t.Errorf("row %d: %+v, want %s, dispatched if it is due", i, got, wantState)
		}
	}
	want := make([]jobs.Delivery, 2)
	for i := range want {
		want[i] = jobs.Delivery{
			ID: first[i].ID, Gen: 1, Provider: "mock", Lane: jobs.Default, Account: "acme", Task: "text", Model: "m", BatchID: "b", StartTag: int64(i), Pack: 1,
		}
	}
	if diff := cmp.Diff(want, acc.Deliveries, cmpopts.IgnoreFields(jobs.Delivery{}, "At")); diff != "" {
		t.Error(diff)
	}
	w.unchanged(t, "a second run of the same rows", func() {
		again := rows(t, 3, nil) // other ids, the same content
		acc, err := w.AcceptJobs(ctx, "b", again, true)
		if err != nil {
			t.Fatal(err)
		}
		if acc.New != 0 || acc.Duplicates != 3 || len(acc.Conflicts) != 0 {
			t.Errorf("%+v, want 3 duplicates", acc)
		}
	})
}

func TestABatchKeepsWhatEachOfItsRowsWasExpectedToCostOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	must(t, w.OpenBatch(ctx, jobs.Batch{ID: "b"}))
	estimated := func(n int) []jobs.New {
		return rows(t, n, func(r *jobs.New) {
			if r.Seq != 2 { // no price is known for it
				r.Estimate = jobs.Estimate{Jobs: 1, Low: 1, Expected: 20, High: 300}
			}
		})
	}
	for _, step := range []struct {
		name string
		rows []jobs.New
		want jobs.Estimate
	}{
		{"new rows", estimated(3), jobs.Estimate{Jobs: 2, Low: 2, Expected: 40, High: 600}},
		{"the same again", estimated(3), jobs.Estimate{Jobs: 2, Low: 2, Expected: 40, High: 600}},
		{"the same and more", estimated(5), jobs.Estimate{Jobs: 4, Low: 4, Expected: 80, High: 1200}},
	} {
		for range 2 { // the second time as if nobody had heard of the commit
			if _, err := w.AcceptJobs(ctx, "b", step.rows, true); err != nil {
				t.Fatal(err)
			}
			p, err := w.Progress(ctx, "b")
			if err != nil {
				t.Fatal(err)
			}
			tallies, err := w.Tallies(ctx, []string{"b"})
			if err != nil || p.Estimate != step.want || tallies["b"].Estimate != step.want {
				t.Errorf("%s: %+v, %+v, %v", step.name, p.Estimate, tallies["b"].Estimate, err)
			}
		}
	}
}

func TestARowWithTheSameCustomIDAndOtherContentIsAConflict(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	named := func(prompts ...string) []jobs.New {
		return rows(t, len(prompts), func(r *jobs.New) {
			r.CustomID = string(rune('a' + r.Seq - 1))
			r.Request.Prompt = prompts[r.Seq-1]
		})
	}
	if err := w.OpenBatch(t.Context(), jobs.Batch{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AcceptJobs(t.Context(), "b", named("1", "2", "3"), true); err != nil {
		t.Fatal(err)
	}
	acc, err := w.AcceptJobs(t.Context(), "b", named("1", "other", "3", "4"), true)
	if err != nil {
		t.Fatal(err)
	}
	if acc.New != 1 || acc.Duplicates != 2 || !cmp.Equal(acc.Conflicts, []int64{2}) {
		t.Errorf("%+v, want row 4 new, row 2 in conflict, the others known", acc)
	}
	var prompt string
	if err := w.sql.QueryRow(t.Context(), `SELECT request->>'prompt' FROM jobs WHERE custom_id = 'b'`).Scan(&prompt); err != nil || prompt != "2" {
		t.Errorf("the accepted row became %q: %v", prompt, err)
	}
}

func TestRowsAreKnownOnlyWithinTheirBatch(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.batch(t, "one", 2)
	w.batch(t, "two", 2)
	w.accept(t, 2, nil)
	w.accept(t, 2, nil)
	if n := w.count(t, `SELECT count(*) FROM jobs`); n != 8 {
		t.Errorf("%d jobs, want 8", n)
	}
}

func TestAnUnheardCommitIsReportedAsAccepted(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	if err := w.OpenBatch(t.Context(), jobs.Batch{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	in := rows(t, 5, nil)
	first, err := w.AcceptJobs(t.Context(), "b", in, true)
	if err != nil {
		t.Fatal(err)
	}
	w.unchanged(t, "the repetition", func() {
		second, err := w.AcceptJobs(t.Context(), "b", in, true)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Error(diff)
		}
	})
}

func TestConcurrentProducersAcceptEachRowOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	const producers, n = 8, 300
	var fresh, known atomic.Int64
	inputs := make([][]jobs.New, producers)
	for i := range inputs {
		inputs[i] = rows(t, n, nil)
	}
	together(producers, func(i int) {
		if err := w.OpenBatch(t.Context(), jobs.Batch{ID: "b"}); err != nil {
			t.Error(err)
		}
		for chunk := range 3 {
			acc, err := w.AcceptJobs(t.Context(), "b", inputs[i][chunk*100:(chunk+1)*100], true)
			if err != nil || len(acc.Conflicts) > 0 {
				t.Errorf("%+v, %v", acc.Conflicts, err)
			}
			fresh.Add(int64(acc.New))
			known.Add(int64(acc.Duplicates))
		}
	})
	if fresh.Load() != n || known.Load() != (producers-1)*n {
		t.Errorf("%d reported as new and %d as known, want %d and %d", fresh.Load(), known.Load(), n, (producers-1)*n)
	}
	if got := w.count(t, `SELECT count(*) FROM jobs`); got != n {
		t.Errorf("%d jobs, want %d", got, n)
	}
}

func TestAcceptIsAllOrNothing(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	bad := rows(t, 3, func(r *jobs.New) {
		if r.Seq == 3 {
			r.Request.Task = "dance" // a CHECK refuses it
		}
	})
	w.unchanged(t, "a refused row", func() {
		if _, err := w.AcceptJobs(t.Context(), "", bad, true); err == nil {
			t.Error("accepted")
		}
	})
}

func TestABatchIsFinishedOnlyWhenItIsSealed(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	d := w.batch(t, "b", 1)
	state := func() string {
		p, err := w.Progress(ctx, "b")
		if err != nil {
			t.Fatal(err)
		}
		return p.State
	}
	j := w.mustClaim(t, d[0])
	if err := w.Succeed(ctx, success(j, w.sent(t, j, nil), nil)); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != jobs.BatchOpen {
		t.Errorf("%s, although more rows may come", got)
	}
	if err := w.SealBatch(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != jobs.BatchFinished {
		t.Errorf("sealed: %s", got)
	}
	if err := w.OpenBatch(ctx, jobs.Batch{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AcceptJobs(ctx, "b", rows(t, 1, nil), true); err != nil { // it is there already
		t.Fatal(err)
	}
	if got := state(); got != jobs.BatchFinished {
		t.Errorf("opened again, and nothing new came: %s", got)
	}
	if acc, err := w.AcceptJobs(ctx, "b", rows(t, 2, nil), true); err != nil || acc.New != 1 {
		t.Fatalf("%+v, %v", acc, err)
	}
	if got := state(); got != jobs.BatchOpen {
		t.Errorf("a new row came: %s", got)
	}
}

func TestProducersOfASealedBatchDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	const producers, n = 8, 50
	deadlocks := func() int {
		return w.count(t, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`)
	}
	for round := range 5 {
		id := "b" + string(rune('0'+round))
		w.batch(t, id, 1)
		if err := w.SealBatch(ctx, id); err != nil {
			t.Fatal(err)
		}
		all := rows(t, producers*n, nil)
		var fresh atomic.Int64
		together(producers, func(p int) {
			if err := w.OpenBatch(ctx, jobs.Batch{ID: id}); err != nil {
				t.Error(err)
			}
			mine := all[p*n : (p+1)*n]
			for i := 0; i < n; i += 10 {
				acc, err := w.AcceptJobs(ctx, id, mine[i:i+10], true)
				if err != nil {
					t.Error(err)
				}
				fresh.Add(int64(acc.New))
				if p == 0 { // one seals while the others go on
					if err := w.SealBatch(ctx, id); err != nil {
						t.Error(err)
					}
				}
			}
		})
		if got := fresh.Load(); got != producers*n-1 {
			t.Errorf("%d rows are new, want %d", got, producers*n-1)
		}
		if err := w.SealBatch(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	// A backend tells its statistics when it is idle for a while, or ends.
	w.Close()
	if got := deadlocks(); got != 0 {
		t.Errorf("%d deadlocks", got)
	}
}
