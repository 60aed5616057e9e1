package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/config"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// warnOfModels returns what warns of each model, once, that its vendor is not known
// to have: a slip of the hand is otherwise noticed when the job fails. Servers with
// an address of their own have models of their own.
func (s *session) warnOfModels(cfg config.Config) func(provider string, task providers.Task, model string) {
	type asked struct{ provider, model string }
	seen := map[asked]bool{}
	var prices *billing.List
	return func(provider string, task providers.Task, model string) {
		p := cfg.Providers[provider]
		d, ok := kinds.Of(p.Capabilities())
		if !ok || d.Local || d.Compatible || p.BaseURL != "" || model == "" || seen[asked{provider, model}] || p.Models[string(task)] == model {
			return
		}
		seen[asked{provider, model}] = true
		if prices == nil {
			var err error
			if prices, err = priceList(cfg); err != nil {
				return // the worker tells
			}
		}
		known, current := knownModels(d, task)
		if slices.Contains(known, model) || prices.Lists(d.Kind, model, time.Now()) {
			return
		}
		fmt.Fprintf(s.env.Err, "warning: %s does not list model %.60q; known: %s. It is asked for as it is, and has no price\n",
			provider, model, strings.Join(current, ", "))
	}
}

// priceList is the built-in list, with the configured file laid over it.
func priceList(cfg config.Config) (*billing.List, error) {
	if cfg.Prices == "" {
		return billing.Embedded()
	}
	return billing.Open(cfg.Prices)
}

// knownModels are the models of a kind that have a class, or are its default, and
// those of them that are the first choice of their class.
func knownModels(d providers.Descriptor, task providers.Task) (known, current []string) {
	can := d.Capabilities().Tasks[task]
	known, current = append([]string{can.DefaultModel}, can.Models...), []string{can.DefaultModel}
	for _, class := range d.StandIns {
		if class.Task == task {
			known, current = append(known, class.Models...), append(current, class.Model)
		}
	}
	slices.Sort(current)
	return known, slices.Compact(current)
}
