package store_test

import (
	"slices"
	"testing"

	"oneflow/jobs"
)

// byModel has the mock's models limited each by itself: a slow one and a fast one.
func (w *database) byModel(t *testing.T) {
	t.Helper()
	w.exec(t, `UPDATE providers SET by_model = true, dispatch_window = 10 WHERE name = 'mock'`)
	w.exec(t, `
		INSERT INTO provider_models (provider, model, limits, dispatch_window, chunk_size)
		VALUES ('mock', 'slow', '{"rpm": 30}', 20, 1), ('mock', 'fast', '{}', 100, 25)`)
}

func of(model string) func(*jobs.New) {
	return func(r *jobs.New) { r.Lane, r.Request.Model = jobs.Bulk, model }
}

func mustAccept(t *testing.T, w *database, n int, change func(*jobs.New)) []jobs.Delivery {
	t.Helper()
	acc, err := w.AcceptJobs(t.Context(), "", rows(t, n, change), true)
	if err != nil || acc.New != n {
		t.Fatalf("%d of %d accepted: %v", acc.New, n, err)
	}
	return acc.Deliveries
}

func (w *database) topUpModel(t *testing.T, model string) (marked []jobs.Delivery, full bool) {
	t.Helper()
	marked, full, err := w.TopUp(t.Context(), jobs.Queue{Provider: "mock", Lane: jobs.Bulk, Model: model}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return marked, full
}

func TestEachModelHasAWindowOfItsOwnAndChunksOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.byModel(t)
	models := []string{"slow", "fast", "new"}
	first := mustAccept(t, w, 600, func(r *jobs.New) { of(models[r.Seq%3])(r) })
	inside, tasks := map[string]int{}, map[string]map[string]bool{}
	note := func(list []jobs.Delivery) {
		for _, d := range list {
			if d.QueueModel != d.Model {
				t.Fatalf("a job of %s is in the queue of %q", d.Model, d.QueueModel)
			}
			inside[d.Model]++
			if tasks[d.TaskID()] == nil {
				tasks[d.TaskID()] = map[string]bool{}
			}
			tasks[d.TaskID()][d.Model] = true
		}
	}
	note(first)
	if inside["slow"] != 20 || inside["fast"] != 100 || inside["new"] != 10 {
		t.Errorf("%v are dispatched at once, want 20, 100 and, of what is not known yet, 10", inside)
	}
	if len(tasks) != 20+4+10 {
		t.Errorf("%d tasks, want the fast ones in 4 chunks and the others one by one", len(tasks))
	}
	// The fast ones go on, however full the slow ones' window is.
	for range 2 {
		var fast []jobs.Delivery
		for _, d := range first {
			if d.Model == "fast" {
				fast = append(fast, d)
			}
		}
		w.serve(t, fast)
		if marked, full := w.topUpModel(t, "slow"); len(marked) > 0 || !full {
			t.Errorf("%d of slow were dispatched, full %t", len(marked), full)
		}
		first, _ = w.topUpModel(t, "fast")
		note(first)
	}
	if inside["fast"] != 200 {
		t.Errorf("%d of fast were dispatched in all, want all 200", inside["fast"])
	}
	for id, of := range tasks {
		if len(of) != 1 {
			t.Errorf("task %s has %v", id, of)
		}
	}
	queues, err := w.Backlogs(t.Context())
	want := []jobs.Queue{{Provider: "mock", Lane: jobs.Bulk, Model: "new"}, {Provider: "mock", Lane: jobs.Bulk, Model: "slow"}}
	if err != nil || !slices.Equal(queues, want) {
		t.Errorf("queues with a backlog: %v, %v", queues, err)
	}
	// The audit sees each of them once, page by page.
	seen := map[string]int{}
	for after := (jobs.Delivery{}); ; {
		page, err := w.Dispatched(t.Context(), after, 0, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page {
			seen[d.Model]++
		}
		if len(page) < 7 {
			break
		}
		after = page[6]
	}
	if seen["slow"] != 20 || seen["fast"] != 0 || seen["new"] != 10 {
		t.Errorf("the audit sees %v", seen)
	}
}

func TestAccountsTakeTurnsInTheQueueOfEachModel(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.byModel(t)
	account := func(name, model string) func(*jobs.New) {
		return func(r *jobs.New) { r.Account = name; of(model)(r) }
	}
	mustAccept(t, w, 500, account("a", "slow"))
	served := mustAccept(t, w, 500, account("a", "fast"))
	mustAccept(t, w, 500, account("b", "fast"))
	count := map[string]int{}
	for range 4 { // 100 each
		w.serve(t, served)
		served, _ = w.topUpModel(t, "fast")
		for _, d := range served {
			count[d.Account]++
		}
	}
	// What a has in the queue of slow takes nothing from it here, and gives it nothing.
	if count["a"] < 150 || count["b"] < 150 {
		t.Errorf("after a's first window, %v were dispatched, want as many of each", count)
	}
}

func TestAJobThatIsBroughtBackWaitsInItsModelsQueue(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.byModel(t)
	d := mustAccept(t, w, 1, of("fast"))[0]
	j := w.mustClaim(t, d)
	if _, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Failed, Class: "timeout"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Retry(t.Context(), j.ID.String(), []jobs.State{jobs.Failed}, ""); err != nil {
		t.Fatal(err)
	}
	if marked, _ := w.topUpModel(t, "fast"); len(marked) != 1 || marked[0].ID != j.ID {
		t.Errorf("%+v, want the job", marked)
	}
}

func TestTheRowOfACallNamesItsScope(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	held, fresh := w.running(t, nil), w.accept(t, 1, nil)[0]
	first := callOf(held, nil)
	first.Scope = "m@1f2e"
	second := jobs.Call{
		CallID: jobs.NewID(), JobID: fresh.ID, LeaseToken: jobs.NewID(), Gen: fresh.Gen, Provider: "mock", Model: "m", Scope: "m@3c4d", Timeout: first.Timeout,
	}
	for _, c := range []jobs.Call{first, second} { // of a job that is claimed, and together with its claim
		if err := w.BeginCall(t.Context(), w.worker, c); err != nil {
			t.Fatal(err)
		}
		var scope string
		if w.one(t, &scope, `SELECT to_jsonb(scope) FROM calls WHERE id = $1`, c.CallID); scope != c.Scope {
			t.Errorf("the row names %q, want %q", scope, c.Scope)
		}
	}
	progress, err := w.Progress(t.Context(), held.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	if d, err := w.Detail(t.Context(), progress); err != nil || len(d.Calls) != 1 || d.Calls[0].Scope != first.Scope {
		t.Errorf("%+v, %v", d.Calls, err)
	}
}
