package providers

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAFieldThatStandsTwiceIsFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`: "",
		`{"a":1,"b":[{"a":1},{"a":2}],"c":{"a":null}}`: "",
		`{"model":"cheap","model":"dear"}`:             "model",
		`{"stream":true,"STREAM":false}`:               "STREAM",
		`{"a":{"id":1,"ID":2}}`:                        "", // names of a schema's properties may differ so
		`{"messages":[{"role":"user","content":"short"},{"role":"user","content":"long","content":"short"}]}`: "messages[1].content",
		`{"a":[[{"b":1}],[1,{"b":{"c":1,"c":2}}]]}`:                                                           "a[1][1].b.c",
		`{"a":1,"\u0061":2}`:        "a",
		`{"a":"{\"a\":1,\"a\":2}"}`: "",
	} {
		if got := repeated(json.RawMessage(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	deep := strings.Repeat(`{"a":[`, 4000) + strings.Repeat(`]}`, 4000)
	if got := repeated(json.RawMessage(deep)); got != "" {
		t.Errorf("%.100q", got)
	}
}

func BenchmarkRepeated(b *testing.B) {
	body := json.RawMessage(`{"model":"gpt-6-luna","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"` + strings.Repeat("a word ", 100) + `"}],"max_tokens":200,"temperature":0.5}`)
	for b.Loop() {
		if repeated(body) != "" {
			b.Fatal("found")
		}
	}
}
