package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"oneflow/internal/fakeprovider"
)

const (
	embeddingModel = "text-embedding-3-small"
	dimensions     = 256
	// mostProcessMemory bounds each worker while it embeds, in bytes.
	mostProcessMemory = 300_000_000
)

// textOf is the text of a row, about 30 tokens by the server's count.
func textOf(i int) string {
	return fmt.Sprintf("Text number %d is about the lighthouse in the fog, the boats that pass by it at night, and who counts them.", i)
}

// embeddingRows writes n texts to embed.
func embeddingRows(w io.Writer, n int) error {
	out := bufio.NewWriterSize(w, 1<<16)
	for i := range n {
		_, err := fmt.Fprintf(out, "{\"task\":\"embedding\",\"provider\":\"openai\",\"model\":%q,\"custom_id\":\"r%d\",\"prompt\":%q,\"dimensions\":%d}\n", embeddingModel, i, textOf(i), dimensions)
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

// wrongVectors exports the batch and counts the rows that are not there, or whose vector is
// not that of their text.
func (f *fleet) wrongVectors(ctx context.Context, n int) (wrong int, err error) {
	path := filepath.Join(f.Dir, "vectors.jsonl")
	if _, err := f.enqueue(ctx, nil, "export", batchID, "--format", "jsonl", "--out", path); err != nil {
		return 0, err
	}
	file, err := os.Open(path) //nolint:gosec // the export of this run
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	right := 0
	for in := json.NewDecoder(file); ; {
		var row struct {
			CustomID  string    `json:"custom_id"`
			Embedding []float32 `json:"embedding"`
		}
		if err := in.Decode(&row); err == io.EOF {
			return n - right, nil
		} else if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		i, err := strconv.Atoi(row.CustomID[1:])
		if err == nil && slices.Equal(row.Embedding, fakeprovider.Vector(textOf(i), dimensions)) {
			right++
		}
	}
}

// peakMemory is the most memory, in bytes, that one of the workers has had; 0 where the
// system does not tell.
func (f *fleet) peakMemory() (most int64) {
	for _, w := range f.workers {
		most = max(most, peakOf(strconv.Itoa(w.Pid)))
	}
	return most
}

// peakOf is the most memory, in bytes, that a process has had; 0 where the system does not tell.
func peakOf(pid string) int64 {
	status, err := os.ReadFile("/proc/" + pid + "/status") //nolint:gosec // of /proc
	if m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status); err == nil && m != nil {
		n, _ := strconv.ParseInt(string(m[1]), 10, 64) // digits
		return n << 10
	}
	return 0
}
