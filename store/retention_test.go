package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/internal/storetest"
	"oneflow/jobs"
)

// aged lets all that has happened to a batch be so many days ago.
func (w *database) aged(t *testing.T, batch string, days int) {
	t.Helper()
	for _, sql := range []string{
		`UPDATE batches SET created_at = now() - $2 * interval '1 day', sealed_at = now() - $2 * interval '1 day' WHERE id = $1`,
		`UPDATE batch_counts SET last_finished_at = now() - $2 * interval '1 day' WHERE batch_id = $1`,
	} {
		if _, err := w.sql.Exec(t.Context(), sql, batch, days); err != nil {
			t.Fatal(err)
		}
	}
}

// done ends the jobs of deliveries, each with these files.
func (w *database) done(t *testing.T, list []jobs.Delivery, files ...string) {
	t.Helper()
	for _, d := range list {
		j := w.mustClaim(t, d)
		s := success(j, w.sent(t, j, nano(10)), nano(7))
		for _, f := range files {
			s.Artifacts = append(s.Artifacts, jobs.Artifact{MIME: "image/png", Size: 3, SHA256: sha256.Sum256([]byte(f)), URL: f})
		}
		if err := w.Succeed(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOnlyWhatHasLongEndedAndIsSettledIsOutdated(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	for _, id := range []string{"old", "young", "unsealed", "interrupted", "late"} {
		w.done(t, w.batch(t, id, 2))
		w.aged(t, id, 91)
	}
	w.aged(t, "young", 89)
	w.exec(t, `UPDATE batches SET sealed_at = NULL WHERE id = 'unsealed'`)
	w.exec(t, `UPDATE batches SET removed_at = now() - interval '1 hour' WHERE id = 'interrupted'`)
	w.exec(t, `UPDATE batch_counts SET last_finished_at = now() - interval '1 day' WHERE batch_id = 'late'`)
	waits := w.batch(t, "waits", 2)
	w.done(t, waits[:1])
	w.aged(t, "waits", 91)
	// A call whose outcome nobody knows, though its job has its answer by now.
	unsettled := w.batch(t, "unsettled", 1)
	lost := w.sent(t, w.mustClaim(t, unsettled[0]), nano(10))
	if err := w.SettleCall(ctx, jobs.Settlement{CallID: lost.CallID, Outcome: jobs.CallUnknown}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Complete(ctx, jobs.Completion{JobID: lost.JobID, LeaseToken: lost.LeaseToken, State: jobs.Queued}); err != nil {
		t.Fatal(err)
	}
	w.done(t, unsettled)
	w.aged(t, "unsettled", 91)

	got, err := w.Outdated(ctx, 90*24*time.Hour, 10)
	slices.Sort(got)
	if want := []string{"interrupted", "old"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := w.Outdated(ctx, 90*24*time.Hour, 1); err != nil || len(got) != 1 {
		t.Errorf("%v, %v; want one", got, err)
	}
	w.holds(t)
}

func TestAnOutdatedBatchGoesWithItsFilesAndLeavesItsCost(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.done(t, w.batch(t, "old", 3), "file:///own", "file:///shared")
	w.done(t, w.batch(t, "young", 1), "file:///shared")
	w.aged(t, "old", 91)
	var removed []string
	remove := func(_ context.Context, file string) error { removed = append(removed, file); return nil }
	for range 2 { // again, there is nothing
		if err := batches.Outdated(ctx, w.Store, 90*24*time.Hour, remove); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"file:///own"}; !slices.Equal(removed, want) {
		t.Errorf("removed %v, want %v: others are of a batch that stays", removed, want)
	}
	for sql, want := range map[string]int{
		`SELECT count(*) FROM jobs`: 1, `SELECT count(*) FROM results`: 1, `SELECT count(*) FROM artifacts`: 1,
		`SELECT count(*) FROM calls`: 4, `SELECT sum(cost_nano) FROM calls`: 28,
	} {
		if n := w.count(t, sql); n != want {
			t.Errorf("%s: %d, want %d", sql, n, want)
		}
	}
	if err := w.OpenBatch(ctx, jobs.Batch{ID: "old", Account: jobs.DefaultAccount}); !errors.Is(err, jobs.ErrBatchRemoved) {
		t.Errorf("its id is taken again: %v", err)
	}
	w.holds(t)
}

// longAgo is an age that all that has ended has.
const longAgo = -time.Second

func TestJobsWithoutABatchGoOnceTheyHaveLongEndedAndAreSettled(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	inBatch := w.batch(t, "stays", 1)
	w.done(t, inBatch, "file:///shared")
	list := w.accept(t, 7, nil)
	w.done(t, list[:2], "file:///own", "file:///shared")
	failed := w.mustClaim(t, list[2])
	call := w.sent(t, failed, nano(10))
	if err := w.SettleCall(ctx, jobs.Settlement{CallID: call.CallID, Outcome: jobs.CallFailedUnbilled, Cost: nano(0), Kind: "refused", Message: "words", Body: []byte("body")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Complete(ctx, jobs.Completion{JobID: failed.ID, LeaseToken: failed.LeaseToken, State: jobs.Failed, Class: "refused"}); err != nil {
		t.Fatal(err)
	}
	// What waits, what runs, what nobody knows the outcome of, and what ended lately stays.
	running := w.mustClaim(t, list[3])
	unknown := w.mustClaim(t, list[4])
	lost := w.sent(t, unknown, nano(10))
	if err := w.SettleCall(ctx, jobs.Settlement{CallID: lost.CallID, Outcome: jobs.CallUnknown}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Complete(ctx, jobs.Completion{JobID: unknown.ID, LeaseToken: unknown.LeaseToken, State: jobs.Unknown, Class: "unknown"}); err != nil {
		t.Fatal(err)
	}
	w.done(t, list[5:6])
	w.exec(t, `UPDATE job_states SET finished_at = now() + interval '1 hour' WHERE job_id = '`+list[5].ID.String()+`'`)

	if n, err := w.RemoveSingles(ctx, time.Hour); err != nil || n != 0 {
		t.Errorf("%d, %v: nothing is an hour old", n, err)
	}
	for _, want := range []int64{3, 0} { // again, there is nothing
		if n, err := w.RemoveSingles(ctx, longAgo); err != nil || n != want {
			t.Errorf("%d, %v; want %d", n, err, want)
		}
	}
	for _, d := range []jobs.Delivery{inBatch[0], list[3], list[4], list[5], list[6]} {
		if n := w.count(t, `SELECT count(*) FROM jobs WHERE id = '`+d.ID.String()+`'`); n != 1 {
			t.Errorf("job %s is gone", d.ID)
		}
	}
	if loose, err := w.LooseFiles(ctx, 10); err != nil || !slices.Equal(loose, []string{"file:///own"}) {
		t.Errorf("loose are %v, %v; want the file that nobody shares", loose, err)
	}
	if n := w.count(t, `SELECT count(*) FROM calls WHERE error_body IS NOT NULL OR error_message <> ''`); n != 0 {
		t.Errorf("what a provider said in %d calls is kept", n)
	}
	if _, err := w.Complete(ctx, jobs.Completion{JobID: running.ID, LeaseToken: running.LeaseToken, State: jobs.Queued}); err != nil {
		t.Errorf("the job that ran: %v", err)
	}
	w.holds(t)
}

func TestCallsGoWithTheirJobsAndLeaveTheirSums(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	money := billing.NewMoney(w.Store, "test")
	if _, err := money.Deposit(ctx, jobs.DefaultAccount, 1000, ""); err != nil {
		t.Fatal(err)
	}
	total := w.budget(t, billing.Budget{Scope: billing.Scope{Provider: "mock"}, Period: billing.Total, Limit: 1000, Blocks: true})
	w.done(t, w.accept(t, 3, nil))
	w.done(t, w.batch(t, "stays", 2))
	if n, err := w.RemoveCalls(ctx, longAgo); err != nil || n != 0 {
		t.Errorf("%d, %v: the jobs of all calls are there", n, err)
	}
	if _, err := w.RemoveSingles(ctx, longAgo); err != nil {
		t.Fatal(err)
	}
	sums := func() map[string]int {
		of := map[string]int{}
		for name, sql := range map[string]string{
			"spending": `SELECT sum(cost_nano) FROM spending`, "calls of the past": `SELECT sum(requests) FROM provider_metrics`,
			"budget": `SELECT spent_nano FROM budgets WHERE NOT wallet`, "wallet": `SELECT limit_nano - spent_nano FROM budgets WHERE wallet`,
			"ledger": `SELECT sum(amount_nano) FROM ledger_entries`,
		} {
			of[name] = w.count(t, sql)
		}
		return of
	}
	before := sums()
	if want := map[string]int{"spending": 35, "calls of the past": 5, "budget": 35, "wallet": 965, "ledger": 965}; !maps.Equal(before, want) {
		t.Fatalf("%v, want %v", before, want)
	}
	for _, want := range []int64{3, 0} {
		if n, err := w.RemoveCalls(ctx, longAgo); err != nil || n != want {
			t.Errorf("%d, %v; want %d", n, err, want)
		}
	}
	if n := w.count(t, `SELECT count(*) FROM calls`) + 10*w.count(t, `SELECT count(*) FROM call_jobs`) + 100*w.count(t, `SELECT count(*) FROM charges`); n != 422 {
		t.Errorf("%d, want 2 calls with 2 shares and 4 charges", n)
	}
	if after := sums(); !maps.Equal(after, before) {
		t.Errorf("%v, want %v", after, before)
	}
	total.Limit = 2000
	if again := w.budget(t, total); again.Spent != 35 {
		t.Errorf("counted anew the budget has spent %s, want what it was", again.Spent)
	}
	w.done(t, w.accept(t, 1, nil))
	lines, err := storetest.Broken(ctx, w.sql)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines { // these compare sums with all calls that ever were
		if !strings.Contains(line, "providers whose") {
			t.Error(line)
		}
	}
}
