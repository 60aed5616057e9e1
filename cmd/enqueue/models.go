package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// warnOfModels returns what warns of each model, once, that its vendor is not known
// to have: a slip of the hand is otherwise noticed when the job fails. Servers that only
// speak a vendor's protocol have models of their own.
func (s *session) warnOfModels(cfg config.Config) func(provider string, task providers.Task, model string) {
	type asked struct{ provider, model string }
	seen := map[asked]bool{}
	var prices *billing.List
	return func(provider string, task providers.Task, model string) {
		p := cfg.Providers[provider]
		d, ok := kinds.Of(p.Capabilities())
		if !ok || d.Local || d.Compatible || model == "" || seen[asked{provider, model}] || p.Models[string(task)] == model {
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
		for _, m := range prices.Models(time.Now()) {
			if m.Provider == d.Kind && !strings.HasSuffix(m.Match, "*") {
				known = append(known, m.Match)
			}
		}
		of := "known: " + strings.Join(current, ", ") + "."
		if alike := near(model, known); len(alike) > 0 {
			of = "did you mean " + cli.OneOf(alike) + "?"
		}
		fmt.Fprintf(s.env.Err, "warning: %s does not list model %.60q; %s It is asked for as it is, and has no price\n", provider, model, of)
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
		if far := distance(name, other); far <= max(1, len(name)/3) {
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

// distance is how many characters have to be written, left out or changed to make one
// name of the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, change)
		}
	}
	return row[len(b)]
}
