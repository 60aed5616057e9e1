package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// checkModels returns what refuses a model that its vendor has shut down, and warns,
// once, of one that it will, and of one that it is not known to have: a slip of the hand
// is otherwise noticed when the job fails. Servers that only speak a vendor's protocol
// have models of their own; those with an address of their own may.
func (s *session) checkModels(cfg config.Config) func(provider string, task providers.Task, model string) error {
	type asked struct{ provider, model string }
	seen := map[asked]bool{}
	var prices *billing.List
	return func(provider string, task providers.Task, model string) error {
		p := cfg.Providers[provider]
		d, ok := kinds.Of(p.Capabilities())
		if !ok || d.Local || d.Compatible && p.PricesAs == "" || model == "" {
			return nil
		}
		if prices == nil {
			var err error
			if prices, err = priceList(cfg); err != nil {
				return nil //nolint:nilerr // the worker tells
			}
		}
		if d.Compatible {
			if one := (asked{provider, model}); !seen[one] && !prices.Lists(p.PricesAs, model, time.Now()) {
				seen[one] = true
				fmt.Fprintf(s.Env.Err, "warning: %s is priced as %s, and that has no price for model %.60q: its calls are counted as unpriced, and no budget that refuses lets them through\n", provider, p.PricesAs, model)
			}
			return nil
		}
		retires, ends := prices.Retires(d.Kind, model)
		instead := "name another"
		if retires.Replacement != "" {
			instead = "its vendor names " + retires.Replacement + " in its place"
		}
		if ends && p.AtVendor() && !time.Now().Before(retires.Day) {
			return fmt.Errorf("model %.60q: was shut down on %s; %s", model, retires.Day.Format(time.DateOnly), instead)
		}
		if seen[asked{provider, model}] {
			return nil
		}
		seen[asked{provider, model}] = true
		switch {
		case ends:
			fmt.Fprintf(s.Env.Err, "warning: %s shuts model %.60q down on %s: %s\n", provider, model, retires.Day.Format(time.DateOnly), instead)
		case p.Models[string(task)] != model:
			s.warnOfUnknown(cfg, prices, d, provider, task, model)
		}
		return nil
	}
}

// warnOfUnknown warns of a model that a vendor is not known to have, and names another that has it.
func (s *session) warnOfUnknown(cfg config.Config, prices *billing.List, d providers.Descriptor, provider string, task providers.Task, model string) {
	known, current := knownModels(d, task)
	if slices.Contains(known, model) || prices.Lists(d.Kind, model, time.Now()) {
		return
	}
	for _, m := range prices.Models(time.Now()) {
		if m.Provider == d.Kind && !strings.HasSuffix(m.Match, "*") {
			known = append(known, m.Match)
		}
	}
	of := "known: " + strings.Join(current, ", ") + "."
	if other := otherWith(cfg, prices, task, model); other != "" {
		of = other + " does: say --provider " + other + "."
	} else if alike := near(model, known); len(alike) > 0 {
		of = "did you mean " + cli.OneOf(alike) + "?"
	}
	fmt.Fprintf(s.Env.Err, "warning: %s does not list model %.60q; %s It is asked for as it is, and has no price\n", provider, model, of)
}

// otherWith returns the first provider, by name, whose vendor is known to have a model for a
// task; empty where none is.
func otherWith(cfg config.Config, prices *billing.List, task providers.Task, model string) string {
	for _, name := range slices.Sorted(maps.Keys(cfg.Providers)) {
		d, ok := kinds.Of(cfg.Providers[name].Capabilities())
		if _, does := d.Capabilities().Tasks[task]; !ok || !does || d.Local || d.Compatible {
			continue
		}
		if known, _ := knownModels(d, task); slices.Contains(known, model) || prices.Lists(d.Kind, model, time.Now()) {
			return name
		}
	}
	return ""
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
	current = slices.DeleteFunc(current, func(model string) bool { return model == "" }) // a task without a default
	slices.Sort(current)
	return known, slices.Compact(current)
}

// maxNear bounds the names that are offered in place of one that is not known.
const maxNear = 3

// near returns up to maxNear of names that differ from a name by a slip of the hand: one
// character in three at most.
func near(name string, names []string) []string {
	type match struct {
		name string
		far  int
	}
	var found []match
	for _, other := range names {
		if far := cli.Distance(name, other); far <= max(1, len(name)/3) {
			found = append(found, match{other, far})
		}
	}
	slices.SortFunc(found, func(a, b match) int { return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name)) })
	var out []string
	for _, m := range slices.Compact(found) {
		if len(out) < maxNear {
			out = append(out, m.name)
		}
	}
	return out
}
