package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// batch is what a producer was told.
type batch struct {
	accepted  int
	onUnknown string
}

// report is what `enqueue batch -o json` prints.
type report struct {
	BatchID    string `json:"batch_id"`
	Accepted   int    `json:"accepted"`
	Duplicates int    `json:"duplicates"`
}

// enqueue brings n jobs in, and fails the test if not all were accepted.
func (w *world) enqueue(id string, n int, onUnknown string, flags ...string) {
	w.t.Helper()
	rep, err := w.tryEnqueue(release, id, n, onUnknown, flags...)
	if err != nil {
		w.t.Fatal(err)
	}
	if rep.Accepted != n {
		w.t.Fatalf("enqueue %s: %d of %d jobs were accepted", id, rep.Accepted, n)
	}
}

// halves brings n jobs in: half of them may be sent again after an unknown
// outcome, half may not.
func (w *world) halves(n int, flags ...string) {
	w.t.Helper()
	w.enqueue("again", n/2, "retry", flags...)
	w.enqueue("never", n-n/2, "fail", flags...)
}

// tryEnqueue runs `enqueue batch` and keeps what it was told.
func (w *world) tryEnqueue(folder, id string, n int, onUnknown string, flags ...string) (report, error) {
	var rows bytes.Buffer
	for i := range n {
		row := map[string]any{"custom_id": fmt.Sprintf("r%d", i), "prompt": fmt.Sprintf("%s: %s/r%d.", canaryPrompt, id, i), "max_tokens": 20}
		if err := json.NewEncoder(&rows).Encode(row); err != nil {
			return report{}, err
		}
	}
	w.mu.Lock()
	w.brought[id] = batch{w.brought[id].accepted, onUnknown}
	w.mu.Unlock()
	args := append([]string{"batch", "-", "--provider", "openai", "--batch-id", id, "--on-unknown", onUnknown, "-o", "json"}, flags...)
	cmd := w.command(folder, "enqueue", w.pg.URL, w.redis.URL, w.provider.URL, args...)
	cmd.Env = append(cmd.Env, "ONEFLOW_FAILPOINTS="+w.arms)
	cmd.Stdin = &rows
	out, err := cmd.Output()
	var rep report
	if decodeErr := json.Unmarshal(out, &rep); decodeErr == nil {
		w.mu.Lock()
		b := w.brought[id]
		b.accepted, b.onUnknown = max(b.accepted, rep.Accepted+rep.Duplicates), onUnknown
		w.brought[id] = b
		w.mu.Unlock()
	}
	if err != nil {
		err = fmt.Errorf("enqueue %s: %w", id, err)
	}
	return rep, err
}

// accepted is how many jobs producers were told are accepted.
func (w *world) accepted() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := 0
	for _, b := range w.brought {
		sum += b.accepted
	}
	return int64(sum)
}
