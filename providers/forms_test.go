package providers_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
)

func TestAConversationIsTheSameInEachVendorsForm(t *testing.T) {
	t.Parallel()
	png := []byte("\x89PNG\r\n\x1a\n")
	pdf := []byte("%PDF-1.7")
	parts := func(p ...providers.Part) []providers.Message { return []providers.Message{{Role: "user", Parts: p}} }
	say := providers.Part{Type: providers.TextPart, Text: "what is it?"}
	for name, c := range map[string]struct {
		forms []string
		want  []providers.Message
	}{
		"a text": {[]string{
			`[{"role":"user","content":"hi"}]`, `[{"role":"user","content":[{"type":"text","text":"hi"}]}]`,
			`[{"role":"user","content":[{"type":"input_text","text":"hi"}],"type":"message"}]`, `[{"role":"user","content":"hi","name":null}]`,
		}, []providers.Message{{Role: "user", Content: "hi"}}},
		"a picture at an address": {[]string{
			`[{"role":"user","content":[{"type":"text","text":"what is it?"},{"type":"image","url":"https://x/a.png"}]}]`,
			`[{"role":"user","content":[{"type":"text","text":"what is it?"},{"type":"image_url","image_url":{"url":"https://x/a.png"}}]}]`,
			`[{"role":"user","content":[{"type":"input_text","text":"what is it?"},{"type":"input_image","image_url":"https://x/a.png"}]}]`,
			`[{"role":"user","content":[{"type":"text","text":"what is it?"},{"type":"image","source":{"type":"url","url":"https://x/a.png"}}]}]`,
		}, parts(say, providers.Part{Type: providers.ImagePart, URL: "https://x/a.png"})},
		"a picture itself": {[]string{
			`[{"role":"user","content":[{"type":"image","data":"iVBORw0KGgo="}]}]`,
			`[{"role":"user","content":[{"type":"image","url":"data:image/png;base64,iVBORw0KGgo="}]}]`,
			`[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]`,
			`[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo"}}]}]`,
		}, parts(providers.Part{Type: providers.ImagePart, Data: png, MIME: "image/png"})},
		"a document": {[]string{
			`[{"role":"user","content":[{"type":"document","data":"JVBERi0xLjc=","name":"a.pdf"}]}]`,
			`[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0xLjc="}}]}]`,
			`[{"role":"user","content":[{"type":"input_file","filename":"a.pdf","file_data":"JVBERi0xLjc="}]}]`,
			`[{"role":"user","content":[{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0xLjc="}}]}]`,
		}, parts(providers.Part{Type: providers.DocumentPart, Data: pdf, MIME: "application/pdf", Name: "a.pdf"})},
		"a plain document": {[]string{
			`[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"words"}}]}]`,
		}, parts(providers.Part{Type: providers.DocumentPart, Data: []byte("words"), MIME: "text/plain"})},
		"a sound": {[]string{
			`[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"SUQz","format":"mp3"}}]}]`, `[{"role":"user","content":[{"type":"audio","data":"SUQz"}]}]`,
		}, parts(providers.Part{Type: providers.AudioPart, Data: []byte("ID3"), MIME: "audio/mpeg"})},
		"a mark for the cache": {[]string{
			`[{"role":"user","content":[{"type":"text","text":"what is it?","cache":true}]}]`,
			`[{"role":"user","content":[{"type":"text","text":"what is it?","cache_control":{"type":"ephemeral"}}]}]`,
			`[{"role":"user","content":[{"type":"text","text":"what is it?","prompt_cache_breakpoint":{"mode":"explicit"}}]}]`,
		}, parts(providers.Part{Type: providers.TextPart, Text: "what is it?", Cache: providers.CacheDefault})},
		"a tool": {
			[]string{
				`[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
				{"role":"tool","tool_call_id":"c1","content":"7"},{"role":"user","content":"so?"}]`,
				`[{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"a":1}}]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"7"},{"type":"text","text":"so?"}]}]`,
			},
			[]providers.Message{
				{Role: "assistant", ToolCalls: []providers.ToolCall{{ID: "c1", Name: "f", Arguments: `{"a":1}`}}},
				{Role: "tool", ToolCallID: "c1", Content: "7"},
				{Role: "user", Content: "so?"},
			},
		},
		"a tool that failed": {
			[]string{`[{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","is_error":true,"content":[{"type":"text","text":"no"}],"cache_control":{"type":"ephemeral","ttl":"1h"}}]}]`},
			[]providers.Message{{Role: "tool", ToolCallID: "c1", IsError: true, Parts: []providers.Part{{Type: providers.TextPart, Text: "no", Cache: providers.Cache1h}}}},
		},
	} {
		for _, form := range c.forms {
			got, unknown, err := providers.ReadMessages(json.RawMessage(form))
			if err != nil || len(unknown) > 0 {
				t.Errorf("%s: %s: %v, %q", name, form, err, unknown)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s:\n%s", name, form, diff)
			}
		}
		kept, err := json.Marshal(c.want)
		if err != nil {
			t.Fatal(err)
		}
		var again []providers.Message
		if err := json.Unmarshal(kept, &again); err != nil {
			t.Errorf("%s: %s: %v", name, kept, err)
		}
		if diff := cmp.Diff(c.want, again); diff != "" {
			t.Errorf("%s: what is kept is not what was read:\n%s", name, diff)
		}
	}
}

