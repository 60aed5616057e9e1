package config_test

import (
	"strings"
	"testing"

	"oneflow/config"
)

func TestAPresetSaysWhatIsNotWritten(t *testing.T) {
	t.Parallel()
	c := parse(t, `
providers:
  groq:
  mine: {preset: openrouter, models: {text: meta-llama/llama-4}, headers: {X-Title: tests}}
  azure: {base_url: "https://us.openai.azure.com/", deployment: luna-eu, api_version: 2024-10-21, prices_as: azure}
  second: {preset: azure, base_url: "https://eu.openai.azure.com/openai/v1/"}
  local: {preset: ollama, base_url: "http://gpu:11434/v1", proxy: "http://proxy:3128"}
`)
	for name, want := range map[string]struct {
		address, header, prices string
		needs                   bool
		rpm                     int64
	}{
		"groq":   {"https://api.groq.com/openai/v1", "", "groq", true, 30},
		"mine":   {"https://openrouter.ai/api/v1", "", "mine", true, 60},
		"azure":  {"https://us.openai.azure.com/openai/deployments/luna-eu?api-version=2024-10-21", "api-key", "azure", true, 60},
		"second": {"https://eu.openai.azure.com/openai/v1", "api-key", "openai", true, 60},
		"local":  {"http://gpu:11434/v1", "", "local", false, 60},
		"openai": {"", "", "openai", true, 60},
	} {
		p := c.Providers[name]
		limits, _ := p.LimitsByName()
		if p.Kind != "openai" || p.Address() != want.address || p.KeyHeader != want.header || p.PriceRows(name) != want.prices ||
			p.NeedsKey() != want.needs || p.Compatible != (name != "openai") || limits["rpm"] != want.rpm {
			t.Errorf("%s: %+v, address %s, priced as %s, limits %v", name, p, p.Address(), p.PriceRows(name), limits)
		}
	}
}

func TestWhatGoesWithSomeProvidersOnlyIsRefusedElsewhere(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"gork: {preset: gork}":                  `preset: "gork" is not one of azure, groq,`,
		"gork: {}":                              "preset: one of azure, groq,",
		"groq: {kind: anthropic, preset: groq}": "preset: groq is a server of kind openai",
		"azure: {}":                             "base_url: is missing: azure has an address for each customer",
		"azure: {base_url: \"https://a.b\", deployment: d}": "api_version: is missing",
		"groq: {deployment: d, api_version: v}":             "deployment, api_version: are only for the preset azure",
		"anthropic: {organization: o}":                      "organization, project: are only for kind openai",
		"openai: {betas: [b]}":                              "betas: are only for kind anthropic",
		"anthropic: {voice: v}":                             "voice: is not for anthropic",
		"anthropic: {max_tokens: -1}":                       "max_tokens: must be positive",
		"mock: {headers: {a: b}}":                           "headers, proxy, ca_file: are not for kind mock",
		"openai: {headers: {authorization: x}}":             "headers.authorization: is set by the client",
		"openai: {headers: {\"a b\": x}}":                   `headers: "a b" is no name of a header`,
		"openai: {headers: {a: \"x\\ny\"}}":                 "headers.a: its value must be one line",
		"openai: {proxy: nonsense}":                         "proxy: must be an address",
	} {
		_, err := config.Parse([]byte("providers:\n  "+text+"\n"), "f.yaml")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	c := parse(t, "providers: {openai: {organization: o, project: p, voice: ash}, anthropic: {betas: [b], max_tokens: 9000}}")
	if c.Providers["openai"].Project != "p" || c.Providers["anthropic"].MaxTokens != 9000 {
		t.Errorf("%+v", c.Providers)
	}
}

func TestWhetherAProviderNeedsAKeyCostsNothing(t *testing.T) { //nolint:paralleltest // allocations are counted
	p := config.Provider{Kind: "mock"}
	if n := testing.AllocsPerRun(100, func() { _ = p.NeedsKey() }); n > 10 {
		t.Errorf("it takes %.0f allocations, and is asked for each call some times; want 10 at most", n)
	}
}
