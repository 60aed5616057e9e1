package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What nobody sends keeps nobody waiting: it is in the queue until it is marked, or goes on.
func TestTheBacklogIsWithoutBatchesThatArePausedOrCancelled(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.batch(t, "goes", 2)
	w.batch(t, "stopped", 3)
	w.batch(t, "held", 4)
	w.accept(t, 1, nil)
	w.exec(t, `UPDATE batches SET cancelled_at = now() WHERE id = 'stopped'`)
	w.exec(t, `UPDATE batches SET paused_at = now() WHERE id = 'held'`)
	got, err := w.Backlog(t.Context())
	if diff := cmp.Diff(map[string]int64{"mock": 3}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
