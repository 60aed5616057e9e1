package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// tasks are the tasks that a chain may be for.
func tasks() []string {
	var out []string
	for _, task := range providers.Tasks() {
		out = append(out, string(task))
	}
	return out
}

// chains are the built-in chains, in the order of the list of kinds.
func chains() map[string][]string {
	out := map[string][]string{}
	for _, d := range kinds.All() {
		for _, task := range d.Chains {
			out[string(task)] = append(out[string(task)], d.Kind)
		}
	}
	return out
}

// fallbackModels are the built-in stand-ins: for each model, at each other kind,
// the one that stands in for models of its class.
func fallbackModels() map[string]map[string]string {
	out := map[string]map[string]string{}
	all := kinds.All()
	for _, from := range all {
		for _, class := range from.StandIns {
			for _, to := range all {
				if to.Kind == from.Kind {
					continue
				}
				for _, stand := range to.StandIns {
					if stand.Task != class.Task || stand.Class != class.Class {
						continue
					}
					for _, model := range class.Models {
						if out[model] == nil {
							out[model] = map[string]string{}
						}
						out[model][to.Kind] = stand.Model
					}
				}
			}
		}
	}
	return out
}

// fillChains puts in the built-in chains and stand-ins.
func (c *Config) fillChains() {
	all := chains()
	maps.Copy(all, c.Chains)
	c.Chains = all
	models := fallbackModels()
	for model, stands := range c.FallbackModels {
		if models[model] == nil {
			models[model] = map[string]string{}
		}
		maps.Copy(models[model], stands)
	}
	c.FallbackModels = models
}

func (c *Config) checkChains() error {
	for _, task := range slices.Sorted(maps.Keys(c.Chains)) {
		if !slices.Contains(tasks(), task) {
			return fmt.Errorf("chains.%s: must be %s", task, strings.Join(tasks(), ", "))
		}
		if err := c.CheckChain(c.Chains[task]); err != nil {
			return fmt.Errorf("chains.%s: %w", task, err)
		}
	}
	for _, model := range slices.Sorted(maps.Keys(c.FallbackModels)) {
		for _, provider := range slices.Sorted(maps.Keys(c.FallbackModels[model])) {
			_, named := c.Providers[provider]
			if !named && !slices.Contains(kinds.Configurable(), provider) {
				return fmt.Errorf("fallback_models: %q: %q is neither a provider nor a kind of one; there are %s", model, provider, c.names())
			}
			if stand := c.FallbackModels[model][provider]; stand == "" || len(stand) > 256 {
				return fmt.Errorf("fallback_models: %q: the model at %s must have 1 to 256 bytes", model, provider)
			}
		}
	}
	return nil
}

// CheckChain fails unless a chain names configured providers, each once. It does
// not look at what they can do.
func (c *Config) CheckChain(chain []string) error {
	if len(chain) == 0 {
		return fmt.Errorf("must name at least one provider of %s", c.names())
	}
	for i, name := range chain {
		if _, ok := c.Providers[name]; !ok {
			return fmt.Errorf("%.40q is not configured; there are %s", name, c.names())
		}
		if slices.Contains(chain[:i], name) {
			return fmt.Errorf("%s is there twice", name)
		}
	}
	return nil
}

func (c *Config) names() string { return strings.Join(slices.Sorted(maps.Keys(c.Providers)), ", ") }

// StandIn returns the model that stands in for model at a provider; ok is false
// where none is named. A dated snapshot, such as gpt-4o-mini-2024-07-18, has the
// stand-in of its model. What is named for a kind does not hold for compatible
// servers, which have models of their own.
func (c *Config) StandIn(model, provider string) (stand string, ok bool) {
	undated, _, _ := strings.Cut(model, "-20")
	for _, m := range []string{model, undated} {
		for _, name := range []string{provider, c.Providers[provider].Capabilities()} {
			if stand, ok := c.FallbackModels[m][name]; ok {
				return stand, true
			}
		}
	}
	return "", false
}
