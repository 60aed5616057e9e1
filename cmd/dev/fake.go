package main

import (
	"maps"
	"strings"
	"time"

	"oneflow/config"
	"oneflow/internal/fakeprovider"
)

// rehearsal is the address of each vendor's provider on the fake server.
func rehearsal(url string) map[string]string {
	return map[string]string{
		"openai":     url + "/openai/v1",
		"anthropic":  url + "/anthropic",
		"stability":  url + "/stability",
		"elevenlabs": url + "/elevenlabs",
	}
}

// fakeProviders starts a server that speaks the vendors' protocols, and points
// their providers at it, with keys that are good for nothing else. Calls go over
// HTTP on this machine as they would go to the vendors; nobody is charged. rpm is
// the limit that the workers are told, and the server's own; 0: the usual.
func (s *session) fakeProviders(rpm int, latency time.Duration) (*fakeprovider.Server, error) {
	server, err := fakeprovider.New(fakeprovider.Config{Default: fakeprovider.Behaviour{
		Latency: fakeprovider.Latency{Distribution: fakeprovider.LogNormal, Mean: latency, Spread: 0.5},
		Faults:  map[fakeprovider.Fault]float64{fakeprovider.Overloaded: 0.01},
	}})
	if err != nil {
		return nil, err
	}
	if err := server.Start(""); err != nil {
		return nil, err
	}
	providers := maps.Clone(s.config.Providers)
	addresses := rehearsal(server.URL)
	for name, address := range addresses {
		p := providers[name]
		if p.Kind != name {
			continue
		}
		p.BaseURL, p.Latency = address, config.Duration(latency)
		if rpm > 0 {
			limit := int64(rpm)
			p.Limits.RPM = &limit
		}
		providers[name] = p
	}
	s.config.Providers = providers
	getenv := s.env.Getenv
	s.env.Getenv = func(variable string) string {
		name, isKey := strings.CutSuffix(strings.ToLower(variable), "_api_key")
		if _, faked := addresses[name]; isKey && faked {
			return "rehearsal-key-of-" + name
		}
		return getenv(variable)
	}
	return server, nil
}
