package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"

	"oneflow/internal/harness"
)

// batch is the answer that a producer got.
type batch struct {
	accepted  int
	onUnknown string
}

// report holds what `enqueue batch -o json` prints.
type report struct {
	BatchID    string `json:"batch_id"`
	Accepted   int    `json:"accepted"`
	Duplicates int    `json:"duplicates"`
}

// enqueue brings n jobs in, and fails the test if not all were accepted.
func (x *experiment) enqueue(id string, n int, onUnknown string, flags ...string) {
	x.t.Helper()
	rep, err := x.tryEnqueue(release, id, n, onUnknown, flags...)
	if err != nil {
		x.t.Fatal(err)
	}
	if rep.Accepted != n {
		x.t.Fatalf("enqueue %s: %d of %d jobs were accepted", id, rep.Accepted, n)
	}
}

// halves brings n jobs in: half of them may be sent again after an unknown
// outcome, half may not.
func (x *experiment) halves(n int, flags ...string) {
	x.t.Helper()
	x.enqueue("again", n/2, "retry", flags...)
	x.enqueue("never", n-n/2, "fail", flags...)
}

// tryEnqueue runs `enqueue batch` and keeps what it was told.
func (x *experiment) tryEnqueue(folder, id string, n int, onUnknown string, flags ...string) (report, error) {
	var rows bytes.Buffer
	for i := range n {
		row := map[string]any{"custom_id": fmt.Sprintf("r%d", i), "prompt": fmt.Sprintf("%s: %s/r%d.", canaryPrompt, id, i), "max_tokens": 20}
		if x.embeds {
			delete(row, "max_tokens")
			row["task"] = "embedding"
		}
		if err := json.NewEncoder(&rows).Encode(row); err != nil {
			return report{}, err
		}
	}
	x.mu.Lock()
	x.brought[id] = batch{x.brought[id].accepted, onUnknown}
	x.mu.Unlock()
	args := append([]string{"batch", "-", "--provider", "openai", "--batch-id", id, "--on-unknown", onUnknown, "-o", "json"}, flags...)
	r, err := x.Run(x.t.Context(), harness.Command{
		Name: "enqueue", Args: args, Bin: folder, Env: []string{"ONEFLOW_FAILPOINTS=" + x.arms}, Stdin: &rows,
	})
	var rep report
	if decodeErr := json.Unmarshal([]byte(r.Stdout), &rep); decodeErr == nil {
		x.mu.Lock()
		b := x.brought[id]
		b.accepted, b.onUnknown = max(b.accepted, rep.Accepted+rep.Duplicates), onUnknown
		x.brought[id] = b
		x.mu.Unlock()
	}
	if err != nil {
		err = fmt.Errorf("enqueue %s: %w", id, err)
	}
	return rep, err
}

// accepted returns the number of jobs that producers were told are accepted.
func (x *experiment) accepted() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	sum := 0
	for _, b := range x.brought {
		sum += b.accepted
	}
	return int64(sum)
}
