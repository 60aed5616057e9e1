package kinds_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/kinds"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

const (
	hostileKey    = "the-key-that-nobody-may-see"
	hostilePrompt = "the prompt that nobody may see"
)

// hostile is an answer that no service should give.
type hostile struct {
	answer http.HandlerFunc
	// unbilled says that it is certain that nothing is charged.
	unbilled bool
}

// says answers with a status, a media type and a body.
func says(status int, mediaType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func hostiles(elsewhere string) map[string]hostile {
	const json, both = "application/json", hostileKey + " " + hostilePrompt
	redirect := func(status int) hostile {
		return hostile{func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, status) }, true}
	}
	var zeros bytes.Buffer
	z := gzip.NewWriter(&zeros)
	for range 64 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	all := map[string]hostile{
		"events where JSON was asked for": {says(200, "text/event-stream", "event: message\ndata: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n"), false},
		"a refusal under 200":             {says(200, json, `{"error":{"message":"no: `+both+`","type":"server_error","code":"server_error","status":"INTERNAL"}}`), false},
		"null":                            {says(200, json, `null`), false},
		"a list":                          {says(200, json, `[{"a":1}]`), false},
		"a number":                        {says(200, json, `-1e400`), false},
		"a text":                          {says(200, json, `"`+both+`"`), false},
		"nothing":                         {says(200, json, ``), false},
		"no content":                      {says(204, json, ``), false},
		"a million brackets":              {says(200, json, strings.Repeat("[", 1<<20)), false},
		"a million objects":               {says(200, json, strings.Repeat(`{"error":`, 1<<17)), false},
		"two answers":                     {says(200, json, `{"choices":1}{"content":2}`), false},
		"the byte 0":                      {says(200, json, "\x00\x00"), false},
		"another type":                    {says(200, "application/octet-stream", both), false},
		"the key in a refusal":            {says(401, json, `{"error":{"message":"Incorrect API key provided: `+both+`","code":"`+hostileKey+`"},"detail":{"status":"`+hostileKey+`","message":"`+both+`"},"name":"`+hostileKey+`","errors":["`+both+`"]}`), true},
		"a page with the key":             {says(403, "text/html", "<html><title>"+both+"</title>"), true},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, `{"choices":[`)
		}, false},
		"gigantic": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", json)
			_, _ = io.WriteString(w, `{"x":"`)
			for range 48 {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
					return
				}
			}
		}, false},
		"gigantic when it is unpacked": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", json)
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zeros.Bytes())
		}, false},
		"gigantic headers": {func(w http.ResponseWriter, _ *http.Request) {
			for i := range 2000 {
				w.Header().Set(fmt.Sprintf("X-Header-%d", i), strings.Repeat("x", 1000))
			}
			w.WriteHeader(http.StatusOK)
		}, false},
		"headers that promise anything": {func(w http.ResponseWriter, _ *http.Request) {
			for _, name := range []string{
				"Retry-After", "Retry-After-Ms", "Request-Id", "X-Request-Id", "Character-Cost", "Finish-Reason",
				"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests",
				"Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining",
			} {
				w.Header().Set(name, "-99999999999999999999")
			}
			w.Header().Set("Content-Type", json)
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"error":{"message":"`+both+`"}}`)
		}, true},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		all[fmt.Sprintf("a redirect with %d", status)] = redirect(status)
	}
	return all
}

// TestAHostileServiceGetsNoSuccessAndNoSecretOut has services of each kind answer in ways that they
// never should, to a request of each task.
func TestAHostileServiceGetsNoSuccessAndNoSecretOut(t *testing.T) {
	t.Parallel()
	var strayed atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	t.Cleanup(elsewhere.Close)
	t.Cleanup(func() {
		if n := strayed.Load(); n > 0 {
			t.Errorf("%d requests went where an answer has sent them", n)
		}
	})
	for _, d := range kinds.All() {
		if d.Local {
			continue
		}
		for name, h := range hostiles(elsewhere.URL) {
			t.Run(d.Kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				server := httptest.NewServer(h.answer)
				defer server.Close()
				p, err := d.New(providers.ClientConfig{
					Name: "p", BaseURL: server.URL, Client: wire.NewClient(wire.Config{}),
					Key: func(context.Context) (string, error) { return hostileKey, nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				for task, can := range d.Capabilities().Tasks {
					req := providertest.Least(providers.Request{Task: task, Model: cmp.Or(can.DefaultModel, "m"), Prompt: hostilePrompt})
					checkHostile(t, p, req, h.unbilled)
				}
			})
		}
	}
}

func checkHostile(t *testing.T, p providers.Provider, req providers.Request, unbilled bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	res, err := p.Generate(ctx, req)
	e, ok := errors.AsType[*providers.Error](err)
	switch {
	case err == nil:
		t.Errorf("%s: taken for a success: %.200q, %d blobs", req.Task, res.Text, len(res.Blobs))
		return
	case !ok || e.Kind == "" || e.Billing == "" || e.RetryAfter < 0:
		t.Errorf("%s: an error of another sort: %#v", req.Task, err)
		return
	case !e.Sent:
		t.Errorf("%s: said not to have been sent: %v", req.Task, err)
	case unbilled != (e.Billing == providers.Unbilled):
		t.Errorf("%s: %s (%s), want unbilled: %t", req.Task, e.Billing, err, unbilled)
	}
	for _, said := range []string{err.Error(), e.Explain(), e.Reason, e.Code, e.RequestID} {
		if strings.Contains(said, hostileKey) || strings.Contains(said, hostilePrompt) || len(said) > 1000 {
			t.Errorf("%s: tells too much: %.300q", req.Task, said)
		}
	}
	if int64(len(e.Body)) > wire.MaxAnswer {
		t.Errorf("%s: %d bytes are kept", req.Task, len(e.Body))
	}
	for unit, n := range e.Usage.Quantities() {
		if n < 0 {
			t.Errorf("%s: %d %s", req.Task, n, unit)
		}
	}
}
