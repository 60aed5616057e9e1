package batches_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/internal/golden"
	"oneflow/jobs"
	"oneflow/providers"
)

func TestWhatProgramsWriteForTheSameValueIsTaken(t *testing.T) {
	t.Parallel()
	of := func(line string) (providers.Request, string) {
		good, bad := read(t, input(), line)
		if len(bad) > 0 || len(good) != 1 {
			t.Errorf("%s: %q", line, bad)
			return providers.Request{}, ""
		}
		return good[0].Request, good[0].CustomID
	}
	for _, line := range []string{
		`{"prompt":"a","max_tokens":256.0}`, `{"prompt":"a","max_tokens":2.56e2}`, `{"prompt":"a","max_tokens":"256"}`, `{"prompt":"a","max_tokens":" 256.0 "}`,
		`{"prompt":"a","max_completion_tokens":256}`, `{"prompt":"a","max_completion_tokens":256,"max_tokens":256}`, `{"prompt":"a","max_tokens":null,"max_completion_tokens":256.0}`,
	} {
		if r, _ := of(line); r.MaxTokens != 256 {
			t.Errorf("%s: %d", line, r.MaxTokens)
		}
	}
	for line, want := range map[string]int64{`{"prompt":"a","seed":7.0}`: 7, `{"prompt":"a","seed":-0.0}`: 0, `{"prompt":"a","seed":1e2}`: 100, `{"prompt":"a","seed":9007199254740993}`: 9007199254740993} {
		if r, _ := of(line); r.Seed == nil || *r.Seed != want {
			t.Errorf("%s: %v", line, r.Seed)
		}
	}
	if r, _ := of(`{"prompt":"a","temperature":"0.5","top_p":1}`); *r.Temperature != 0.5 || *r.TopP != 1 {
		t.Errorf("%+v", r)
	}
	if r, _ := of(`{"prompt":"a","temperature":NaN,"seed":NaN,"system":"a NaN, and \"NaN\""}`); r.Temperature != nil || r.Seed != nil || r.System != `a NaN, and "NaN"` {
		t.Errorf("NaN: %+v", r)
	}
	if r, id := of(`{"prompt":12.50,"custom_id":7,"stop":"\n"}`); r.Prompt != "12.50" || id != "7" || len(r.Stop) != 1 || r.Stop[0] != "\n" {
		t.Errorf("numbers as text: %+v, %q", r, id)
	}
	if r, _ := of(`{"prompt":"a","provider":"elevenlabs","task":"audio","voice_settings":{"use_speaker_boost":"True","style":null}}`); !*r.VoiceSettings.UseSpeakerBoost || r.VoiceSettings.Style != nil {
		t.Errorf("%+v", r.VoiceSettings)
	}
	for _, line := range []string{
		`{"messages":[{"role":"user","content":"hi"}]}`, `{"messages":[{"role":"user","content":"hi","name":null,"tool_calls":null}]}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`, `{"messages":"[{\"role\": \"user\", \"content\": \"hi\"}]"}`,
	} {
		if r, _ := of(line); r.Prompt != "hi" || r.Messages != nil { // a conversation of one turn is a prompt
			t.Errorf("%s: %+v", line, r)
		}
	}
}

