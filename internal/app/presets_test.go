package app_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"oneflow/config"
	"oneflow/internal/app"
	"oneflow/providers"
)

func TestWhatTheConfigurationSaysOfAProviderReachesIt(t *testing.T) {
	t.Parallel()
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(r.Context())
		_, _ = w.Write([]byte(`{"choices":[{"message":{"content":"hi"}}],"content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}`))
	}))
	t.Cleanup(server.Close)
	cfg, err := config.Parse([]byte(`
keys: `+filepath.Join(t.TempDir(), "none.json")+`
providers:
  azure: {base_url: "`+server.URL+`", deployment: luna-eu, api_version: 2024-10-21, headers: {X-Team: growth}}
  openai: {base_url: "`+server.URL+`/v1", organization: org-1, project: proj-1}
  anthropic: {base_url: "`+server.URL+`", betas: [one-2026-01-01], max_tokens: 9000}
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"AZURE_API_KEY": "k-azure", "OPENAI_API_KEY": "sk-0123456789abcdef0123456789", "ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef0123456789"}
	store, err := app.OpenKeys(func(name string) string { return env[name] }, cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	usable, keyless := app.Usable(cfg, store)
	for _, name := range []string{"azure", "openai", "anthropic", "mock"} { // a new kind may be usable, too
		if !slices.Contains(usable, name) {
			t.Errorf("usable %v, want %s among them", usable, name)
		}
	}
	if slices.Contains(usable, "gemini") || !slices.Contains(keyless, "gemini") {
		t.Errorf("usable %v, without a key %v: gemini has no key", usable, keyless)
	}
	for name, want := range map[string]struct {
		uri     string
		headers map[string]string
	}{
		"azure":     {"/openai/deployments/luna-eu/chat/completions?api-version=2024-10-21", map[string]string{"Api-Key": "k-azure", "X-Team": "growth", "Authorization": ""}},
		"openai":    {"/v1/chat/completions", map[string]string{"Openai-Organization": "org-1", "Openai-Project": "proj-1"}},
		"anthropic": {"/v1/messages", map[string]string{"Anthropic-Beta": "one-2026-01-01"}},
	} {
		client, err := app.ClientAt(cfg, name, "", store)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Generate(t.Context(), providers.Request{Task: providers.Text, Model: "m", Prompt: "p"}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.RequestURI != want.uri {
			t.Errorf("%s: %s, want %s", name, got.RequestURI, want.uri)
		}
		for header, value := range want.headers {
			if got.Header.Get(header) != value {
				t.Errorf("%s: %s is %q, want %q", name, header, got.Header.Get(header), value)
			}
		}
	}
}
