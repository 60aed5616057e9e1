package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"oneflow/batches"
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
