package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Deployment is one of several places that serve a provider's models, each with limits of
// its own: a deployment of Azure's, or another base URL. A job goes where there is room; which
// deployment served it is no part of what it is.
type Deployment struct {
	// BaseURL, Deployment and APIVersion are those of the provider, where it gives none.
	BaseURL    string `yaml:"base_url"`
	Deployment string `yaml:"deployment"`
	APIVersion string `yaml:"api_version"`
	// Limits are those of the calls of each class of models with one key there, as in
	// Provider.ModelLimits, before which they go.
	Limits Limits `yaml:"limits"`
}

// DeploymentNames lists the provider's deployments, sorted; none where it is one place.
func (p Provider) DeploymentNames() []string { return slices.Sorted(maps.Keys(p.Deployments)) }

// At returns the provider as one of its deployments is called; itself for an empty name.
func (p Provider) At(deployment string) Provider {
	d, ok := p.Deployments[deployment]
	if !ok {
		return p
	}
	p.BaseURL, p.Deployment, p.APIVersion = cmp.Or(d.BaseURL, p.BaseURL), cmp.Or(d.Deployment, p.Deployment), cmp.Or(d.APIVersion, p.APIVersion)
	p.Deployments = nil
	return p
}

// AtVendor reports whether all calls go to the vendor's own address, or to a server that
// simulates the vendor: what is shut down is not to be had there either.
func (p Provider) AtVendor() bool {
	for _, d := range p.Deployments {
		if d.BaseURL != "" {
			return false
		}
	}
	return p.BaseURL == "" || p.Simulated
}

// KeysOf returns the names under which keys of a provider's deployment stand, the first that
// has any being used: NAME-DEPLOYMENT, then the provider's own. The empty deployment has
// the provider's.
func KeysOf(provider, deployment string) []string {
	if deployment == "" {
		return []string{provider}
	}
	return []string{provider + "-" + deployment, provider}
}

// KeyNames lists the names under which keys may stand, sorted.
func (c *Config) KeyNames() []string {
	names := slices.Collect(maps.Keys(c.Providers))
	for name, p := range c.Providers {
		for deployment := range p.Deployments {
			names = append(names, KeysOf(name, deployment)[0])
		}
	}
	slices.Sort(names)
	return names
}

// ForKeys returns the provider, and the deployment, whose keys stand under a name; ok is
// false where there is none.
func (c *Config) ForKeys(name string) (provider, deployment string, ok bool) {
	if _, ok := c.Providers[name]; ok {
		return name, "", true
	}
	for provider, p := range c.Providers {
		for deployment := range p.Deployments {
			if KeysOf(provider, deployment)[0] == name {
				return provider, deployment, true
			}
		}
	}
	return "", "", false
}

// maxKeyName is the longest name under which keys may stand.
const maxKeyName = 30

// checkDeployments checks the deployments of the provider of that name.
func (c *Config) checkDeployments(name string, p Provider) error {
	if p.Deployments != nil && len(p.Deployments) == 0 {
		return errors.New("deployments: names none: leave it out")
	}
	addresses := map[string]string{}
	for _, deployment := range p.DeploymentNames() {
		at := "deployments." + deployment
		keys := KeysOf(name, deployment)[0]
		_, taken := c.Providers[keys]
		switch {
		case deployment == "" || strings.Trim(deployment, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
			return fmt.Errorf("deployments: %.40q: a name has small letters, digits, - and _", deployment)
		case len(keys) > maxKeyName:
			return fmt.Errorf("%s: %s, under which its keys stand, has more than %d characters", at, keys, maxKeyName)
		case taken:
			return fmt.Errorf("%s: its keys would stand under %s, which is a provider's name", at, keys)
		case p.descriptor().Local:
			return fmt.Errorf("deployments: are not for kind %s, which calls nobody", p.Kind)
		}
		one := p.At(deployment)
		if err := one.checkPreset(); err != nil {
			return fmt.Errorf("%s.%w", at, err)
		}
		if err := one.checkRemote(); err != nil {
			return fmt.Errorf("%s.%w", at, err)
		}
		if err := p.Deployments[deployment].Limits.check(at + ".limits"); err != nil {
			return err
		}
		address := strings.TrimRight(one.CalledAt(), "/")
		if other, twice := addresses[address]; twice {
			return fmt.Errorf("%s: is at the address of %s, which counts both together: for several keys of one place, `worker keys set --add`", at, other)
		}
		addresses[address] = deployment
	}
	return nil
}
