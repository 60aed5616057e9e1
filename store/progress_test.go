package store_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/jobs"
	"oneflow/providers"
)

func TestProgressAndTotalsSayWhatTheLedgerSays(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	d := w.batch(t, "b", 4)
	j := w.mustClaim(t, d[0])
	done := success(j, w.sent(t, j, nano(10)), nano(10))
	done.Settlement.Usage = providers.Usage{InputTokens: 5, OutputTokens: 6}
	if err := w.Succeed(ctx, done); err != nil {
		t.Fatal(err)
	}
	failed := w.mustClaim(t, d[1])
	w.sent(t, failed, nil)
	if _, err := w.Complete(ctx, jobs.Completion{JobID: failed.ID, LeaseToken: failed.LeaseToken, State: jobs.Failed, Class: "moderated", Message: "no"}); err != nil {
		t.Fatal(err)
	}
	w.mustClaim(t, d[2])
	p, err := w.Progress(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	if p.Total() != 4 || p.Done() != 2 || p.Failures() != 1 || p.Cost != 10 || p.Unpriced != 1 || p.Counts[jobs.Running] != 1 || p.Finished() {
		t.Errorf("%+v", p)
	}
	totals, err := w.Totals(ctx, "b")
	if diff := cmp.Diff(jobs.Totals{Calls: 2, InputTokens: 5, OutputTokens: 6}, totals); diff != "" || err != nil {
		t.Error(diff, err)
	}
	one, err := w.Progress(ctx, d[1].ID.String())
	if err != nil || one.State != string(jobs.Failed) || one.ErrorClass != "moderated" || one.ErrorMessage != "no" || one.FinishedAt.IsZero() {
		t.Errorf("%+v, %v", one, err)
	}
	for _, id := range []string{"none", jobs.NewID().String()} {
		if _, err := w.Progress(ctx, id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
}
