package anthropic_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/wire"
)

const (
	secret  = "sk-ant-canary-of-the-key"
	prompt  = "canary of the prompt"
	message = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001",
	"content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Hi "},{"type":"text","text":"there"}],
	"stop_reason":"end_turn","stop_sequence":null,
	"usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":40,
		"output_tokens_details":{"thinking_tokens":15}}}`
)

// call is a request as the server got it.
type call struct {
	method, path string
	query        string
	header       http.Header
	body         []byte
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
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Request-Id", "req_1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func provider(t *testing.T, s *server, changes ...func(*anthropic.Config)) *anthropic.Provider {
	t.Helper()
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	config := anthropic.Config{
		Name: "mine", BaseURL: s.URL, Client: client,
		Key: func(context.Context) (string, error) { return secret, nil },
	}
	for _, c := range changes {
		c(&config)
	}
	p, err := anthropic.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// failure makes a call that must fail, and checks what must hold of any failure.
func failure(t *testing.T, p *anthropic.Provider, req providers.Request) *providers.Error {
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

func generate(t *testing.T, p *anthropic.Provider, req providers.Request) providers.Response {
	t.Helper()
	res, err := p.Generate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func text() providers.Request { return providers.Request{Task: providers.Text, Prompt: prompt} }
