package billing

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Model holds the prices of one model (or of all with one prefix) at a time.
type Model struct {
	// Provider is the kind of provider.
	Provider string
	// Match is the exact name, or a prefix ending in "*".
	Match string
	// Rates are the rows that count, by unit, variant and tier.
	Rates []Row
}

// Models lists what can be priced at a time, by provider and model.
func (l *List) Models(at time.Time) []Model {
	var out []Model
	for provider, s := range l.cards {
		for name, c := range s.exact {
			out = append(out, Model{provider, name, c.current(at)})
		}
		for _, p := range s.prefixes {
			out = append(out, Model{provider, p.text + "*", p.value.current(at)})
		}
	}
	out = slices.DeleteFunc(out, func(m Model) bool { return len(m.Rates) == 0 })
	slices.SortFunc(out, func(a, b Model) int {
		return cmp.Or(strings.Compare(a.Provider, b.Provider), strings.Compare(a.Match, b.Match))
	})
	return out
}

// Lists reports whether the list has a price of a model at a time.
func (l *List) Lists(provider, model string, at time.Time) bool {
	c := l.card(provider, model, at)
	return c != nil && len(c.current(at)) > 0
}

// Stale lists the rows that count now and that nobody has compared with their
// source for longer than age (90 days is a good one); a row that was never
// compared is as old as its From. The mock's prices are invented and never stale.
func (l *List) Stale(now time.Time, age time.Duration) []Row {
	seen := map[string]bool{}
	var out []Row
	for _, m := range l.Models(now) {
		for _, r := range m.Rates {
			checked := r.Checked
			if checked.IsZero() {
				checked = r.From
			}
			if m.Provider != "mock" && now.Sub(checked) > age && !seen[r.ID] {
				seen[r.ID] = true
				out = append(out, r)
			}
		}
	}
	return out
}

// current returns the rows that count: in force and not superseded.
func (c *card) current(at time.Time) []Row {
	var out []Row
	for _, r := range c.rows {
		superseded := slices.ContainsFunc(c.rows, func(o *Row) bool {
			return o.Unit == r.Unit && o.Variant == r.Variant && o.AboveInput == r.AboveInput && o.Hours == r.Hours &&
				o.inForce(at) && o.From.After(r.From)
		})
		if r.inForce(at) && !superseded {
			out = append(out, *r)
		}
	}
	slices.SortFunc(out, func(a, b Row) int {
		return cmp.Or(slices.Index(units(), a.Unit)-slices.Index(units(), b.Unit),
			strings.Compare(a.Variant, b.Variant), cmp.Compare(a.AboveInput, b.AboveInput))
	})
	return out
}
