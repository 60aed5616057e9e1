package batches_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/media"
	"oneflow/providers"
)

func TestFilesBesideTheInputBecomePartsOfTheRequest(t *testing.T) {
	t.Parallel()
	png, err := media.PNG(1, 8, 8)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{
		"pictures/cat.png": {Data: png}, "a.pdf": {Data: []byte("%PDF-1.7 words")}, "notes.md": {Data: []byte("# words")}, "empty.png": {},
		"odd.bin": {Data: []byte("\xff\xfe\x00")}, "large.png": {Data: append(bytes.Clone(png), make([]byte, 12<<20)...)},
	}
	in := input()
	in.Files = files
	row := func(part string) string {
		return `{"provider":"openai","messages":[{"role":"user","content":[` + part + `]}]}`
	}
	good, bad := read(t, in, row(`{"type":"text","text":"what?"},{"type":"image","file":"./pictures/cat.png","detail":"low"},{"type":"document","file":"a.pdf"}`))
	if len(bad) > 0 || len(good) != 1 {
		t.Fatal(bad)
	}
	want := []providers.Part{
		{Type: providers.TextPart, Text: "what?"},
		{Type: providers.ImagePart, Data: png, MIME: "image/png", Detail: "low"},
		{Type: providers.DocumentPart, Data: []byte("%PDF-1.7 words"), MIME: "application/pdf", Name: "a.pdf"},
	}
	if diff := cmp.Diff(want, good[0].Request.Messages[0].Parts); diff != "" {
		t.Error(diff)
	}
	// What is in the file decides what the row is, not its name.
	one, _ := read(t, in, row(`{"type":"image","file":"pictures/cat.png"}`))
	files["pictures/cat.png"].Data = append(bytes.Clone(png), 0)
	other, _ := read(t, in, row(`{"type":"image","file":"pictures/cat.png"}`))
	if one[0].ContentSHA256 == other[0].ContentSHA256 || one[0].Key == other[0].Key {
		t.Error("a row is the same though its file has changed")
	}
	for part, want := range map[string]string{
		`{"type":"image","file":"dog.png"}`:                   `messages[0].content[0].file: "dog.png": file does not exist`,
		`{"type":"image","file":"/etc/passwd"}`:               `messages[0].content[0].file: "/etc/passwd": must be a path below the folder of the input`,
		`{"type":"image","file":"../cat.png"}`:                `messages[0].content[0].file: "../cat.png": must be a path below the folder of the input`,
		`{"type":"image","file":"pictures"}`:                  `messages[0].content[0].file: "pictures": is no file`,
		`{"type":"image","file":"empty.png"}`:                 `messages[0].content[0].file: "empty.png": is empty`,
		`{"type":"image","file":"large.png"}`:                 fmt.Sprintf(`messages[0].content[0].file: "large.png": the files of a row may hold 12 MiB together, and with this one they have %d bytes: make them smaller, or give their url`, len(png)+12<<20),
		`{"type":"image","file":"a.pdf"}`:                     `messages[0].content[0].file: "a.pdf": holds no image`,
		`{"type":"audio","file":"a.pdf"}`:                     `messages[0].content[0].file: "a.pdf": holds no audio`,
		`{"type":"image","file":"a.png","url":"https://x/y"}`: `messages[0].content[0].file: stands beside url or data: give only one of them`,
		`{"type":"document","file":"odd.bin"}`:                `messages[0].content[0] (document): its media type is not known: give mime, such as "image/png"`,
		`{"type":"document","file":"notes.md"}`:               `messages[0].content[0] (document): OpenAI's chat takes documents that are PDFs, got "text/plain"`,
		`{"type":"video","file":"a.mp4"}`:                     `messages[0].content[0] (video): has no meaning here`,
	} {
		if _, bad := read(t, in, row(part)); len(bad) != 1 || bad[0] != "rows.jsonl:1: "+want {
			t.Errorf("%s: %q, want %s", part, bad, want)
		}
	}
	in.Files = nil
	if _, bad := read(t, in, row(`{"type":"image","file":"a.png"}`)); len(bad) != 1 || bad[0] != "rows.jsonl:1: messages[0].content[0].file: no files are read here: give the content as data, in base64" {
		t.Errorf("without a folder: %q", bad)
	}
}

func TestASystemPromptMayBePartsWithAMark(t *testing.T) {
	t.Parallel()
	marked := providers.Message{Role: "system", Parts: []providers.Part{{Type: providers.TextPart, Text: "be brief", Cache: providers.Cache1h}}}
	const system = `"system":[{"type":"text","text":"be brief","cache":"1h"}]`
	for line, want := range map[string][]providers.Message{
		`{` + system + `,"prompt":"hi"}`:                                         {marked, {Role: "user", Content: "hi"}},
		`{` + system + `,"messages":[{"role":"user","content":"hi"}]}`:           {marked, {Role: "user", Content: "hi"}},
		`{` + system + `,"messages":"[{\"role\":\"user\",\"content\":\"hi\"}]"}`: {marked, {Role: "user", Content: "hi"}},
	} {
		good, bad := read(t, input(), line)
		if len(bad) > 0 || len(good) != 1 {
			t.Errorf("%s: %q", line, bad)
			continue
		}
		if r := good[0].Request; r.System != "" || r.Prompt != "" || cmp.Diff(want, r.Messages) != "" {
			t.Errorf("%s: %s", line, cmp.Diff(want, r.Messages))
		}
	}
}

func TestARowTakesOpenAIsNamesAndForms(t *testing.T) {
	t.Parallel()
	good, bad := read(t, input(), `{"prompt":"a","reasoning_effort":"low","max_completion_tokens":7,"stop":"x","n":2,"logprobs":true,"top_logprobs":3,"service_tier":"flex",`+
		`"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false}`+"\n"+
		`{"prompt":"a","effort":"low","max_tokens":"7","stop":["x"],"n":2.0,"logprobs":"true","top_logprobs":3,"service_tier":"flex",`+
		`"tools":"[{\"name\":\"f\"}]","tool_choice":"{\"type\":\"tool\",\"name\":\"f\"}","parallel_tool_calls":"False"}`)
	if len(bad) > 0 || len(good) != 2 {
		t.Fatal(bad)
	}
	if diff := cmp.Diff(good[0].Request, good[1].Request); diff != "" || good[0].ContentSHA256 != good[1].ContentSHA256 {
		t.Errorf("the same in other words differs:\n%s", diff)
	}
	if r := good[0].Request; r.Effort != "low" || r.ToolChoice.Name != "f" || len(r.Tools) != 1 || r.ParallelToolCalls == nil || *r.ParallelToolCalls || !r.LogProbs {
		t.Errorf("%+v", r)
	}
	for line, want := range map[string]string{
		`{"prompt":"a","effort":"low","reasoning_effort":"high"}`: "reasoning_effort: says the same as effort, and has another value: give only one of them",
		`{"prompt":"a","tools":{}}`:                               "tools: must be a list, got a JSON object",
		`{"prompt":"a","tools":[{"name":"f","colour":"red"}]}`:    "tools[0].colour: has no meaning here",
		`{"prompt":"a","tools":[{"name":"f"}],"tool_choice":"f"}`: "tool_choice: must be auto, none, required or the name of a tool",
	} {
		if _, bad := read(t, input(), line); len(bad) != 1 || bad[0] != "rows.jsonl:1: "+want {
			t.Errorf("%s: %q, want %s", line, bad, want)
		}
	}
}
