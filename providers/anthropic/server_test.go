package anthropic_test

import (
	"io"
	"net/http"
	"testing"

	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
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

// says answers every call with a status and a body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Request-Id", "req_1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func provider(t *testing.T, s *providertest.Recorder, changes ...func(*anthropic.Config)) *anthropic.Provider {
	t.Helper()
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	config := anthropic.Config{
		Name: "mine", BaseURL: s.URL, Client: client,
		Key: wire.Given(secret),
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
	return providertest.Fail(t, p, req, secret, prompt)
}

func text() providers.Request { return providers.Request{Task: providers.Text, Prompt: prompt} }
