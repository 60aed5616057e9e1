package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
	"oneflow/internal/media"
)

// TestVectorsAndTranscriptsComeBackToTheirRowsAndAreBilled brings in rows of each task
// that is not a prompt's, and bodies for each of OpenAI's endpoints that has none.
func TestVectorsAndTranscriptsComeBackToTheirRowsAndAreBilled(t *testing.T) {
	t.Parallel()
	server, err := harness.Provider(fakeprovider.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	sut := newSystem(t, "concurrency: 4, latency: 1ms")
	sut.Env = append(sut.Env, "OPENAI_BASE_URL="+server.URL+"/openai/v1")
	sut.workerOf("openai")

	var rows []map[string]any
	texts := map[string]string{} // by id
	for i := range 8 {
		id, text := fmt.Sprintf("v%d", i), fmt.Sprintf("%s no. %d of twenty", "a lighthouse in fog", i)
		rows, texts[id] = append(rows, map[string]any{"custom_id": id, "task": "embedding", "input": text, "provider": "openai", "dimensions": 256}), text
	}
	add := func(id string, row map[string]any) {
		row["custom_id"], row["provider"] = id, "openai"
		rows = append(rows, row)
	}
	add("heard", map[string]any{"task": "transcription", "file": "sound.wav"})
	add("whole", map[string]any{"endpoint": "/v1/embeddings", "body": map[string]any{"model": "text-embedding-3-large", "input": []string{"a", "b"}, "dimensions": 2}})
	add("judged", map[string]any{"endpoint": "/v1/moderations", "body": map[string]any{"model": "omni-moderation-latest", "input": "some violence"}})
	add("answered", map[string]any{"endpoint": "/v1/responses", "body": map[string]any{"model": "gpt-6-luna", "input": "what is a queue?"}})
	add("edited", map[string]any{"endpoint": "/v1/images/edits", "body": map[string]any{
		"model": "gpt-image-1", "prompt": "make it night", "images": []map[string]any{{"image_url": "data:image/png;base64,iVBORw0KGgo="}}, "size": "1024x1024",
	}})
	file := sut.file("rows.jsonl", rows)
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "sound.wav"), media.WAV(7, 8000, 3*time.Second), 0o600); err != nil {
		t.Fatal(err)
	}
	sut.run(0, "enqueue", "batch", file, "--batch-id", "tasks", "--watch")

	var spent, sum float64
	found := map[string]bool{}
	for line := range strings.Lines(sut.run(0, "enqueue", "export", "tasks")) {
		var out struct {
			CustomID string `json:"custom_id"`
			Response struct {
				Body struct {
					Data []struct {
						Embedding []float32 `json:"embedding"`
					} `json:"data"`
					Text    string            `json:"text"`
					Results []json.RawMessage `json:"results"`
					Object  string            `json:"object"`
				} `json:"body"`
			} `json:"response"`
			OneFlow struct {
				State     string    `json:"state"`
				Text      string    `json:"text"`
				Embedding []float32 `json:"embedding"`
				Cost      string    `json:"cost_usd"`
				Artifacts []any     `json:"artifacts"`
			} `json:"oneflow"`
		}
		if err := json.Unmarshal([]byte(line), &out); err != nil {
			t.Fatal(err)
		}
		body, cost := out.Response.Body, 0.0
		if _, err := fmt.Sscan(out.OneFlow.Cost, &cost); err != nil {
			t.Errorf("%s costs %q", out.CustomID, out.OneFlow.Cost)
		}
		spent += cost
		ok := false
		switch text := texts[out.CustomID]; {
		case text != "":
			want := fakeprovider.Vector(text, 256)
			ok = slices.Equal(out.OneFlow.Embedding, want) && len(body.Data) == 1 && slices.Equal(body.Data[0].Embedding, want)
			sum += float64((len(text)+3)/4) * 0.02e-6
		case out.CustomID == "heard":
			ok = body.Text != "" && body.Text == out.OneFlow.Text
			sum += 3 * 0.27 / 3600
		case out.CustomID == "whole":
			ok = len(body.Data) == 2 && slices.Equal(body.Data[1].Embedding, fakeprovider.Vector("b", 2))
			sum += 2 * 0.13e-6
		case out.CustomID == "judged":
			ok = len(body.Results) == 1
		case out.CustomID == "answered":
			ok = body.Object == "response" && out.OneFlow.Text != ""
			sum += cost // a text's price is another test's
		case out.CustomID == "edited":
			ok = len(out.OneFlow.Artifacts) == 1
			sum += cost
		}
		if found[out.CustomID] = ok; !ok || out.OneFlow.State != "succeeded" {
			t.Errorf("%.400s", line)
		}
	}
	if len(found) != len(rows) {
		t.Errorf("%d of %d rows came back", len(found), len(rows))
	}
	if math.Abs(spent-sum) > 1e-9*float64(len(rows)) {
		t.Errorf("the bill is $%.9f, want $%.9f", spent, sum)
	}
	if n := sut.number(`SELECT count(*) FROM calls WHERE cost_nano > reserved_nano OR cost_nano IS NULL`); n != 0 {
		t.Errorf("%d calls cost more than was reserved, or nobody knows what", n)
	}
	if table := sut.run(0, "enqueue", "export", "tasks", "--format", "csv"); !strings.HasPrefix(table, "custom_id,prompt,text,embedding,") {
		t.Errorf("a table begins with %.80q", table)
	}
	if said := sut.run(0, "enqueue", "embedding", "a lighthouse", "--set", "dimensions=2", "--wait"); !strings.HasPrefix(said, "[") {
		t.Errorf("one vector: %q", said)
	}
	if said := sut.run(0, "enqueue", "transcription", filepath.Join(filepath.Dir(file), "sound.wav"), "--wait"); strings.TrimSpace(said) == "" {
		t.Error("nothing was heard")
	}
}
