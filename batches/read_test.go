package batches_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/jobs"
	"oneflow/providers"
)

func TestARowBecomesTheJobThatItDescribes(t *testing.T) {
	t.Parallel()
	in := input()
	in.Account, in.OnUnknown = "ana", jobs.FailUnknown
	good, bad := read(t, in, `{"custom_id":"r1","provider":"mock","lane":"high","run_at":"2031-02-03T04:05:06+01:00",`+
		`"task":"text","model":"mock-text","prompt":"Grüß 🌍","system":"s","max_tokens":7,"temperature":0.5,"stop":["."],"seed":-1}`)
	if bad != nil {
		t.Fatal(bad)
	}
	seed, warm := int64(-1), 0.5
	want := []jobs.New{{
		Seq: 1, Key: "c:r1", CustomID: "r1", Account: "ana", Provider: "mock", Lane: jobs.High, OnUnknown: jobs.FailUnknown,
		RunAt: time.Date(2031, 2, 3, 3, 5, 6, 0, time.UTC),
		Request: providers.Request{
			Task: providers.Text, Model: "mock-text", Prompt: "Grüß 🌍", System: "s", MaxTokens: 7, Temperature: &warm,
			Stop: []string{"."}, Seed: &seed,
		},
	}}
	diff := cmp.Diff(want, good, cmpopts.IgnoreFields(jobs.New{}, "ID", "ContentSHA256", "Encoded"))
	if diff != "" || good[0].ID.Version() != 7 || good[0].ContentSHA256 == [32]byte{} {
		t.Errorf("-want +got:\n%s%+v", diff, good)
	}
}

