package cli

import (
	"errors"
	"os"
	"strings"

	"oneflow/config"
	"oneflow/fleet"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// Actor returns the person who gives an order, as USER@HOST, for the record.
func Actor(getenv func(string) string) string {
	user := getenv("USER")
	if user == "" {
		user = "somebody"
	}
	host, err := os.Hostname()
	if err != nil {
		host = "somewhere"
	}
	return Printable(user + "@" + host)
}

// Refused gives an order that was wrong as it was given the exit code Usage.
func Refused(err error) error {
	if _, ok := errors.AsType[*fleet.OrderError](err); ok {
		return Fail(Usage, err)
	}
	return err
}

// Fleet returns what a configuration says of the fleet.
func Fleet(cfg config.Config) fleet.Config {
	out := fleet.Config{Providers: map[string]fleet.Configured{}, Chains: map[providers.Task][]string{}}
	for name, p := range cfg.Providers {
		c := fleet.Configured{
			Name: name, Kind: p.Kind, Simulated: p.Simulated, Concurrency: p.Concurrency, Window: p.DispatchWindow, Tasks: map[providers.Task]string{},
		}
		if d, ok := kinds.Of(p.Kind); ok {
			c.Local = d.Local
		}
		can, _ := kinds.CapabilitiesOf(p.Capabilities())
		for task, of := range can.Tasks {
			c.Tasks[task] = p.DefaultModel(string(task), of.DefaultModel)
		}
		limits, written := p.LimitsByName()
		for name, n := range limits {
			c.Limits = c.Limits.With(providers.Dimension(name), n)
		}
		for _, name := range written {
			c.Written = append(c.Written, providers.Dimension(name))
		}
		for deployment, d := range p.Deployments {
			if c.Deployments == nil {
				c.Deployments = map[string]fleet.ClassLimits{}
			}
			c.Deployments[deployment] = fleet.ClassLimits{Limits: d.Limits.Known(), Written: d.Limits.Written()}
		}
		if p.Classed() {
			c.Class, c.Classes = p.Class, map[string]fleet.ClassLimits{}
			for class, l := range p.ModelLimits {
				c.Classes[class] = fleet.ClassLimits{Limits: l.Known(), Written: l.Written()}
			}
		}
		out.Providers[name] = c
	}
	for task, chain := range cfg.Chains {
		out.Chains[providers.Task(task)] = chain
	}
	return out
}

// Printable takes out what would move a terminal's cursor or a table's columns.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}