func TestLinesOfVendorsBatchesAreTakenForRows(t *testing.T) {
	t.Parallel()
	good, bad := read(t, input(), `{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o-mini", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}], "max_completion_tokens": 100, "n": 1, "stream": false, "presence_penalty": 0.5, "user": null}, "provider": "openai"}
{"custom_id":"r2","method":"post","url":"https://api.openai.com/v1/images/generations","body":{"model":"gpt-image-2","prompt":"a cat","size":"1024x1024","user":"ana"},"provider":"openai"}
{"custom_id":"r3","params":{"model":"claude-haiku-4-5","max_tokens":10,"system":"s","messages":[{"role":"user","content":"hi"}],"stop_sequences":["."],"top_k":5},"provider":"anthropic"}
`)
	if bad != nil || len(good) != 3 {
		t.Fatal(bad)
	}
	r := good[0].Request
	if good[0].CustomID != "request-1" || r.Task != providers.Text || r.Model != "gpt-4o-mini" || r.Endpoint != "/v1/chat/completions" ||
		!strings.HasPrefix(string(r.Body), `{"model": "gpt-4o-mini", "messages": [`) || !strings.HasSuffix(string(r.Body), `"presence_penalty": 0.5, "user": null}`) {
		t.Errorf("%+v", r)
	}
	if r := good[1].Request; r.Task != providers.Image || r.Model != "gpt-image-2" || r.Endpoint != "/v1/images/generations" {
		t.Errorf("%+v", r)
	}
	if r := good[2].Request; r.Model != "claude-haiku-4-5" || r.Endpoint != "/v1/messages" || !strings.HasSuffix(string(r.Body), `"top_k":5}`) {
		t.Errorf("%+v", r)
	}
	const chat = `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","provider":"openai","body":`
	for line, want := range map[string]string{
		`{"url":"/v1/moderations","body":{"input":"a"}}`:                                                                                                `task "moderation": mock does audio, embedding, image, text, transcription, video`,
		`{"url":"/v1/files","body":{"input":"a"}}`:                                                                                                      `url "/v1/files": is not taken; bodies are taken for /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/moderations, /v1/images/generations, `,
		`{"body":{"messages":[]}}`:                                                                                                                      `endpoint "": is not taken`,
		`{"endpoint":"/v1/moderations","provider":"openai","body":{"input":"a"}}`:                                                                       `body.model: is missing`,
		`{"endpoint":"/v1/responses","provider":"openai","body":{"input":"a","background":true}}`:                                                       `body.background: answers are waited for: leave it out`,
		`{"endpoint":"/v1/responses","provider":"openai","body":{"input":"a"},"temperature":1}`:                                                         `option "temperature": stands beside body, which says all: put it into the body`,
		`{"endpoint":"/v1/responses","provider":"openai","body":{"input":"a"},"extra":{"a":1}}`:                                                         `extra: stands beside body, which says all: put its fields into the body`,
		`{"endpoint":"/v1/responses","provider":"openai","task":"image","body":{"input":"a"}}`:                                                          `task: /v1/responses answers with text, got image`,
		`{"endpoint":"/v1/chat/completions","provider":"anthropic","body":{"messages":[{"role":"user","content":"a"}],"presence_penalty":1}}`:           `body.presence_penalty: anthropic has no equivalent; a provider of kind openai takes it as it is`,
		`{"endpoint":"/v1/chat/completions","provider":"anthropic","body":{"messages":[{"role":"user","content":[{"type":"text","text":"a","x":1}]}]}}`: `body.messages[0].content[0].x: anthropic has no equivalent; a provider of kind openai takes it as it is`,
		`{"endpoint":"/v1/responses","provider":"anthropic","body":{"input":"a","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}}`:       `body.tools[1]: anthropic has no equivalent; a provider of kind openai takes it as it is`,
		`{"params":{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"a"}],"max_tokens":5,"top_k":5},"provider":"openai"}`:               `body.top_k: openai has no equivalent; a provider of kind anthropic takes it as it is`,
		`{"url":"/v1/chat/completions","method":"GET","body":{}}`:                                                                                       `method "GET": must be POST`,
		chat + `[]}`: `body: must be an object, got a JSON list`,
		chat + `{"messages":[{"role":"user","content":"a"}],"stream":true}}`:           `body.stream: answers are read whole: leave it out`,
		chat + `{"messages":[{"role":"user","content":"a"}]},"top_k":1}`:               `unknown field "top_k"`,
		chat + `{"model":"x","messages":[{"role":"user","content":"a"}]},"model":"y"}`: `body.model: stands beside body, too: give only one of them`,
		chat + `{"messages":7}}`: `body.messages: must be a list, got a JSON number`,
		`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}],"provider":"openai"}`: `messages[0].content[0] (image): holds nothing: give url, data or file`,
		`{"prompt":"a","max_tokens":1,"max_completion_tokens":2}`:                                            `max_completion_tokens: says the same as max_tokens, and has another value`,
		`{"prompt":"a","response_format":{"type":"json_schema","schema":{}}}`:                                `response_format.schema: there is no such field; response_format takes json_schema, type`,
	} {
		if _, bad := read(t, input(), line); len(bad) != 1 || !strings.HasPrefix(bad[0], "rows.jsonl:1: "+want) {
			t.Errorf("%s: got %q, want %s", line, bad, want)
		}
	}
}

