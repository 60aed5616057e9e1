package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"oneflow/providers"
)

// fuzzedCalls is the number of times that a fuzzed service answers before the caller goes away: a
// film that is never ready would be asked for again and again.
const fuzzedCalls = 4

// lowest is the first status of fuzzed answers: 0 stands for it.
const lowest = 200

// fuzzSecret stands in the key and in the prompt of fuzzed calls.
const fuzzSecret = "the-canary-of-the-fuzz"

// FuzzAnswers holds that a client stands any answer: it does not panic, makes of
// it either a response that can be used or an *providers.Error, takes no refusal
// for a success, never counts less than nothing, and shows neither the key, nor the
// prompt, nor what the service wrote beyond a word.
//
// requests may be asked, and hold no prompts. create makes the client; each of
// its calls is to go through transport. bodies are seeds.
func FuzzAnswers(f *testing.F, requests []providers.Request, create func(transport *http.Client, key string) (providers.Provider, error), bodies ...string) {
	f.Helper()
	const ok, tooMany = http.StatusOK - lowest, http.StatusTooManyRequests - lowest
	for i := range requests {
		for _, body := range bodies {
			f.Add(uint8(i), uint16(ok), "application/json", "12", []byte(body))
			f.Add(uint8(i), uint16(tooMany), "application/json", "12", []byte(body))
		}
		f.Add(uint8(i), uint16(ok), "image/png", "1s", []byte("\x89PNG\r\n\x1a\n and so on"))
		f.Add(uint8(i), uint16(ok), "audio/mpeg", "-1", []byte("ID3\x04 and so on"))
		f.Add(uint8(i), uint16(ok), "video/mp4", "", []byte("\x00\x00\x00\x18ftypmp42 and so on"))
		f.Add(uint8(i), uint16(ok), "text/html", "CONTENT_FILTERED", []byte("<html>"+fuzzSecret))
		f.Add(uint8(i), uint16(tooMany), "application/json", "99999999999", []byte(`{"error":{"message":"`+fuzzSecret+`","code":"`+fuzzSecret+`x y"},"detail":{"status":"quota_exceeded"}}`))
	}
	f.Fuzz(func(t *testing.T, which uint8, status uint16, mediaType, header string, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		answers := &fuzzedService{status: lowest + int(status)%400, mediaType: mediaType, header: header, body: body, cancel: cancel}
		p, err := create(&http.Client{Transport: answers, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, fuzzSecret)
		if err != nil {
			t.Fatal(err)
		}
		req := requests[int(which)%len(requests)]
		req.Prompt = fuzzSecret
		res, err := p.Generate(ctx, req)
		if err == nil {
			checkFuzzed(t, p, answers, res)
			return
		}
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Kind == "" || e.Billing == "" || e.RetryAfter < 0 {
			t.Fatalf("an error of another sort: %#v", err)
		}
		// A code and an id are words, whatever the service made of them.
		text := err.Error()
		for _, word := range []string{e.Code, e.RequestID} {
			if len(word) > 128 || strings.ContainsAny(word, " \t\r\n\"") {
				t.Errorf("this is no word: %.200q", word)
			}
			if word != "" {
				text = strings.ReplaceAll(text, word, "")
			}
		}
		if reason := e.Explain(); len([]rune(e.Reason)) > 300 || strings.Contains(reason, fuzzSecret) && !strings.Contains(e.Code+e.RequestID, fuzzSecret) {
			t.Errorf("the explanation tells too much: %.1000q", reason)
		}
		if len(text) > 500 || strings.Contains(text, fuzzSecret) {
			t.Errorf("the error tells too much: %.600q", err)
		}
	})
}

// checkFuzzed holds a response against the answer that it was read from.
func checkFuzzed(t *testing.T, p providers.Provider, s *fuzzedService, res providers.Response) {
	t.Helper()
	for problem, found := range map[string]bool{
		"a refusal was taken for a success": s.status > 299,
		"it names another provider":         res.Provider != p.Name(),
		"it names no model":                 res.Model == "",
		"it holds nothing":                  res.Text == "" && len(res.Blobs) == 0 && !callsTool(s.body),
		"its body is another":               res.Raw != nil && !bytes.Equal(res.Raw, s.body),
	} {
		if found {
			t.Errorf("%s: %+v", problem, summary(res))
		}
	}
	for unit, n := range res.Usage.Quantities() {
		if n < 0 {
			t.Errorf("%s: %d", unit, n)
		}
	}
	for _, b := range res.Blobs {
		if len(b.Data) == 0 || b.MIME == "" {
			t.Errorf("an empty blob, or of no kind: %q", b.MIME)
		}
	}
}

// callsTool reports whether the answer asks for a tool: its body is the result.
func callsTool(body []byte) bool {
	var v any
	if json.Unmarshal(body, &v) != nil {
		return false
	}
	text := fmt.Sprint(v)
	return strings.Contains(text, "tool") || strings.Contains(text, "functionCall")
}

// fuzzedService answers everything alike.
type fuzzedService struct {
	status            int
	mediaType, header string
	body              []byte
	calls             int
	cancel            context.CancelFunc
}

// RoundTrip implements http.RoundTripper.
func (s *fuzzedService) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	if s.calls++; s.calls > fuzzedCalls {
		s.cancel()
		return nil, context.Canceled
	}
	h := http.Header{"Content-Type": {s.mediaType}}
	for _, name := range []string{
		"Retry-After", "Request-Id", "X-Request-Id", "Finish-Reason", "Character-Cost",
		"X-Ratelimit-Reset-Tokens", "X-Ratelimit-Limit-Requests", "Anthropic-Ratelimit-Requests-Reset",
	} {
		h.Set(name, s.header)
	}
	return &http.Response{
		Status: http.StatusText(s.status), StatusCode: s.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(s.body)), ContentLength: int64(len(s.body)), Request: req,
	}, nil
}
