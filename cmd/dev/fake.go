package main

import (
	"maps"
	"strings"
	"time"

	"oneflow/config"
	"oneflow/internal/fakeprovider"
	"oneflow/providers/keys"
)

// fakes are the vendors that the fake server speaks for: where on it, and a key of the right form that is good for nothing
// else.
func fakes() map[string]struct{ path, key string } {
	return map[string]struct{ path, key string }{
		"openai":     {"/openai/v1", "sk-fake-00000000000000000000"},
		"anthropic":  {"/anthropic", "sk-ant-fake-0000000000000000"},
		"stability":  {"/stability", "sk-fake00000000000000000000"},
		"elevenlabs": {"/elevenlabs", "00000000000000000000000000000000"},
	}
}

// fakeVariables are the environment in which commands call the fake server at url.
func fakeVariables(url string) map[string]string {
	variables := map[string]string{}
	for name, fake := range fakes() {
		variables[keys.Variable(name)] = fake.key
		variables[strings.ToUpper(name)+"_BASE_URL"] = url + fake.path
	}
	return variables
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
	for name, fake := range fakes() {
		p := providers[name]
		if p.Kind != name {
			continue
		}
		p.BaseURL, p.Latency = server.URL+fake.path, config.Duration(latency)
		if rpm > 0 {
			limit := int64(rpm)
			p.Limits.RPM = &limit
		}
		providers[name] = p
	}
	s.config.Providers = providers
	getenv, variables := s.env.Getenv, fakeVariables(server.URL)
	s.env.Getenv = func(variable string) string {
		if value, ok := variables[variable]; ok {
			return value
		}
		return getenv(variable)
	}
	return server, nil
}