// The error and the page name all endpoints that bodies are taken for, and no others.
func TestTheListOfEndpointsIsComplete(t *testing.T) {
	t.Parallel()
	_, bad := read(t, input(), `{"url":"/v1/files","body":{"input":"a"}}`)
	_, list, _ := strings.Cut(bad[0], "bodies are taken for ")
	told := strings.Split(list, ", ")
	slices.Sort(told)
	page, err := os.ReadFile("../docs/batches.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sentence, _ := strings.Cut(string(page), "Bodies are taken\nfor ")
	sentence, _, _ = strings.Cut(sentence, ";")
	var named []string
	for _, m := range regexp.MustCompile("`(/v1[^`]*)`").FindAllStringSubmatch(sentence, -1) {
		named = append(named, strings.ReplaceAll(m[1], "MODEL", providers.ModelInPath))
	}
	slices.Sort(named)
	if diff := cmp.Diff(told, named); diff != "" || len(told) < 13 {
		t.Errorf("-error +docs/batches.md: %s", diff)
	}
	for _, path := range told {
		_, bad := read(t, input(), `{"url":"`+strings.ReplaceAll(path, providers.ModelInPath, "m")+`","body":{}}`)
		if len(bad) > 0 && strings.Contains(bad[0], "is not taken") {
			t.Errorf("%s is listed, and %q", path, bad)
		}
	}
}

func TestAValueThatIsNoJSONIsToldWithWhatWritesIt(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"prompt":"a","x":True}`:                    `19: not valid JSON: it is how Python prints a value; write lines with json.dumps`,
		`{"prompt":"a","x":None}`:                    `19: not valid JSON: it is how Python prints a value; write lines with json.dumps`,
		`{"prompt":"a","x":-Infinity}`:               `20: not valid JSON, which has no infinite numbers`,
		`{"prompt":"a","x":Infinity}`:                `19: not valid JSON, which has no infinite numbers`,
		`{"prompt":"a","x":nan}`:                     `20: not valid JSON: where there is no value, write null or leave the field out`,
		`{"prompt":"a","x":undefined}`:               `19: not valid JSON: where there is no value, write null or leave the field out`,
		`{"stop":["a",],"prompt":"a"}`:               `14: not valid JSON: there is a comma before the closing bracket`,
		"{\"prompt\":\"a\tb\"}":                      `13: not valid JSON: the character with code 9 must be written as \u0009`,
		"  {\"prompt\":\"a\",}":                      `17: not valid JSON: there is a comma before the closing bracket`,
		"{\"prompt\":\"a\"}\ufeff{\"prompt\":\"b\"}": `15: there is more after the JSON object: put one object on each line, such as with jq -c . FILE`,
	} {
		if _, bad := read(t, input(), line); len(bad) != 1 || bad[0] != "rows.jsonl:1:"+want {
			t.Errorf("%s: got %q, want %s", line, bad, want)
		}
	}
}

// TestFilesOfOtherProgramsAreRead reads each file of testdata/taken, which pandas, jq,
// Excel, Arrow and others have written, whole. NAME.golden has what they hold.
func TestFilesOfOtherProgramsAreRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/taken/*")
	if err != nil || len(files) < 25 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		if filepath.Ext(path) == ".golden" {
			continue
		}
		var out strings.Builder
		in := input()
		in.Defaults["provider"] = []byte(`"openai"`)
		in.DefaultModel = func(string, providers.Task) string { return "gpt-5.4-mini" } // it takes sampling options
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		src, err := rows.Read(filepath.Base(path), f, rows.Options{Columns: batches.FieldNames(), Recognised: func(_ string, f rows.Format) { fmt.Fprintln(&out, f) }})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		err = in.Read(src, func(j jobs.New) error {
			fmt.Fprintf(&out, "%d %s %s", j.Seq, j.CustomID, j.Encoded)
			if j.Own != nil {
				fmt.Fprintf(&out, " own %s", j.Own)
			}
			fmt.Fprintln(&out)
			return nil
		}, func(e *rows.LineError) { t.Error(e) })
		if err != nil || src.Close() != nil {
			t.Errorf("%s: %v", path, err)
		}
		golden.Compare(t, filepath.Join("taken", filepath.Base(path)+".golden"), out.String())
	}
}

// The rows of most public data sets have no prompt, but what one can be made of.
func TestARowWithoutAPromptIsToldWhatItHas(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"instruction":"a","output":"b"}`: "prompt: is missing; the row has instruction, output: say which holds it, such as --map prompt=instruction, or make it with --template",
		`{"instruction":"a","prompt":""}`:  "prompt: must not be empty",
		`{"max_tokens":5}`:                 "prompt: must not be empty",
	} {
		if _, bad := read(t, input(), line); len(bad) != 1 || bad[0] != "rows.jsonl:1: "+want {
			t.Errorf("%s: %q", line, bad)
		}
	}
}
