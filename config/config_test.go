package config_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/config"
	"oneflow/internal/golden"
	"oneflow/providers/kinds"
)

func parse(t *testing.T, text string) config.Config {
	t.Helper()
	c, err := config.Parse([]byte(text), "oneflow.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// nothing is an environment without variables.
func nothing(string) string { return "" }

// builtIn are the providers that are there without being named: these, and other
// kinds with what they say of themselves.
func builtIn() map[string]config.Provider {
	all := map[string]config.Provider{}
	for _, d := range kinds.All() {
		p := config.Provider{Kind: d.Kind, Burst: 1, Latency: config.Duration(d.Latency), Simulated: d.Local}
		if d.Local {
			p.Mock = &config.Mock{Latency: p.Latency}
		}
		if !d.Compatible {
			all[d.Kind] = p
		}
	}
	remote := func(kind string, latency time.Duration) config.Provider {
		return config.Provider{Kind: kind, Burst: 1, Latency: config.Duration(latency)}
	}
	mock := remote("mock", 50*time.Millisecond)
	mock.Simulated, mock.Mock = true, &config.Mock{Latency: config.Duration(50 * time.Millisecond)}
	maps.Copy(all, map[string]config.Provider{
		"mock": mock, "openai": remote("openai", 5*time.Second), "anthropic": remote("anthropic", 5*time.Second),
		"stability": remote("stability", 8*time.Second), "elevenlabs": remote("elevenlabs", 3*time.Second),
	})
	return all
}

func TestNothingWrittenGivesTheDefaults(t *testing.T) {
	t.Parallel()
	want := config.Config{
		Providers: builtIn(), Artifacts: ".oneflow/artifacts", Keys: ".api_keys.json", State: ".oneflow",
		CallTimeout: config.Duration(2 * time.Minute), Drain: config.Duration(30 * time.Second),
		Chains: map[string][]string{
			"text": {"openai", "anthropic", "gemini"}, "image": {"stability", "openai", "gemini"}, "audio": {"elevenlabs"},
			"embedding": {"openai"}, "transcription": {"openai", "gemini"}, "video": {"gemini"},
		},
	}
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "providers: {}\n", "providers:\n  mock:\n", "providers:\n  openai: {}\n", "drain:\nartifacts: \"\"\n"} {
		got := parse(t, text)
		got.FallbackModels = nil // see TestAModelHasAStandInAtOtherProviders
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestWhatIsWrittenHoldsAndTheRestKeepsItsDefault(t *testing.T) {
	t.Parallel()
	c := parse(t, `
artifacts: s3://bucket
keys: /run/keys.json
state: /var/lib/oneflow
prices: my prices.yaml
proxy: http://proxy:3128
ca_file: /etc/ssl/own.pem
call_timeout: 90s
drain: 1m30s
chains: {text: [anthropic, vllm], video: [vllm]}
fallback_models: {gpt-4o: {vllm: llama}}
providers:
  slow:
    kind: mock
    limits: {rpm: 0, tpm: 5e4}
    burst: 3
    min_concurrency: 2
    max_concurrency: 20
    dispatch_window: 500
    latency: 2s
    concurrency: 7
    mock: {error_rate: 0.25, rpm: 10, max_concurrent: 3, call_log: /tmp/a b.log}
  vllm: {kind: openai, base_url: "http://localhost:8000/v1", compatible: true, simulated: true, key_header: api-key, models: {text: llama}}
  anthropic: {limits: {rpm: 4000}}
`)
	want := config.Config{
		Artifacts: "s3://bucket", Keys: "/run/keys.json", State: "/var/lib/oneflow", Prices: "my prices.yaml", Proxy: "http://proxy:3128", CAFile: "/etc/ssl/own.pem",
		CallTimeout: config.Duration(90 * time.Second), Drain: config.Duration(90 * time.Second), Providers: builtIn(),
		Chains: map[string][]string{
			"text": {"anthropic", "vllm"}, "image": {"stability", "openai", "gemini"}, "audio": {"elevenlabs"}, "video": {"vllm"},
			"embedding": {"openai"}, "transcription": {"openai", "gemini"},
		},
	}
	want.Providers["slow"] = config.Provider{
		Kind: "mock", Simulated: true, Limits: config.Limits{RPM: new(int64(0)), TPM: new(int64(50_000))}, Burst: 3, Latency: config.Duration(2 * time.Second),
		Concurrency: 7, MinConcurrency: 2, MaxConcurrency: 20, DispatchWindow: 500,
		Mock: &config.Mock{Latency: config.Duration(2 * time.Second), ErrorRate: 0.25, RPM: 10, MaxConcurrent: 3, CallLog: "/tmp/a b.log"},
	}
	want.Providers["vllm"] = config.Provider{
		Kind: "openai", Burst: 1, Latency: config.Duration(5 * time.Second), Simulated: true,
		BaseURL: "http://localhost:8000/v1", Compatible: true, KeyHeader: "api-key", Models: map[string]string{"text": "llama"},
	}
	want.Providers["anthropic"] = config.Provider{Kind: "anthropic", Limits: config.Limits{RPM: new(int64(4000))}, Burst: 1, Latency: config.Duration(5 * time.Second)}
	for _, stand := range [][3]string{{"gpt-4o", "vllm", "llama"}, {"gpt-4o", "anthropic", "claude-sonnet-5-5"}} {
		if got, _ := c.StandIn(stand[0], stand[1]); got != stand[2] {
			t.Errorf("%s at %s: got %q, want %q", stand[0], stand[1], got, stand[2])
		}
	}
	c.FallbackModels = nil
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTheEnvironmentGivesAddressesThatTheFileLeavesOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oneflow.yaml")
	if err := os.WriteFile(path, []byte(`
providers:
  anthropic: {base_url: "https://in.the.file/v1"}
  stability: {kind: mock}
  vllm: {kind: openai, base_url: "http://localhost:8000/v1", compatible: true}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"OPENAI_BASE_URL": "https://proxy/v1", "ANTHROPIC_BASE_URL": "https://env", "STABILITY_BASE_URL": "https://env", "VLLM_BASE_URL": "https://env", "MOCK_BASE_URL": "https://env",
	}
	getenv := func(name string) string { return env[name] }
	got, err := config.Load(path, getenv)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"openai": "https://proxy/v1", "anthropic": "https://in.the.file/v1", "stability": "", "vllm": "http://localhost:8000/v1", "mock": "", "elevenlabs": ""} {
		if got := got.Providers[name].BaseURL; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	env["ONEFLOW_SIMULATED"] = "openai, vllm"
	if got, err := config.Load(path, getenv); err != nil || !got.Providers["openai"].Simulated || !got.Providers["vllm"].Simulated || got.Providers["anthropic"].Simulated {
		t.Errorf("%+v, %v", got.Providers, err)
	}
	env["ONEFLOW_SIMULATED"] = "openia"
	if _, err := config.Load(path, getenv); err == nil || !strings.HasPrefix(err.Error(), `ONEFLOW_SIMULATED: "openia" is not configured`) {
		t.Error(err)
	}
	env["ONEFLOW_SIMULATED"] = ""
	env["OPENAI_BASE_URL"] = "https://user:canary@proxy/v1"
	if _, err := config.Load(path, getenv); err == nil || !strings.HasPrefix(err.Error(), "OPENAI_BASE_URL: base_url: must be an address") || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func TestABadValueIsToldWithItsLinePathAndText(t *testing.T) {
	t.Parallel()
	configurable := strings.Join(kinds.Configurable(), ", ")
	const local = "providers:\n  local:\n    kind: mock\n    "
	for text, want := range map[string]string{
		local + "limits: {rpm: -5}":                           ":4: providers.local.limits.rpm: must be positive, got -5; 0 means no limit",
		local + "limits:\n      rps: 3\n      otpm: -1":       ":6: providers.local.limits.otpm: must be positive, got -1; 0 means no limit",
		local + "limits: {tpm: 1000000000001}":                ":4: providers.local.limits.tpm: must be at most 1000000000000, got 1000000000001; 0 means no limit",
		local + "limits: {rpm: 0.5}":                          `:4: providers.local.limits.rpm: must be a whole number, got "0.5"`,
		local + "limits: {concurrent: fast}":                  `:4: providers.local.limits.concurrent: must be a whole number, got "fast"`,
		local + "limits: {itpm: true}":                        `:4: providers.local.limits.itpm: must be a whole number, got "true"`,
		local + "model_limits: {gpt: {rpm: -1}}":              ":4: providers.local.model_limits.gpt.rpm: must be positive, got -1; 0 means no limit",
		local + "model_limits: {'a@b': {rpm: 1}}":             ":4: providers.local.model_limits: \"a@b\" is no name of a model, nor the beginning of one",
		local + "burst: 1001":                                 ":4: providers.local.burst: must be from 0 (the default) to 1000, got 1001",
		local + "dispatch_window: -1":                         ":4: providers.local.dispatch_window: must be from 0 (by itself) to 1000000, got -1",
		local + "min_concurrency: 5\n    max_concurrency: 4":  ":5: providers.local.max_concurrency: must be at least min_concurrency, which is 5, got 4",
		"drain: 1s\nchains:\n  poem: [mock]":                  ":3: chains.poem: must be text, image, audio, video",
		"chains:\n  text: [mock, openia]":                     ":2: chains.text: \"openia\" is not configured; there are " + configurable,
		"chains:\n  text: [mock, mock]":                       ":2: chains.text: mock is there twice",
		"chains:\n  text: []":                                 ":2: chains.text: must name at least one provider of anthropic,",
		"fallback_models:\n  m: {telex: n}":                   ":2: fallback_models: \"m\": \"telex\" is neither a provider nor a kind of one; there are anthropic,",
		"fallback_models: {m: {openai: ''}}":                  ":1: fallback_models: \"m\": the model at openai must have 1 to 256 bytes",
		local + "concurrency: -2":                             ":4: providers.local.concurrency: must be from 0 (by itself) to 2147483647, got -2",
		local + "concurrency: 1.5":                            `:4: providers.local.concurrency: must be a whole number, got "1.5"`,
		local + "latency: -1s":                                ":4: providers.local.latency: must be positive, got -1s",
		local + "latency: 5":                                  `:4: providers.local.latency: must be a duration such as 30s, 5m, 12h, 90d or 2w, got "5"`,
		local + "mock: {latency: -1s}":                        ":4: providers.local.mock.latency: must not be negative, got -1s",
		local + "mock: {error_rate: 1.01}":                    ":4: providers.local.mock.error_rate: must be from 0 to 1, got 1.01",
		local + "mock: {error_rate: -0.5}":                    ":4: providers.local.mock.error_rate: must be from 0 to 1, got -0.5",
		local + "mock: {error_rate: .nan}":                    `:4: providers.local.mock.error_rate: must be from 0 to 1, got ".nan"`,
		local + "mock: {error_rate: often}":                   `:4: providers.local.mock.error_rate: must be a number, got "often"`,
		local + "mock:\n      max_concurrent: -3":             ":5: providers.local.mock.max_concurrent: must not be negative, got -3",
		local + "mock:\n      latency: 1s\n      rpm: -3":     ":6: providers.local.mock.rpm: must not be negative, got -3",
		"providers:\n\n  local: {kind: telex}":                `:3: providers.local.kind: "telex" is not one of `,
		"providers:\n  telex: {}":                             `:2: providers.telex.kind: is missing: write one of ` + configurable + ` (`,
		"providers:\n  \"a b\": {kind: mock}":                 `:2: providers: "a b": a name has 1 to 40 letters, digits, - and _`,
		"providers:\n  \"a\\nb\": {kind: mock}":               `:2: providers: "a\nb": a name has 1 to 40 letters, digits, - and _`,
		"providers:\n  \"\": {kind: mock}":                    `:2: providers: "": a name has 1 to 40 letters, digits, - and _`,
		"providers:\n  " + strings.Repeat("a", 41) + ": {}":   `:2: providers: "` + strings.Repeat("a", 41) + `": a name has 1 to 40 letters, digits, - and _`,
		"providers:\n  a.b: {kind: mock}":                     `:2: providers: "a.b": a name has 1 to 40 letters, digits, - and _`,
		"providers:\n  openai:\n    base_url: localhost:8000": ":3: providers.openai.base_url: must be an address such as https://host/v1, without a user or a password",
		"providers:\n  openai: {base_url: 'https://u:p@h'}":   ":2: providers.openai.base_url: must be an address such as https://host/v1, without a user or a password",
		"providers:\n  openai: {compatible: true}":            ":2: providers.openai.compatible: needs the base_url of the server",
		"providers:\n  anthropic: {compatible: true}":         ":2: providers.anthropic.compatible: is only for kind openai",
		"providers:\n  anthropic: {key_header: k}":            ":2: providers.anthropic.key_header: is only for kind openai",
		"providers:\n  openai: {models: {poem: x}}":           ":2: providers.openai.models.poem: must be text, image, audio, video",
		"providers:\n  openai: {mock: {rpm: 1}}":              ":2: providers.openai.mock: is not for openai, only for kind ",
		local + "base_url: http://x":                          ":4: providers.local.base_url: is not for kind mock, which calls nobody",
		local + "models: {text: x}":                           ":4: providers.local.models: is not for kind mock, which has one model for each task",
		"# c\ncall_timeout: -5s":                              ":2: call_timeout: must be positive, got -5s",
		"proxy: proxy:3128":                                   ":1: proxy: must be an address such as http://proxy:3128 or socks5://proxy:1080",
		"proxy: ftp://proxy":                                  ":1: proxy: must be an address such as http://proxy:3128 or socks5://proxy:1080",
		"call_timeout: soon":                                  `:1: call_timeout: must be a duration such as 30s, 5m, 12h, 90d or 2w, got "soon"`,
		"drain: 30":                                           `:1: drain: must be a duration such as 30s, 5m, 12h, 90d or 2w, got "30"`,
		"call_timeout: 0s":                                    `:1: call_timeout: must be positive, got "0s": leave it out for the default of 2m0s`,
		"call_timeout: 1m\ndrain: 0":                          `:2: drain: must be positive, got "0": leave it out for the default of 30s, or write 1ms to cut calls off at once`,
		"retention: {results: 23h}":                           ":1: retention.results: must be a day at least, got 23h0m0s: leave it out to keep results for ever",
		"retention: {results: 7d, calls: 34d}":                ":1: retention.calls: must be five weeks at least, as budgets of a month count them, got 816h0m0s: leave it out to keep calls for ever",
		"retention: {calls: 1y}":                              ":1: retention.calls: must be no less than retention.results, which must be set, got 8760h0m0s: a call is kept as long as its jobs",
		"retention: {results: 2y, calls: 1y}":                 ":1: retention.calls: must be no less than retention.results, which must be set, got 8760h0m0s: a call is kept as long as its jobs",
		"\n\ndrain: -1ms":                                     ":3: drain: must be positive, got -1ms",
		"drain: 1s\n---\ndrain: 2s\n":                         ":3: there is a second document after ---: it would not be read",
		"drain: 1s\n---\nwhatever: [\n]":                      ":3: there is a second document after ---: it would not be read",
	} {
		_, err := config.Parse([]byte(text), "oneflow.yaml")
		if err == nil || !strings.HasPrefix(err.Error(), "config oneflow.yaml"+want) {
			t.Errorf("%s\n got: %v\nwant: config oneflow.yaml%s", text, err, want)
		}
	}
}

func TestWholeNumbersMayBeWrittenInAnyWay(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"60": 60, "1e3": 1000, "0x10": 16, "60_000": 60_000, "2.0": 2} {
		c := parse(t, "providers: {mock: {limits: {rpm: "+text+"}}}")
		if got := *c.Providers["mock"].Limits.RPM; got != want {
			t.Errorf("%s: got %d, want %d", text, got, want)
		}
	}
}

// The files in testdata are mistakes that people make; what they are told is
// beside each.
func TestMistakesPointAtTheirPlaceInTheFile(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = config.Parse(data, filepath.Base(file))
		got := fmt.Sprintf("%v\n", err)
		golden.Compare(t, strings.TrimSuffix(filepath.Base(file), ".yaml")+".golden", got)
	}
}

func TestTheFileIsOptionalOnlyWhereNobodyNamedOne(t *testing.T) {
	t.Chdir(t.TempDir())
	if c, err := config.Load("", nothing); err != nil || !slices.Equal(slices.Sorted(maps.Keys(c.Providers)), slices.Sorted(maps.Keys(builtIn()))) {
		t.Errorf("no file: %+v, %v", c, err)
	}
	if _, err := config.Load("none.yaml", nothing); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := config.Load(".", nothing); err == nil {
		t.Error("a folder is taken for a file")
	}
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("other.yaml", "drain: 7s")
	write("oneflow.yaml", "drain: 5s")
	for name, want := range map[string]time.Duration{"": 5 * time.Second, "other.yaml": 7 * time.Second} {
		if c, err := config.Load(name, nothing); err != nil || time.Duration(c.Drain) != want {
			t.Errorf("%q: %v, %v", name, time.Duration(c.Drain), err)
		}
	}
	write("oneflow.yaml", "drian: 5s")
	if _, err := config.Load("", nothing); err == nil || !strings.HasPrefix(err.Error(), "config oneflow.yaml: [1:1] unknown field \"drian\"") {
		t.Errorf("a slip in the file that is found by itself: %v", err)
	}
}

func TestAModelHasAStandInAtOtherProviders(t *testing.T) {
	t.Parallel()
	c := parse(t, `
providers: {backup: {kind: anthropic}, local: {kind: openai, base_url: "http://localhost:1/v1", compatible: true}}
fallback_models: {gpt-4o-mini: {backup: claude-sonnet-5}}
`)
	for _, s := range []struct{ model, provider, want string }{
		{"gpt-4o-mini", "anthropic", "claude-haiku-5-5"},
		{"gpt-4o-mini-2024-07-18", "anthropic", "claude-haiku-5-5"},
		{"gpt-4o-mini", "backup", "claude-sonnet-5"}, // by the provider's name
		{"gpt-4o", "backup", "claude-sonnet-5-5"},    // by its kind
		{"claude-haiku-4-5", "local", ""},            // a compatible server has models of its own
		{"claude-opus-4-1-20250805", "openai", "gpt-6-astra"},
		{"gpt-4o-mini", "elevenlabs", ""},
		{"my-own", "openai", ""},
	} {
		got, ok := c.StandIn(s.model, s.provider)
		if got != s.want || ok != (s.want != "") {
			t.Errorf("%s at %s: got %q, %v, want %q", s.model, s.provider, got, ok, s.want)
		}
	}
}

func TestADurationIsWrittenAsItIsRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"30s", "1m30s", "1.5s", "0s"} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.MarshalText(); err != nil || string(got) != text {
			t.Errorf("%s became %s, %v", text, got, err)
		}
	}
}

// FuzzParse holds that no file makes Parse panic, and that what it takes is fit
// to be used.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse(data, "f.yaml")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "config f.yaml:") {
				t.Errorf("%q: does not name the file", err)
			}
			return
		}
		if c.Artifacts == "" || c.CallTimeout <= 0 || c.Drain <= 0 || len(c.Providers) == 0 {
			t.Errorf("%+v", c)
		}
		for name, p := range c.Providers {
			if name == "" || strings.ContainsAny(name, " ./\n") || p.Kind == "" || p.Kind == "mock" && !p.Simulated || p.Limits.RPM != nil && *p.Limits.RPM < 0 || (p.Kind == "mock") != (p.Mock != nil) {
				t.Errorf("%q: %+v", name, p)
			}
		}
	})
}
