package wire

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// refusal is what was found in the body of a refusal, whoever wrote it.
type refusal struct {
	words   []string // the vendor's codes, the most exact first
	message string   // in lower case
	id      string   // of the request, where the body tells it
}

func (r refusal) has(word string) bool { return slices.Contains(r.words, word) }

// code returns the first word that may be shown.
func (r refusal) code() string {
	for _, w := range r.words {
		if c := SanitiseCode(w); c != "" {
			return c
		}
	}
	return ""
}

// parseRefusal finds the codes in these bodies, and nothing in any other:
//
//	OpenAI      {"error":{"message","type","param","code"}}
//	Anthropic   {"type":"error","error":{"type","message"},"request_id"}
//	Stability   {"id","name","errors":["text"]}
//	ElevenLabs  {"detail":{"status","message"}}, {"detail":{"type","code","message","request_id"}},
//	            {"detail":[{"loc","msg","type"}]}
//	others      {"error":"text"}, {"detail":"text"}, {"message","type","code":400}, [{"error":{…}}]
func parseRefusal(body []byte) refusal {
	top := object(firstOf(body))
	inner := top
	for _, name := range []string{"error", "detail"} {
		if o := object(firstOf(top[name])); o != nil {
			inner = o
			break
		}
	}
	r := refusal{}
	for _, name := range []string{"code", "status", "type", "name"} {
		// Compatible servers repeat the status as a code, in digits: no word.
		if w := text(inner[name]); strings.Trim(w, "0123456789") != "" {
			r.words = append(r.words, w)
		}
	}
	messages := []json.RawMessage{inner["message"], inner["msg"], top["error"], top["detail"], firstOf(top["errors"])}
	for _, m := range messages {
		if r.message == "" {
			r.message = strings.ToLower(text(m))
		}
	}
	for _, id := range []json.RawMessage{inner["request_id"], top["request_id"], top["id"]} {
		if r.id == "" {
			r.id = plainWord(text(id), 128)
		}
	}
	return r
}

// firstOf returns the first element of a list, and anything else as it is.
func firstOf(data []byte) []byte {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return data
	}
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil || len(list) == 0 {
		return nil
	}
	return list[0]
}

func object(data []byte) map[string]json.RawMessage {
	var o map[string]json.RawMessage
	if json.Unmarshal(data, &o) != nil {
		return nil
	}
	return o
}

func text(data []byte) string {
	var s string
	if json.Unmarshal(data, &s) != nil {
		return ""
	}
	return s
}
