package app_test

import (
	"testing"

	"oneflow/config"
	"oneflow/internal/app"
	"oneflow/internal/storetest"
	"oneflow/providers"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

func parse(t *testing.T, text string) config.Config {
	t.Helper()
	cfg, err := config.Parse([]byte(text), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAModelIsTranslatedForTheNextProvider(t *testing.T) {
	t.Parallel()
	at := app.ModelAt(parse(t, `
providers:
  second: {kind: openai}
  claude: {kind: anthropic, models: {text: claude-sonnet-5}}
  vllm: {kind: openai, base_url: "http://localhost:1/v1", compatible: true, models: {text: llama}}
  bare: {kind: openai, base_url: "http://localhost:2/v1", compatible: true}
`))
	for _, c := range []struct {
		to          string
		task        providers.Task
		from, model string
		want        string // empty: it cannot
	}{
		{"openai", providers.Text, "openai", "gpt-4o", "gpt-4o"},
		{"second", providers.Text, "openai", "gpt-4o", "gpt-4o"},
		{"anthropic", providers.Text, "openai", "gpt-4o", "claude-sonnet-5-5"},
		{"anthropic", providers.Text, "openai", "something-new", "claude-haiku-5-5"},
		{"claude", providers.Text, "openai", "something-new", "claude-sonnet-5"},
		{"vllm", providers.Text, "openai", "gpt-4o", "llama"},
		{"bare", providers.Text, "openai", "gpt-4o", ""},
		{"openai", providers.Text, "vllm", "llama", "gpt-6-luna"},
		{"openai", providers.Image, "stability", "core", "gpt-image-2"},
		{"elevenlabs", providers.Audio, "openai", "tts-1-hd", "eleven_multilingual_v2"},
		{"stability", providers.Text, "openai", "gpt-4o", ""},
		{"openai", providers.Text, "gemini", "gemini-3.8-flash", "gpt-6.1-sol"},
		{"openai", providers.Transcription, "gemini", "gemini-3.8-flash", "gpt-transcribe"}, // it hears, and the model that stands in for its texts does not
		{"gemini", providers.Transcription, "openai", "gpt-4o-mini-transcribe", "gemini-3.5-flash-lite"},
		{"openai", providers.Image, "gemini", "gemini-3.1-flash-image", "gpt-image-2"},
		{"none", providers.Text, "openai", "gpt-4o", ""},
	} {
		got, ok := at(c.to, c.task, c.from, c.model)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s of %s at %s: got %q, %v, want %q", c.model, c.from, c.to, got, ok, c.want)
		}
	}
}