func TestDefaultsHoldOnlyForFieldsThatARowDoesNotSet(t *testing.T) {
	t.Parallel()
	in := input()
	in.RunAt = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	in.Defaults = map[string]json.RawMessage{
		"provider": json.RawMessage(`"mock"`), "system": json.RawMessage(`"be brief"`),
		"lane": json.RawMessage(`"bulk"`), "max_tokens": json.RawMessage(`9`),
	}
	good, bad := read(t, in, `{"prompt":"a"}
{"prompt":"b","system":"","lane":"high","max_tokens":1,"run_at":"2050-01-01T00:00:00Z"}
{"prompt":"c","provider":null,"system":null,"lane":null,"run_at":null}
{"prompt":"d","task":"image","system":""}
`)
	if diff := cmp.Diff([]string{`rows.jsonl:4: option "max_tokens": not understood for image by mock, which takes prompt, size, n, seed`}, bad); diff != "" {
		t.Fatal(diff)
	}
	type part struct {
		Provider, System, Model string
		Lane                    jobs.Lane
		MaxTokens               int64
		Year                    int
	}
	var got []part
	for _, j := range good {
		got = append(got, part{j.Provider, j.Request.System, j.Request.Model, j.Lane, j.Request.MaxTokens, j.RunAt.Year()})
	}
	want := []part{
		{"mock", "be brief", "mock-text", jobs.Bulk, 9, 2040},
		{"mock", "", "mock-text", jobs.High, 1, 2050},
		{"mock", "be brief", "mock-text", jobs.Bulk, 9, 2040}, // null is as good as nothing
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMapTakesFieldsFromOtherColumnsAndPassesOverTheRest(t *testing.T) {
	t.Parallel()
	in := input()
	in.Map = map[string]string{"prompt": "question", "custom_id": "id"}
	good, bad := read(t, in, `{"id":17,"question":"why?","answer":"42","score":0.5,"nested":{"a":[1]}}
{"id":true,"question":12.50,"prompt":"not this one","system":"but this"}
{"id":"x","Prompt":"no column of ours"}
{"id":{"a":1},"question":"an id that is no text"}
{"id":null,"question":"no id"}
`)
	type part struct{ ID, Prompt, System string }
	var got []part
	for _, j := range good {
		got = append(got, part{j.CustomID, j.Request.Prompt, j.Request.System})
	}
	if diff := cmp.Diff([]part{{"17", "why?", ""}, {"true", "12.50", "but this"}, {"", "no id", ""}}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want := []string{
		`rows.jsonl:3: column "question", mapped to prompt, is not there; the line has Prompt, id`,
		`rows.jsonl:4: custom_id: must be a string, got a JSON object`,
	}
	if diff := cmp.Diff(want, bad); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestACustomIDIsTakenOnceInAFile(t *testing.T) {
	t.Parallel()
	good, bad := read(t, input(), `{"custom_id":"a","prompt":""}
{"custom_id":"a","prompt":"first that is good"}
{"custom_id":"a","prompt":"second"}
{"custom_id":"A","prompt":"another id"}
`)
	want := []string{`rows.jsonl:1: prompt: must not be empty`, `rows.jsonl:3: custom_id "a": used before on line 2`}
	if diff := cmp.Diff(want, bad); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"first that is good", "another id"}, prompts(good)); diff != "" {
		t.Error(diff)
	}
}

func TestKeysStayTheSameWhenAFileIsReadAgainOrItsRowsChangePlaces(t *testing.T) {
	t.Parallel()
	lines := []string{
		`{"prompt":"a"}`, `{"prompt":"b"}`, `{"prompt":"a"}`, `{"custom_id":"c","prompt":"a"}`, `{"prompt":"a","max_tokens":1}`,
		`{ "max_tokens" : 1 , "prompt" : "\u0061" }`, `{"prompt":"a","task":"image","model":"mock-image"}`, `{"prompt":"a","model":"mock-text","lane":"high"}`,
	}
	keys := func(lines []string) (list []string) {
		good, bad := read(t, input(), strings.Join(lines, "\n"))
		if bad != nil {
			t.Fatal(bad)
		}
		for _, j := range good {
			list = append(list, j.Key)
		}
		slices.Sort(list)
		return list
	}
	first := keys(lines)
	reversed := slices.Clone(lines)
	slices.Reverse(reversed)
	for name, other := range map[string][]string{"again": lines, "reversed": reversed, "with empty lines": strings.Split(strings.Join(lines, "\n\n"), "\n")} {
		if diff := cmp.Diff(first, keys(other)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	if n := len(slices.Compact(slices.Clone(first))); n != len(lines) {
		t.Errorf("%d rows have %d keys: %q", len(lines), n, first)
	}
	good, _ := read(t, input(), strings.Join(lines, "\n"))
	stem, _ := strings.CutSuffix(good[0].Key, ":1")
	if good[2].Key != stem+":2" || good[7].Key != stem+":3" {
		t.Errorf("equal rows have the keys %s, %s, %s, not one hash with the ordinals 1, 2, 3", good[0].Key, good[2].Key, good[7].Key)
	}
	if good[4].Key[:len(stem)] == stem || good[4].ContentSHA256 != good[5].ContentSHA256 {
		t.Error("the content decides, not its spelling")
	}
}

func TestLinesAreReadWhateverEndsThem(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"plain":               "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n",
		"no newline at last":  "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}",
		"CRLF":                "{\"prompt\":\"a\"}\r\n{\"prompt\":\"b\"}\r\n",
		"byte order mark":     "\xEF\xBB\xBF{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}",
		"BOM and empty lines": "\xEF\xBB\xBF\r\n\n  \t\n{\"prompt\":\"a\"}\n\n\n {\"prompt\":\"b\"} \n\n",
	} {
		good, bad := read(t, input(), text)
		if diff := cmp.Diff([]string{"a", "b"}, prompts(good)); diff != "" || bad != nil {
			t.Errorf("%s: %s%v", name, diff, bad)
		}
	}
	for _, text := range []string{"", "\n", "\xEF\xBB\xBF", "\r\n\r\n"} {
		if good, bad := read(t, input(), text); good != nil || bad != nil {
			t.Errorf("%q: %v %v", text, good, bad)
		}
	}
}

func TestLinesAreCountedAsAnEditorCountsThem(t *testing.T) {
	t.Parallel()
	good, bad := read(t, input(), "\xEF\xBB\xBF\n\n{\"prompt\":\"a\"}\n\nx\n\xEF\xBB\xBF{\"prompt\":\"b\"}\n")
	if len(good) != 2 || good[0].Seq != 3 || good[1].Seq != 6 {
		t.Errorf("%+v", good)
	}
	want := []string{"rows.jsonl:5:1: not valid JSON"}
	if diff := cmp.Diff(want, bad); diff != "" {
		t.Error(diff)
	}
}

func TestTextIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`\ud83d\ude00`:       "😀",
		`\uD83D\uDE00x`:      "😀x",
		`\\ud83d`:            `\ud83d`,
		`a\u0000b`:           "a\x00b",
		`\uffff\ufffd`:       "\uffff\ufffd",
		"\u2028\u0085\u202e": "\u2028\u0085\u202e",
		`<b>&amp;</b>`:       "<b>&amp;</b>",
		`  spaces  `:         "  spaces  ",
	} {
		good, bad := read(t, input(), `{"prompt":"`+in+`"}`)
		if diff := cmp.Diff([]string{want}, prompts(good)); diff != "" || bad != nil {
			t.Errorf("%q: %s%v", in, diff, bad)
		}
	}
	deep := strings.Repeat("[", 90) + strings.Repeat("]", 90)
	good, bad := read(t, input(), `{"provider":"openai","prompt":"a","extra":{"a":`+deep+`,"A":1e400}}`)
	if bad != nil || string(good[0].Request.Extra["a"]) != deep || string(good[0].Request.Extra["A"]) != "1e400" {
		t.Errorf("extra is not passed on as it is: %v %v", good, bad)
	}
}

func TestReadingStopsWhereTheReaderOrTheTakerFails(t *testing.T) {
	t.Parallel()
	broken := io.MultiReader(strings.NewReader("{\"prompt\":\"a\"}\n{\"prom"), iotest.ErrReader(errors.New("the disk is gone")))
	var got []string
	err := input().Read(rows.JSONLines("rows.jsonl", broken), func(j jobs.New) error { got = append(got, j.Request.Prompt); return nil }, nil)
	if err == nil || err.Error() != "rows.jsonl:2: the disk is gone" || !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v, %q", err, got)
	}
	full := errors.New("full")
	n := 0
	err = input().Read(rows.JSONLines("rows.jsonl", strings.NewReader(strings.Repeat("{\"prompt\":\"a\"}\n", 5))), func(jobs.New) error { n++; return full }, nil)
	if !errors.Is(err, full) || n != 1 {
		t.Errorf("%v after %d rows", err, n)
	}
}

