package batches_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/internal/storetest"
	"oneflow/jobs"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// input reads rows for the providers that the tests know: each is of the kind of
// its name, and "none" is not configured.
func input() batches.Input {
	return batches.Input{
		Defaults: map[string]json.RawMessage{"provider": json.RawMessage(`"mock"`)},
		Kind:     func(provider string) (string, bool) { return provider, provider != "none" },
	}
}

// source reads JSON lines.
func source(r io.Reader) rows.Source { return rows.JSONLines("rows.jsonl", r) }

// read returns what became of text.
func read(t *testing.T, in batches.Input, text string) (good []jobs.New, bad []string) {
	t.Helper()
	err := in.Read(source(strings.NewReader(text)), func(j jobs.New) error { good = append(good, j); return nil },
		func(e *rows.LineError) { bad = append(bad, e.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	return good, bad
}

// prompts lists the prompts of rows.
func prompts(rows []jobs.New) (list []string) {
	for _, r := range rows {
		list = append(list, r.Request.Prompt)
	}
	return list
}