func TestWhatHasNoMeaningInAConversationIsNamed(t *testing.T) {
	t.Parallel()
	for form, want := range map[string]string{
		`[{"role":"user","content":"a","Content":"b"}]`:                                                "messages[0].Content",
		`[{"role":"user","content":[{"type":"text","text":"a","citations":[1]}]}]`:                     "messages[0].content[0].citations",
		`[{"role":"user","content":[{"type":"search_result","title":"t"}]}]`:                           "messages[0].content[0] (search_result)",
		`[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x","x":1}}]}]`:     "messages[0].content[0].image_url.x",
		`[{"role":"user","content":[{"type":"file","file":{"file_id":"f-1"}}]}]`:                       "messages[0].content[0].file.file_id",
		`[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"f-1"}}]}]`:      "messages[0].content[0].source.file_id",
		`[{"role":"user","content":[{"type":"text","text":"a"},{"type":"tool_result"}]}]`:              "messages[0].content[1] (tool_result after other parts)",
		`[{"role":"assistant","content":[{"type":"tool_use","input":{}},{"type":"text","text":"b"}]}]`: "messages[0].content[1] (a part after tool_use)",
		`[{"type":"custom_tool_call_output","call_id":"c","output":"7"}]`:                              "messages[0] (custom_tool_call_output)",
		`[{"role":"assistant","tool_calls":[{"id":"1","type":"custom","custom":{"name":"n"}}]}]`:       "messages[0].tool_calls[0] (custom)",
	} {
		_, unknown, err := providers.ReadMessages(json.RawMessage(form))
		if err != nil || len(unknown) == 0 || unknown[0] != want {
			t.Errorf("%s: %q, %v, want %s", form, unknown, err, want)
		}
	}
	for form, want := range map[string]string{
		`{"role":"user"}`:                "messages: must be a list, got a JSON object",
		`["a"]`:                          "messages[0]: must be an object, got a JSON string",
		`[{"role":7}]`:                   "messages[0].role: must be a string, got a JSON number",
		`[{"role":"user","content":{}}]`: "messages[0].content: must be a string or a list of parts, got a JSON object",
		`[{"role":"user","content":[]}]`: "messages[0].content: must not be an empty list",
		`[{"role":"user","content":[{"type":"image","data":"secret words"}]}]`:                          "messages[0].content[0].data: must be base64",
		`[{"role":"user","content":[{"type":"text","text":"a","cache":"2h"}]}]`:                         `messages[0].content[0].cache: must be true, "5m" or "1h"`,
		`[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"x","ttl":7}}]}]`: "messages[0].content[0].cache_control.ttl: must be a string, got a JSON number",
	} {
		if _, _, err := providers.ReadMessages(json.RawMessage(form)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", form, err, want)
		}
	}
}

