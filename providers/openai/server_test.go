package openai_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/wire"
)

const (
	secret = "sk-canary-of-the-key"
	prompt = "canary of the prompt"
)

const (
	png   = "\x89PNG\r\n\x1a\n and so on"
	mp3   = "ID3\x04 and so on"
	mp4   = "\x00\x00\x00\x18ftypmp42 and so on"
	png64 = "iVBORw0KGgogYW5kIHNvIG9u"
)

// call is a request as the server got it.
type call struct {
	method, path, query string
	header              http.Header
	body                []byte
}

// server keeps the calls that it got.
type server struct {
	*httptest.Server

	mu    sync.Mutex
	calls []call
}

func (s *server) got() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]call(nil), s.calls...)
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.calls = append(s.calls, call{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), body})
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// says answers every call with a status and a body.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Request-Id", "req_1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func saysJSON(body string) http.HandlerFunc { return says(http.StatusOK, "application/json", body) }

type change func(*openai.Config)

func compatible(c *openai.Config) { c.Compatible = true }

func provider(t *testing.T, s *server, changes ...change) *openai.Provider {
	t.Helper()
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	config := openai.Config{
		Name: "mine", BaseURL: s.URL + "/v1", Client: client, PollEvery: time.Millisecond,
		Key: func(context.Context) (string, error) { return secret, nil },
	}
	for _, c := range changes {
		c(&config)
	}
	p, err := openai.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// failure makes a call that must fail, and checks what must hold of any failure.
func failure(t *testing.T, p *openai.Provider, req providers.Request) *providers.Error {
	t.Helper()
	_, err := p.Generate(t.Context(), req)
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("Generate() error = %T %v, want a *providers.Error", err, err)
	}
	for _, hidden := range []string{secret, prompt} {
		if strings.Contains(e.Error(), hidden) {
			t.Errorf("error text %q holds %q", e.Error(), hidden)
		}
	}
	if e.Provider != "mine" {
		t.Errorf("error names provider %q", e.Provider)
	}
	return e
}

func generate(t *testing.T, p *openai.Provider, req providers.Request) providers.Response {
	t.Helper()
	res, err := p.Generate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func sameJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%v in %s", err, want)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("request differs (-want +got):\n%s", diff)
	}
}

func text() providers.Request { return providers.Request{Task: providers.Text, Prompt: prompt} }

func image() providers.Request { return providers.Request{Task: providers.Image, Prompt: prompt} }

func audio() providers.Request {
	return providers.Request{Task: providers.Audio, Model: "tts-1", Prompt: prompt}
}

func video() providers.Request { return providers.Request{Task: providers.Video, Prompt: prompt} }

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), 500*time.Millisecond)
}