func TestASingleJobIsCheckedLikeALine(t *testing.T) {
	t.Parallel()
	fields := func(prompt string) map[string]json.RawMessage {
		return map[string]json.RawMessage{"prompt": json.RawMessage(prompt), "provider": json.RawMessage(`"mock"`)}
	}
	job, err := input().One(fields(`"hello"`))
	if err != nil || job.Request.Prompt != "hello" || job.Key == "" || job.Request.Model != "mock-text" {
		t.Errorf("%+v, %v", job, err)
	}
	for name, want := range map[string]string{
		"custom_id": "custom_id: is for rows of a batch; a single job has its id", "account": `unknown field "account": a single job keeps no columns of its own`,
		"tag": `unknown field "tag": `, "promt": `unknown field "promt": did you mean "prompt"?`,
	} {
		with := fields(`"hello"`)
		with[name] = json.RawMessage(`"x"`)
		if _, err := input().One(with); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "--") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for prompt, want := range map[string]string{`""`: "prompt: must not be empty", `[7]`: "prompt: must be a string, got a JSON list", `"\udc00"`: "half of a surrogate pair"} {
		if _, err := input().One(fields(prompt)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", prompt, err)
		}
	}
}

func TestTheFieldsOfARowAreListed(t *testing.T) {
	t.Parallel()
	names := batches.FieldNames()
	for _, name := range []string{"custom_id", "provider", "lane", "run_at", "task", "model", "prompt", "messages", "extra", "voice_settings"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing in %q", name, names)
		}
	}
}

func ExampleLineError() {
	in := batches.Input{Kind: func(string) (string, bool) { return "mock", true }}
	_ = in.Read(rows.JSONLines("prompts.jsonl", strings.NewReader(`{"provider":"mock","prompt":"ok"}
{"provider":"mock","promt":"a slip"}
`)), func(j jobs.New) error { fmt.Println("line", j.Seq, "is good"); return nil }, func(e *rows.LineError) { fmt.Println(e) })
	// Output:
	// line 1 is good
	// prompts.jsonl:2: unknown field "promt": did you mean "prompt"? To keep it as a column of your own, name the prompt's column with --map prompt=…
}