func TestToolsAreTheSameInEachVendorsForm(t *testing.T) {
	t.Parallel()
	yes := true
	want := []providers.Tool{{Name: "f", Description: "d", Parameters: json.RawMessage(`{"b":1,"a":2}`), Strict: &yes}}
	for _, form := range []string{
		`[{"name":"f","description":"d","parameters":{"b":1,"a":2},"strict":true}]`,
		`[{"type":"function","function":{"name":"f","description":"d","parameters":{"b":1,"a":2},"strict":true}}]`,
		`[{"type":"function","name":"f","description":"d","parameters":{"b":1,"a":2},"strict":true}]`,
		`[{"name":"f","description":"d","input_schema":{"b":1,"a":2},"strict":true,"type":"custom"}]`,
	} {
		got, unknown, err := providers.ReadTools(json.RawMessage(form))
		if err != nil || len(unknown) > 0 {
			t.Errorf("%s: %v, %q", form, err, unknown)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", form, diff)
		}
	}
	for form, want := range map[string]string{
		`[{"name":"f","defer_loading":true}]`: "tools[0].defer_loading",
	} {
		if _, unknown, err := providers.ReadTools(json.RawMessage(form)); err != nil || len(unknown) == 0 || unknown[0] != want {
			t.Errorf("%s: %q, %v, want %s", form, unknown, err, want)
		}
	}
	for _, form := range []string{`{"type":"web_search_20250305","name":"web_search"}`, `{"type":"custom","custom":{"name":"n"}}`} {
		got, unknown, err := providers.ReadTools(json.RawMessage("[" + form + "]"))
		if err != nil || len(unknown) > 0 || len(got) != 1 || string(got[0].Own) != form {
			t.Errorf("%s: %+v, %q, %v", form, got, unknown, err)
		}
		kept, err := json.Marshal(got)
		again, _, errAgain := providers.ReadTools(kept)
		if err != nil || errAgain != nil || cmp.Diff(got, again) != "" {
			t.Errorf("%s: kept as %s, which is read as %+v, %v", form, kept, again, errAgain)
		}
	}
	for form, want := range map[string]providers.ToolChoice{
		`"auto"`: {Mode: "auto"}, `{"type":"auto"}`: {Mode: "auto"}, `"required"`: {Mode: "required"}, `{"type":"any"}`: {Mode: "required"},
		`{"type":"tool","name":"f"}`: {Mode: "tool", Name: "f"}, `{"type":"function","function":{"name":"f"}}`: {Mode: "tool", Name: "f"},
		`{"type":"function","name":"f"}`: {Mode: "tool", Name: "f"}, `{"mode":"tool","name":"f"}`: {Mode: "tool", Name: "f"},
	} {
		got, parallel, unknown, err := providers.ReadToolChoice(json.RawMessage(form))
		if err != nil || len(unknown) > 0 || parallel != nil || *got != want {
			t.Errorf("%s: %+v, %v, %q, %v", form, got, parallel, unknown, err)
		}
	}
	if _, parallel, _, err := providers.ReadToolChoice(json.RawMessage(`{"type":"any","disable_parallel_tool_use":true}`)); err != nil || parallel == nil || *parallel {
		t.Errorf("one at a time: %v, %v", parallel, err)
	}
}

func TestMediaAreMeasuredByTheirBytes(t *testing.T) {
	t.Parallel()
	webp := "RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x7f\x02\x00\xdf\x01\x00"
	if w, h, ok := providers.PictureSize([]byte(webp)); !ok || w != 640 || h != 480 {
		t.Errorf("a WebP of 640x480 is %dx%d, %v", w, h, ok)
	}
	gif := "GIF89a\x40\x01\xf0\x00\x00\x00\x00"
	if w, h, ok := providers.PictureSize([]byte(gif)); !ok || w != 320 || h != 240 {
		t.Errorf("a GIF of 320x240 is %dx%d, %v", w, h, ok)
	}
	if _, _, ok := providers.PictureSize([]byte("words")); ok {
		t.Error("words have a size")
	}
	for pdf, want := range map[string]int{
		"%PDF-1.4 <</Type /Pages /Count 2>> <</Type /Page >> <</Type/Page/Parent 1 0 R>>": 2,
		"%PDF-1.4 <</Type/Page >>":                                     1,
		"%PDF-1.4 <</Type/Pages/Kids[]/Count 31>>":                     31,
		"%PDF-1.5 <</Type/ObjStm/Filter/FlateDecode>>stream\nbroken":   0,
		"%PDF-1.5 <</Type/Page>> <</Type/ObjStm>> and nothing follows": 0,
	} {
		if got := providers.PDFPages([]byte(pdf)); got != want {
			t.Errorf("%q has %d pages, want %d", pdf, got, want)
		}
	}
	if got := providers.SoundSeconds([]byte(strings.Repeat("x", 9999))); got != 10 {
		t.Errorf("an unknown sound of 9,999 bytes may last %d s, want 10", got)
	}
}
