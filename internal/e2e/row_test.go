package e2e

import (
	"fmt"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
)

// A provider that jobs only fall back to is registered by no worker, so that
// nothing but an order, or what was learned, writes its row.
func TestAConfiguredLimitHoldsHoweverTheProvidersRowCameAbout(t *testing.T) {
	t.Parallel()
	const jobs, rps = 9, 2
	for name, before := range map[string]func(sut *system){
		"no row": func(*system) {},
		"an order before anybody served it": func(sut *system) {
			sut.run(0, "monitor", "providers", "disable", "openai", "--reason", "not yet")
			sut.run(0, "monitor", "providers", "enable", "openai")
		},
		"a breaker that was held": func(sut *system) {
			sut.run(0, "monitor", "providers", "open", "openai")
			sut.run(0, "monitor", "providers", "auto", "openai")
		},
		"limits that were reset": func(sut *system) { sut.run(0, "monitor", "limits", "reset", "openai") },
		"a row without limits": func(sut *system) {
			sut.run(0, "monitor", "providers", "enable", "openai")
			sut.run(0, "monitor", "providers", "reset", "--all")
			sut.number(`WITH x AS (UPDATE providers SET limits_configured = '{}' WHERE name = 'openai' RETURNING 1) SELECT count(*) FROM x`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVendors(t, fakeprovider.Config{})
			sut := newSystem(t, "latency: 1ms")
			sut.serves(v, fmt.Sprintf("limits: {rpm: 0, rps: %d}", rps), "limits: {rpm: 0}")
			before(sut)
			rows := make([]map[string]any, jobs)
			for i := range rows {
				rows[i] = map[string]any{"prompt": fmt.Sprintf("%s no. %d", canaryPrompt, i), "max_tokens": 400}
			}
			file := sut.file("texts.jsonl", rows)
			sut.run(0, "monitor", "providers", "disable", "anthropic", "--reason", "its jobs fall back")
			sut.workerOf("anthropic")
			sut.run(0, "enqueue", "batch", file, "--batch-id", "fallback", "--provider", "anthropic", "--watch")

			v.mu.Lock()
			defer v.mu.Unlock()
			if len(v.calls) != jobs {
				t.Fatalf("%d calls, want %d", len(v.calls), jobs)
			}
			// The first may be on its way for longer than the last. Without a limit all come at once.
			if took, want := v.calls[jobs-1].Sub(v.calls[0]), (jobs-1)*time.Second/rps; took < want/2 {
				t.Errorf("%d calls within %s, want about %s at %d a second", jobs, took, want, rps)
			}
		})
	}
}
