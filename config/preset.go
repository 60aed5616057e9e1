package config

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// withPreset fills in what a preset says and the file does not. A provider that is
// named as one, and has no kind, has that preset.
func (p Provider) withPreset(name string) Provider {
	if _, _, known := kinds.Preset(name); known && p.Kind == "" && p.Preset == "" {
		p.Preset = name
	}
	preset, kind, ok := kinds.Preset(p.Preset)
	if !ok || p.Kind != "" && p.Kind != kind {
		return p
	}
	p.Kind, p.Compatible = kind, true
	if p.BaseURL == "" {
		p.BaseURL = preset.BaseURL
	}
	if p.KeyHeader == "" {
		p.KeyHeader = preset.KeyHeader
	}
	if p.PricesAs == "" {
		p.PricesAs = preset.PricesAs
	}
	return p
}

// Known is the server that is known by the provider's preset; the zero value where it
// has none.
func (p Provider) Known() providers.Preset {
	preset, _, _ := kinds.Preset(p.Preset)
	return preset
}

// NeedsKey reports whether the provider cannot be called without a key.
func (p Provider) NeedsKey() bool { return p.descriptor().NeedsKey() || p.Known().NeedsKey }

// CalledAt is the address that the provider's calls go to; empty for one that answers in
// this process.
func (p Provider) CalledAt() string {
	if address := p.Address(); address != "" {
		return address
	}
	d, _ := kinds.Of(p.Capabilities())
	return d.BaseURL
}

// Address is the service's address, empty where it is the kind's own.
func (p Provider) Address() string {
	if !p.Known().Deployments || p.BaseURL == "" {
		return p.BaseURL
	}
	base := strings.TrimSuffix(p.BaseURL, "/")
	base = strings.TrimSuffix(strings.TrimSuffix(base, "/v1"), "/openai") + "/openai"
	query := ""
	if p.APIVersion != "" {
		query = "?" + url.Values{"api-version": {p.APIVersion}}.Encode()
	}
	if p.Deployment == "" {
		return base + "/v1" + query
	}
	return base + "/deployments/" + url.PathEscape(p.Deployment) + query
}

// checkPreset checks the preset and what goes with some kinds only.
func (p Provider) checkPreset() error {
	_, kind, known := kinds.Preset(p.Preset)
	d := p.descriptor()
	can, _ := kinds.CapabilitiesOf(p.Capabilities())
	_, speaks := can.Tasks[providers.Audio]
	switch {
	case known && p.Kind != kind:
		return fmt.Errorf("preset: %s is a server of kind %s: leave kind out", p.Preset, kind)
	case known && p.BaseURL == "":
		return fmt.Errorf("base_url: is missing: %s has an address for each customer, such as https://NAME.openai.azure.com", p.Preset)
	case (p.Deployment != "" || p.APIVersion != "") && !p.Known().Deployments:
		return errors.New("deployment, api_version: are only for the preset azure")
	case p.Deployment != "" && p.APIVersion == "":
		return errors.New("api_version: is missing: a deployment's own address needs one, such as 2024-10-21")
	case (p.Organization != "" || p.Project != "") && p.Kind != "openai":
		return errors.New("organization, project: are only for kind openai")
	case len(p.Betas) > 0 && p.Kind != "anthropic":
		return errors.New("betas: are only for kind anthropic")
	case p.Voice != "" && !speaks:
		return fmt.Errorf("voice: is not for %s, which does not speak", p.Kind)
	case p.MaxTokens < 0:
		return fmt.Errorf("max_tokens: must be positive, got %d", p.MaxTokens)
	case d.Local && (len(p.Headers) > 0 || p.Proxy != "" || p.CAFile != ""):
		return fmt.Errorf("headers, proxy, ca_file: are not for kind %s, which calls nobody", p.Kind)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		if err := checkHeader(name, p.Headers[name]); err != nil {
			return err
		}
	}
	return checkProxy(p.Proxy)
}

// checkHeader refuses what cannot be a header, or would replace one that a client
// sets.
func checkHeader(name, value string) error {
	own := []string{
		"Authorization", "X-Api-Key", "Xi-Api-Key", "X-Goog-Api-Key", "Api-Key", "Content-Type", "Content-Length", "Accept", "Accept-Encoding", "Host",
		"Connection", "Transfer-Encoding", "Anthropic-Version", "Anthropic-Beta", "Openai-Organization", "Openai-Project",
	}
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r) }
	unfit := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	switch {
	case name == "" || len(name) > 100 || strings.ContainsFunc(name, odd):
		return fmt.Errorf("headers: %.40q is no name of a header", name)
	case slices.Contains(own, http.CanonicalHeaderKey(name)):
		return fmt.Errorf("headers.%s: is set by the client: leave it out", name)
	case len(value) > 1000 || strings.ContainsFunc(value, unfit):
		return fmt.Errorf("headers.%s: its value must be one line of at most 1000 bytes", name)
	}
	return nil
}

func checkProxy(proxy string) error {
	if proxy == "" {
		return nil
	}
	u, err := url.Parse(proxy)
	if err != nil || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) || u.Host == "" {
		return errors.New("proxy: must be an address such as http://proxy:3128 or socks5://proxy:1080")
	}
	return nil
}
