package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A schedule whose command has a step that follows: each fire is a pipeline of its own, which
// goes through to the last answer.
func TestEachFireOfAScheduleWithStepsGoesThroughAllOfThem(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "concurrency: 20, latency: 5ms")
	for name, text := range map[string]string{
		"articles.csv":   "custom_id,text\na,Ships are slow.\nb,Planes are fast.\n",
		"translate.yaml": "name: translate\nprovider: mock\ntemplate: 'Translate {{answer}} of {{custom_id}}'\n",
	} {
		if err := os.WriteFile(filepath.Join(sut.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sut.run(0, "enqueue", "schedule", "add", "news", "--every", "6h", "--", "batch", filepath.Join(sut.Dir, "articles.csv"),
		"--template", "Summarise: {{text}}", "--provider", "mock", "--then", filepath.Join(sut.Dir, "translate.yaml"))
	sut.worker()
	for range 2 {
		id := strings.TrimSpace(sut.run(0, "enqueue", "schedule", "run-now", "news"))
		sut.until("the fire "+id+" has its batch", func() bool {
			return sut.number(`SELECT count(*) FROM batches WHERE id = $1`, id) == 1
		})
		sut.run(0, "enqueue", "watch", id)
		out := sut.run(0, "enqueue", "export", id+".2.translate", "--format", "csv", "--with", "prompt,text")
		answer := query[string](sut, `SELECT r.text FROM results r JOIN jobs j ON j.id = r.job_id WHERE j.batch_id = $1 AND j.custom_id = 'b'`, id)
		if got := sut.number(`SELECT count(*) FROM jobs WHERE batch_id = $1`, id+".2.translate"); got != 2 {
			t.Errorf("the second step has %d jobs, want 2", got)
		}
		if got := query[string](sut, `SELECT request->>'prompt' FROM jobs WHERE batch_id = $1 AND custom_id = 'b'`, id+".2.translate"); got != "Translate "+answer+" of b" || !strings.Contains(out, "a,Ships are slow.") {
			t.Errorf("the step asked %q, the answer before was %q\n%s", got, answer, out)
		}
		// The next by hand would be for the same second.
		sut.until("the second to pass", func() bool {
			return query[bool](sut, `SELECT now() > max(fire_at) + interval '1 second' FROM schedule_fires`)
		})
	}
	if got := sut.number(`SELECT count(*) FROM schedule_fires WHERE state = 'accepted'`); got != 2 {
		t.Errorf("%d fires were accepted, want 2", got)
	}
}
