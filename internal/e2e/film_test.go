package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

// TestAFilmThatWasOrderedIsNotOrderedAgainByTheNextWorker kills the worker that waits
// for a film. Nobody may pay for another, whatever on_unknown says.
func TestAFilmThatWasOrderedIsNotOrderedAgainByTheNextWorker(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider string // with %s for the server's address
		row      map[string]any
	}{
		"vllm":   {"kind: openai, compatible: true, base_url: %s/openai/v1, models: {video: wan}", map[string]any{"size": "64x64", "seconds": 1}},
		"gemini": {"base_url: %s/gemini", map[string]any{"seconds": 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := harness.Provider(fakeprovider.Config{VideoPolls: 3})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = server.Close() })
			sut := newSystem(t, "concurrency: 4, latency: 1ms")
			sut.configure(fmt.Sprintf("artifacts: %s/artifacts\nproviders:\n  %s: {"+c.provider+", concurrency: 2, latency: 10ms}\n", sut.Dir, name, server.URL))
			sut.Env = append(sut.Env, strings.ToUpper(name)+"_API_KEY="+canaryKey+"-film")
			first := sut.workerOf(name)
			c.row["task"], c.row["provider"], c.row["prompt"] = "video", name, "waves"
			file := sut.file("rows.jsonl", []map[string]any{c.row})
			sut.run(0, "enqueue", "batch", file, "--batch-id", "film", "--on-unknown", "fail")
			sut.until("the order to be written down", func() bool { return sut.number(`SELECT count(*) FROM calls WHERE handle <> ''`) == 1 })
			first.Kill()
			sut.workerOf(name)
			sut.run(0, "enqueue", "watch", "film")
			ordered := 0
			for _, c := range server.Calls() {
				if c.Method == http.MethodPost {
					ordered++
				}
			}
			if n := sut.number(`SELECT count(*) FROM calls WHERE state = 'succeeded'`); ordered != 1 || n != 1 || sut.number(`SELECT count(*) FROM calls`) != 1 {
				t.Errorf("%d films were ordered, %d calls succeeded, want 1 and 1", ordered, n)
			}
			if n := sut.number(`SELECT count(*) FROM artifacts WHERE mime = 'video/mp4'`); n != 1 {
				t.Errorf("there are %d films, want 1", n)
			}
			if n := sut.number(`SELECT crashes FROM job_states`); n != 1 {
				t.Errorf("%d workers died with it, want 1: this test has shown nothing", n)
			}
		})
	}
}
