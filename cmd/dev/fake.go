package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
	"oneflow/providers/keys"
	"oneflow/providers/kinds"
)

// fake is a kind's half of the fake server: where it is on it, and a key of the right
// form that is good for nothing else.
type fake struct{ path, key string }

// fakes are the kinds that the fake server speaks for, by name: all that are called
// over a network. One that it does not know is an error: its calls would go out and
// be charged.
func fakes() (map[string]fake, error) {
	all := map[string]fake{}
	for _, d := range kinds.All() {
		if !d.NeedsKey() {
			continue
		}
		own, err := url.Parse(d.BaseURL)
		if err != nil {
			return nil, fmt.Errorf("kind %s: %w", d.Kind, err)
		}
		if !slices.Contains(fakeprovider.Vendors(), fakeprovider.Vendor(d.Kind)) {
			return nil, fmt.Errorf("kind %s: the fake server does not speak for it: add it to internal/fakeprovider", d.Kind)
		}
		key := strings.Repeat("0", max(d.Key.MinLength, 20))
		if len(d.Key.Prefixes) > 0 {
			key = d.Key.Prefixes[0] + key
		}
		all[d.Kind] = fake{path: "/" + d.Kind + strings.TrimSuffix(own.Path, "/"), key: key}
	}
	return all, nil
}

// fakeVariables are the environment in which commands call the fake server at url.
func fakeVariables(url string, fakes map[string]fake) map[string]string {
	variables := map[string]string{}
	for name, fake := range fakes {
		variables[keys.Variable(name)] = fake.key
		variables[strings.ToUpper(name)+"_BASE_URL"] = url + fake.path
	}
	variables["ONEFLOW_SIMULATED"] = strings.Join(slices.Sorted(maps.Keys(fakes)), ",")
	return variables
}

// fakeProviders starts a server that speaks the vendors' protocols, and points
// their providers at it, with keys that are good for nothing else. Calls go over
// HTTP on this machine as they would go to the vendors; nobody is charged. rpm is
// the limit that the workers are told, and the server's own; 0: the usual. variables
// are what commands find the server by. faults are the shares of calls that fail in some way; none: the usual.
func (s *session) fakeProviders(rpm int, latency time.Duration, faults map[fakeprovider.Fault]float64) (server *fakeprovider.Server, variables map[string]string, err error) {
	fakes, err := fakes()
	if err != nil {
		return nil, nil, err
	}
	if len(faults) == 0 {
		faults = map[fakeprovider.Fault]float64{fakeprovider.Overloaded: 0.01}
	}
	server, err = fakeprovider.New(fakeprovider.Config{Default: fakeprovider.Behaviour{
		Latency: fakeprovider.Latency{Distribution: fakeprovider.LogNormal, Mean: latency, Spread: 0.5},
		Faults:  faults,
	}})
	if err != nil {
		return nil, nil, cli.Fail(cli.Usage, fmt.Errorf("--faults: %w", err))
	}
	if err := server.Start(""); err != nil {
		return nil, nil, err
	}
	providers := maps.Clone(s.config.Providers)
	for name, fake := range fakes {
		p := providers[name]
		if p.Kind != name {
			continue
		}
		p.BaseURL, p.Latency, p.Simulated = server.URL+fake.path, config.Duration(latency), true
		if rpm > 0 {
			limit := int64(rpm)
			p.Limits.RPM = &limit
		}
		providers[name] = p
	}
	s.config.Providers = providers
	getenv := s.Env.Getenv
	variables = fakeVariables(server.URL, fakes)
	s.Env.Getenv = func(variable string) string {
		if value, ok := variables[variable]; ok {
			return value
		}
		return getenv(variable)
	}
	return server, variables, nil
}
