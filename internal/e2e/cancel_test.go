package e2e

import (
	"fmt"
	"testing"
	"time"
)

// Once `enqueue cancel` has answered, no call of the batch begins any more, and what was cancelled, done and under way is
// all of it.
func TestNothingNewIsSentAfterABatchOf10000IsCancelled(t *testing.T) {
	t.Parallel()
	const n = 10_000
	sut := newSystem(t, "concurrency: 50, latency: 200ms")
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = map[string]any{"custom_id": fmt.Sprint("r", i), "prompt": fmt.Sprint("row ", i)}
	}
	sut.worker()
	sut.worker()
	sut.run(0, "enqueue", "batch", sut.file("prompts.jsonl", rows), "--provider", "mock", "--batch-id", "stopped", "-o", "json")
	sut.until("half a thousand are done", func() bool {
		return sut.number(`SELECT count(*) FROM job_states WHERE state = 'succeeded'`) > 500
	})
	sut.run(0, "enqueue", "cancel", "stopped")
	told, toldAt := time.Now(), query[time.Time](sut, `SELECT now()`)
	sut.until("all have ended", func() bool { return sut.number(`SELECT count(*) FROM job_states WHERE finished_at IS NULL`) == 0 })
	st := decode[status](sut, "enqueue", "status", "stopped", "-o", "json")
	if st.State != "cancelled" || st.Counts["succeeded"]+st.Counts["cancelled"] != n || st.Counts["cancelled"] < n/10 {
		t.Errorf("%+v", st)
	}
	begun, ended := sut.calls()
	if int64(len(ended)) != st.Counts["succeeded"] || len(begun) != len(ended) {
		t.Errorf("%d calls, %d of them ended, %d jobs have succeeded", len(begun), len(ended), st.Counts["succeeded"])
	}
	if n := sut.number(`SELECT count(*) FROM calls WHERE started_at > $1`, toldAt); n != 0 {
		t.Errorf("%d calls began after the cancellation", n)
	}
	var last time.Time
	for _, c := range begun {
		if c.Time.After(last) {
			last = c.Time
		}
	}
	t.Logf("%d were done; the last call began %s after the command had answered", len(ended), last.Sub(told).Round(time.Millisecond))
	// What had begun is sent at once, but for a busy machine; all that were left would take twice as long.
	if late := last.Sub(told); late > 10*time.Second {
		t.Errorf("a call was sent %s after the cancellation", late)
	}
}
