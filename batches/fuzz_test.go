package batches_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/jobs"
	"oneflow/providers/kinds"
)

// FuzzRead holds that no file makes the reader panic, that each line ends as
// exactly one job, one error or nothing, or the file is refused whole, that every accepted job is one that its
// provider takes, and that reading again gives the same keys.
func FuzzRead(f *testing.F) {
	for _, c := range badLines() {
		if len(c.line) < 500 {
			f.Add([]byte(c.line), false)
		}
	}
	f.Add([]byte("\xEF\xBB\xBF{\"custom_id\":\"a\",\"prompt\":\"b\"}\r\n\n{\"prompt\":\"\\ud83d\\ude00\"}"), false)
	f.Add([]byte(`{"id":7,"question":"a","other":{"b":[1,null]}}`), true)
	f.Add([]byte(`{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}},"extra":{"a":1e9}}`), false)
	f.Fuzz(func(t *testing.T, data []byte, mapped bool) {
		in := input()
		if mapped {
			in.Map = map[string]string{"prompt": "question", "custom_id": "id"}
		}
		keys := readAll(t, in, data)
		again := readAll(t, in, data)
		if strings.Join(keys, "\n") != strings.Join(again, "\n") {
			t.Errorf("keys change when a file is read again: %q, %q", keys, again)
		}
	})
}

func readAll(t *testing.T, in batches.Input, data []byte) (keys []string) {
	t.Helper()
	text := bytes.Split(data, []byte("\n"))
	next := int64(1) // no line is told of twice
	seen := map[string]bool{}
	check := func(line int64) {
		if line < next || line > int64(len(text)) || len(bytes.TrimSpace(text[line-1])) == 0 {
			t.Errorf("line %d of %d after line %d", line, len(text), next-1)
		}
		next = line + 1
	}
	err := in.Read(rows.JSONLines("rows.jsonl", bytes.NewReader(data)), func(j jobs.New) error {
		check(j.Seq)
		can, ok := kinds.CapabilitiesOf(j.Provider)
		if !ok {
			t.Errorf("line %d: provider %q", j.Seq, j.Provider)
		}
		if err := can.Check(j.Request); err != nil {
			t.Errorf("line %d was accepted: %v", j.Seq, err)
		}
		if j.Key == "" || seen[j.Key] {
			t.Errorf("line %d: key %q, seen %v", j.Seq, j.Key, seen[j.Key])
		}
		if _, err := json.Marshal(j.Request); err != nil || !utf8.ValidString(j.Request.Prompt) || strings.ContainsRune(j.CustomID+j.Request.Model, 0) {
			t.Errorf("line %d cannot be kept: %+v, %v", j.Seq, j, err)
		}
		seen[j.Key], keys = true, append(keys, j.Key)
		return nil
	}, func(e *rows.LineError) {
		check(e.Line)
		if !strings.HasPrefix(e.Error(), "rows.jsonl:") || e.Reason == "" || len(e.Reason) > 500 || strings.ContainsAny(e.Reason, "\x1b\r\n\x00") || !utf8.ValidString(e.Reason) {
			t.Errorf("line %d: %q", e.Line, e)
		}
	})
	// A file of another format is refused whole, at its first line that is not empty.
	if other, ok := errors.AsType[*rows.FormatError](err); ok && next == 1 {
		check(other.Line)
	} else if err != nil {
		t.Error(err)
	}
	return keys
}

// FuzzTemplate holds that no template and no row makes rendering panic, and that what
// it renders can be kept.
func FuzzTemplate(f *testing.F) {
	f.Add("Q: {{q}}!", `{"q":"a"}`)
	f.Add("{{a.b}}{{ c }}", `{"a":{"b":[1]},"c":"{\"x\":1}"}`)
	f.Add("{{", `{}`)
	f.Add("{{a.b.c}}", `{"a":"{\"b\":{\"c\":null}}"}`)
	f.Fuzz(func(t *testing.T, template, row string) {
		parsed, err := batches.ParseTemplate(template)
		if err != nil {
			return
		}
		if len(parsed.Columns()) == 0 {
			t.Fatal("a template without a column")
		}
		in := input()
		in.Template = parsed
		err = in.Read(rows.JSONLines("x", strings.NewReader(row)), func(j jobs.New) error {
			if !utf8.ValidString(j.Request.Prompt) || j.Request.Prompt == "" {
				t.Errorf("prompt %q", j.Request.Prompt)
			}
			return nil
		}, func(e *rows.LineError) {
			if len(e.Reason) > 500 || strings.ContainsAny(e.Reason, "\x1b\r\n") {
				t.Errorf("%q", e)
			}
		})
		if _, other := errors.AsType[*rows.FormatError](err); err != nil && !other {
			t.Error(err)
		}
	})
}
