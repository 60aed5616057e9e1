//go:build forecast

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
	"oneflow/internal/media"
)

// foretold holds what a dry run says of a batch.
type foretold struct {
	Low      string    `json:"low_usd"`
	Expected string    `json:"expected_usd"`
	High     string    `json:"high_usd"`
	At       time.Time `json:"at"`
	DoneAt   time.Time `json:"done_at"`
}

// TestForecastsOfTwentyMixedBatches compares what the dry run says of 20 batches of texts of two
// vendors, pictures, sound and vectors with what became of them, at limits by which each takes
// some ten seconds. The cost must lie between low and high in all, and within a tenth of what was
// expected in 18; so must the time.
func TestForecastsOfTwentyMixedBatches(t *testing.T) { //nolint:paralleltest // it measures time
	const batches, enough, tolerance = 20, 18, 0.1
	seed := rand.Uint64N(1 << 32)
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
	server, err := harness.Provider(fakeprovider.Config{Seed: seed, Default: fakeprovider.Behaviour{
		Latency: fakeprovider.Latency{Distribution: fakeprovider.Uniform, Mean: 300 * time.Millisecond, Spread: 0.5},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	sut := newSystem(t, "concurrency: 1")
	sut.Env = append(sut.Env,
		"OPENAI_BASE_URL="+server.URL+"/openai/v1", "ANTHROPIC_BASE_URL="+server.URL+"/anthropic",
		"STABILITY_BASE_URL="+server.URL+"/stability", "ELEVENLABS_BASE_URL="+server.URL+"/elevenlabs",
		"STABILITY_API_KEY=sk-0123456789abcdefghijklmnopqrstuvwxyz0123456789abcd", "ELEVENLABS_API_KEY=sk_0123456789abcdef0123456789abcdef0123456789abcdef",
	)
	sut.configure(fmt.Sprintf(`artifacts: %s
providers:
  openai: {limits: {rpm: 600}, latency: 300ms}
  anthropic: {limits: {rpm: 480}, latency: 300ms}
  stability: {limits: {rpm: 300}, latency: 300ms}
  elevenlabs: {limits: {rpm: 300}, latency: 300ms}
`, filepath.Join(sut.Dir, "artifacts")))
	sut.workerOf("openai", "anthropic", "stability", "elevenlabs")

	sorts := []func() map[string]any{
		func() map[string]any {
			return map[string]any{"provider": "openai", "model": "gpt-6-luna", "prompt": media.Prose(rng.Uint64()), "max_tokens": 400}
		},
		func() map[string]any {
			return map[string]any{"provider": "anthropic", "model": "claude-haiku-5-5", "system": media.Prose(7), "prompt": media.Prose(rng.Uint64()), "max_tokens": 400}
		},
		func() map[string]any {
			return map[string]any{"provider": "stability", "task": "image", "model": "core", "prompt": media.Prose(rng.Uint64())}
		},
		func() map[string]any {
			return map[string]any{"provider": "elevenlabs", "task": "audio", "prompt": media.Prose(rng.Uint64())}
		},
		func() map[string]any {
			return map[string]any{"provider": "openai", "task": "embedding", "input": media.Prose(rng.Uint64())}
		},
	}
	rowsOf := func(counts []int) []map[string]any {
		var rows []map[string]any
		for sort, n := range counts {
			for i := range n {
				row := sorts[sort]()
				row["custom_id"] = fmt.Sprintf("%d-%d", sort, i)
				rows = append(rows, row)
			}
		}
		rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		return rows
	}
	sut.run(0, "enqueue", "batch", sut.file("known.jsonl", rowsOf([]int{30, 30, 5, 5, 5})), "--batch-id", "known", "--watch")

	dollars := func(text string) float64 {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	costs, times := 0, 0
	var report string
	for b := range batches {
		id := fmt.Sprint("b", b)
		counts := []int{40 + rng.IntN(60), rng.IntN(80), rng.IntN(20), rng.IntN(20), rng.IntN(20)}
		if b%2 == 0 {
			counts[2], counts[3] = 0, 0 // what pictures and sound cost would hide the rest
		}
		path := sut.file(id+".jsonl", rowsOf(counts))
		f := decode[foretold](sut, "enqueue", "batch", path, "--batch-id", id, "--dry-run", "-o", "json")
		sut.run(0, "enqueue", "batch", path, "--batch-id", id, "--watch", "--yes")
		spent := query[string](sut, `SELECT trim_scale(sum(cost_nano) / 1e9)::text FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE j.batch_id = $1`, id)
		took := query[float64](sut, `
			SELECT extract(epoch FROM max(s.finished_at) - min(j.created_at))::float8 FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE j.batch_id = $1`, id)
		cost, expected := dollars(spent), dollars(f.Expected)
		promised := f.DoneAt.Sub(f.At).Seconds()
		off, late := cost/expected-1, took/promised-1
		if cost < dollars(f.Low) || cost > dollars(f.High) {
			t.Errorf("batch %d cost %s, and was to cost from %s to %s", b, spent, f.Low, f.High)
		}
		if math.Abs(off) <= tolerance {
			costs++
		}
		if math.Abs(late) <= tolerance {
			times++
		}
		line := map[string]any{"batch": b, "low": f.Low, "expected": f.Expected, "high": f.High, "cost": spent, "off": fmt.Sprintf("%+.1f %%", 100*off), "seconds": fmt.Sprintf("%.1f of %.1f, %+.1f %%", took, promised, 100*late)}
		data, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		report += string(data) + "\n"
	}
	t.Logf("within %.0f %% of the expected cost: %d of %d; of the time: %d of %d\n%s", 100*tolerance, costs, batches, times, batches, report)
	if costs < enough || times < enough {
		t.Errorf("cost: %d, time: %d of %d batches as foretold, want %d", costs, times, batches, enough)
	}
}
