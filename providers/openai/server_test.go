package openai_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
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

func provider(t *testing.T, s *providertest.Recorder, changes ...change) *openai.Provider {
	t.Helper()
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	config := openai.Config{
		Name: "mine", BaseURL: s.URL + "/v1", Client: client, PollEvery: time.Millisecond,
		Key: wire.Given(secret),
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
	return providertest.Fail(t, p, req, secret, prompt)
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
