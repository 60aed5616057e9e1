package wire

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// refusal is the content of a refusal's body, whoever wrote it.
type refusal struct {
	words    []string      // the vendor's codes, the most exact first
	message  string        // the vendor's sentence
	lower    string        // the sentence in lower case, without what it repeats of the request
	param    string        // the field of the request that it is about
	id       string        // of the request, where the body tells it
	retry    time.Duration // how long to wait, where the body says so
	status   int           // an HTTP status in the place of a code; 0 where there is none
	json     bool          // it is JSON at all
	reported bool          // it holds an error where a success would not
}

func (r *refusal) has(word string) bool { return slices.Contains(r.words, word) }

// code returns the first word that may be shown.
func (r *refusal) code() string {
	for _, w := range r.words {
		if c := SanitiseCode(w); c != "" {
			return c
		}
	}
	return ""
}

// parseRefusal finds what is said in these bodies, and nothing in any other:
//
//	OpenAI      {"error":{"message","type","param","code"}}
//	Anthropic   {"type":"error","error":{"type","message"},"request_id"}
//	Stability   {"id","name","errors":["text"]}
//	ElevenLabs  {"detail":{"status","message"}}, {"detail":{"type","code","message","request_id"}},
//	            {"detail":[{"loc","msg","type"}]}
//	Google      [{"error":{"code":400,"message","status","details":[{"reason"},{"retryDelay":"17s"}]}}]
//	OpenRouter  {"error":{"code":403,"message","metadata":{"raw"}}}
//	others      {"error":"text"}, {"detail":"text"}, {"message","type","code":400}, {"error":{"innererror":{"code"}}}
func parseRefusal(body []byte) refusal {
	body = trimmed(body)
	top := object(firstOf(body))
	inner := top
	for _, name := range []string{"error", "detail"} {
		if o := object(firstOf(top[name])); o != nil {
			inner = o
			break
		}
	}
	r := refusal{json: json.Valid(body) && len(body) > 0}
	for _, name := range []string{"error", "errors", "detail"} {
		switch string(bytes.TrimSpace(top[name])) {
		case "", "null", "[]", "{}", `""`, "false":
		default:
			r.reported = true
		}
	}
	for _, name := range []string{"code", "status", "type", "name"} {
		// Compatible servers repeat the status as a code, in digits: no word.
		if w := text(inner[name]); strings.Trim(w, "0123456789") != "" {
			r.words = append(r.words, w)
		}
	}
	for _, name := range []string{"code", "status"} {
		n, err := strconv.Atoi(strings.Trim(string(inner[name]), `"`))
		if r.status == 0 && err == nil && n >= http.StatusBadRequest && n <= 599 {
			r.status = n
		}
	}
	r.further(inner)
	messages := []json.RawMessage{inner["message"], inner["msg"], top["message"], top["error"], top["detail"], firstOf(top["errors"])}
	for _, m := range messages {
		if r.message == "" {
			r.message = text(m)
		}
	}
	if r.message == "" && !r.json && !looksLikePage(body) {
		r.message = string(body[:min(len(body), 4*longestReason)]) // a line of a gateway's
	}
	if r.retry == 0 {
		r.retry = saidWait(r.message)
	}
	for _, id := range []json.RawMessage{inner["request_id"], top["request_id"], top["id"]} {
		if r.id == "" {
			r.id = plainWord(text(id), 128)
		}
	}
	return r
}

// further reads what stands beside the code and the sentence: the parameter, the
// reasons of Google and Azure, and what OpenRouter passes on of another vendor.
func (r *refusal) further(inner map[string]json.RawMessage) {
	r.param = plainParam(text(inner["param"]))
	if r.param == "" {
		var path []json.RawMessage
		_ = json.Unmarshal(inner["loc"], &path) // ElevenLabs; no list is no path
		var names []string
		for _, p := range path {
			names = append(names, strings.Trim(string(p), `"`))
		}
		r.param = plainParam(strings.Join(names, "."))
	}
	if w := text(object(inner["innererror"])["code"]); w != "" {
		r.words = append(r.words, w)
	}
	var details []map[string]json.RawMessage
	_ = json.Unmarshal(inner["details"], &details) // of another form: no details
	for _, d := range details {
		if w := text(d["reason"]); w != "" {
			r.words = append([]string{w}, r.words...)
		}
		if wait, err := time.ParseDuration(text(d["retryDelay"])); err == nil && wait > 0 {
			r.retry = min(wait, maxWait)
		}
	}
}

// plainParam lets the name of a field pass: a word, with its path and its indices.
func plainParam(s string) string {
	if plainWord(strings.NewReplacer("[", "", "]", "").Replace(s), 64) == "" {
		return ""
	}
	return s
}

// trimmed is a body without blanks and the byte order mark that some gateways put
// before it.
func trimmed(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf")))
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
