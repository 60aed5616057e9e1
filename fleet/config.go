package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"oneflow/providers"
)

// Config holds what a process's own configuration says of the fleet. It holds for
// what nobody has set or learned.
type Config struct {
	// Providers are the configured ones, by name.
	Providers map[string]Configured
	// Chains are the providers to ask for a task, in order.
	Chains map[providers.Task][]string
}

// Configured is a provider as its configuration describes it.
type Configured struct {
	Name string
	// Kind names the client that speaks to it.
	Kind string
	// Simulated is set where its calls cost nobody anything: the mock's, and a fake
	// provider's.
	Simulated bool
	// Local is set for a kind that answers by itself: the mock.
	Local bool
	// Tasks are those that it can do, with its default model for each; empty where
	// it has none.
	Tasks map[providers.Task]string
	// Limits are the configured ones, defaults included.
	Limits providers.Limits
	// Written are the dimensions that stand in the configuration file: what is
	// learned may only lower them.
	Written []providers.Dimension
	// Class names the class of models with which calls of a model are counted: limits hold
	// for each of them, beside those of Written for all together. Nil: all are counted together.
	Class func(model string) string
	// Classes are the limits that the file gives to classes of models.
	Classes map[string]ClassLimits
	// Deployments are the places that serve its models side by side, with the limits that the
	// file gives to each; none where it is one place.
	Deployments map[string]ClassLimits
	// Concurrency is the number of calls that one worker makes at once, and Window that of
	// tasks each of the provider's queues may hold; 0: what follows from the limits.
	Concurrency, Window int
}

// names lists the configured providers, sorted.
func (c Config) names() []string { return slices.Sorted(maps.Keys(c.Providers)) }

// order lists all configured providers in the order to ask them for a task: the
// chain that operators set, or the configured one where set is nil, then the
// others by name.
func (c Config) order(set []string, task providers.Task) []string {
	if set == nil {
		set = c.Chains[task]
	}
	names := slices.Clone(set)
	for _, name := range c.names() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { _, ok := c.Providers[name]; return !ok })
}

// checkChain refuses a chain with a provider that is not configured, cannot do the
// task, or is named twice.
func (c Config) checkChain(task providers.Task, chain []string) error {
	if !slices.Contains(providers.Tasks(), task) {
		return fmt.Errorf("%.40q is no task", task)
	}
	if len(chain) == 0 {
		return errors.New("the chain names no provider; there are " + strings.Join(c.names(), ", "))
	}
	for i, name := range chain {
		p, ok := c.Providers[name]
		if !ok {
			return fmt.Errorf("%.40q is not configured; there are %s", name, strings.Join(c.names(), ", "))
		}
		if slices.Contains(chain[:i], name) {
			return fmt.Errorf("%s is there twice", name)
		}
		if _, ok := p.Tasks[task]; !ok {
			return fmt.Errorf("%s cannot do %s", name, task)
		}
	}
	return nil
}
