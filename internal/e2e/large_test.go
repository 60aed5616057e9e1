package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
	"oneflow/internal/media"
)

// picture is a PNG of so many bytes that nothing makes smaller: noise stands after its end.
func picture(t *testing.T, size int) []byte {
	t.Helper()
	data, err := media.PNG(1, 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, size-len(data))
	_, _ = rand.Read(noise) // it never fails
	return append(data, noise...)
}

// beside writes a file into the folder of the input.
func (sut *system) beside(name string, data []byte) {
	sut.t.Helper()
	if err := os.WriteFile(filepath.Join(sut.Dir, name), data, 0o600); err != nil {
		sut.t.Fatal(err)
	}
}

// asking is a row that asks about a picture.
func asking(id, provider string, part map[string]any) map[string]any {
	return map[string]any{"custom_id": id, "provider": provider, "max_tokens": 300, "messages": []map[string]any{
		{"role": "user", "content": []map[string]any{{"type": "text", "text": "row " + id + "."}, part}},
	}}
}

// TestALargePictureArrivesWholeHoweverItIsGiven takes a picture of 5 MB through the queue: in a
// vendor's own body, and as a file beside the input.
func TestALargePictureArrivesWholeHoweverItIsGiven(t *testing.T) {
	t.Parallel()
	sut, server := vendorsOf(t, fakeprovider.Config{Keep: 100})
	data := picture(t, 5_000_000)
	encoded := base64.StdEncoding.EncodeToString(data)
	sut.beside("large.png", data)
	own := map[string]any{
		"custom_id": "own", "provider": "openai", "endpoint": chat,
		"body": json.RawMessage(`{"model":"gpt-6-luna","max_completion_tokens":300,"messages":[{"role":"user","content":[{"type":"text","text":"row own."},
			{"type":"image_url","image_url":{"url":"data:image/png;base64,` + encoded + `"}}]}]}`),
	}
	rows := []map[string]any{own, asking("claude", "anthropic", map[string]any{"type": "image", "file": "large.png"})}
	sut.run(0, "enqueue", "batch", sut.file("rows.jsonl", rows), "--batch-id", "large", "--no-fallback", "--watch")
	if n := sut.number(`SELECT count(*) FROM job_states WHERE state = 'succeeded' AND attempt = 1`); int(n) != len(rows) {
		t.Errorf("%d of %d rows were answered at once", n, len(rows))
	}
	calls := server.Calls()
	for id, before := range map[string]string{
		"own": `"url":"data:image/png;base64,`, "claude": `"media_type":"image/png","data":"`,
	} {
		c, found := bodyRow{name: id}.arrived(t, calls)
		if !found || !bytes.Contains(c.Body, []byte(before+encoded+`"`)) {
			t.Errorf("%s: arrived: %v, in %d bytes, without the picture: %.300s", id, found, len(c.Body), c.Body)
		}
	}
}

// TestWhatIsTooLargeIsRefusedWithItsBoundAndTheWayOut brings in rows that are just over each bound.
func TestWhatIsTooLargeIsRefusedWithItsBoundAndTheWayOut(t *testing.T) {
	t.Parallel()
	sut, server := vendorsOf(t, fakeprovider.Config{})
	const files = 12 << 20
	sut.beside("huge.png", picture(t, files+1))
	sut.beside("claude.png", picture(t, 8_000_000))
	rows := []map[string]any{
		asking("file", "openai", map[string]any{"type": "image", "file": "huge.png"}),
		asking("line", "openai", map[string]any{"type": "image", "data": base64.StdEncoding.EncodeToString(picture(t, files))}),
		asking("claude", "anthropic", map[string]any{"type": "image", "file": "claude.png"}),
	}
	r, err := sut.Run(t.Context(), harness.Command{Name: "enqueue", Args: []string{"batch", sut.file("rows.jsonl", rows), "--batch-id", "over"}})
	if code := r.State.ExitCode(); code != 1 {
		t.Errorf("exit code %d, %v", code, err)
	}
	for _, want := range []string{
		fmt.Sprintf(`rows.jsonl:1: messages[0].content[1].file: "huge.png": the files of a row may hold 12 MiB together, and with this one they have %d bytes: make them smaller, or give their url`, files+1),
		"rows.jsonl:2: the line is longer than 16 MiB: give pictures, sounds and documents by url, or make them smaller",
		"rows.jsonl:3: messages[0].content[1] (image): at most 10 MiB in base64 are taken by Anthropic, got 10666668 bytes: make it smaller",
	} {
		if !strings.Contains(r.Stderr, want+"\n") {
			t.Errorf("%q is missing in %.2000s", want, r.Stderr)
		}
	}
	if jobs, calls := sut.number(`SELECT count(*) FROM jobs`), server.Count(); jobs != 0 || calls != 0 {
		t.Errorf("%d jobs were taken, %d calls made", jobs, calls)
	}
}
