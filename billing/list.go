// Package billing knows what a call costs: amounts of money (NanoUSD), the
// price list (List), the bill of a call from its usage (List.Cost), and the most
// that a call can cost before it is sent (List.UpperBound, List.Reserve).
//
// The built-in list is prices.json; a file of the same form can be laid over it
// (Open). A model without a price is unpriced, never free. The arithmetic is
// exact and rounds once, half to even, to a nano-dollar.
//
// What clients report must fit the list: units in a Usage do not overlap. A
// picture that is charged by its tokens may be counted as a picture too, which is
// free beside them; Stability's is reported in millicredits or as a picture. The
// variant of a picture or film is its size as WIDTHxHEIGHT, with "/quality"
// after it where the price depends on that: "1024x1024/hd".
//
// It imports providers (for Usage and Request) and nothing else of OneFlow.
package billing

import (
	"bytes"
	_ "embed" // prices.json
	"fmt"
	"io"
	"math/big"
	"os"
	"slices"
	"sync"
	"time"

	"oneflow/providers"
)

//go:embed prices.json
var builtIn []byte

// Row is one price. Rows with the same provider, match, variant, unit and tier
// follow each other in time: the one with the latest From that has begun counts.
type Row struct {
	// ID names the row for ever: each charge keeps the ids that it used.
	ID string
	// Provider is the kind of provider: "openai", "anthropic", "stability",
	// "elevenlabs" or "mock".
	Provider string
	// Match are the models it is for: exact names, or prefixes ending in "*".
	Match []string
	// Variant narrows it to one size or quality, such as "1024x1024/hd".
	// Empty: all of them.
	Variant string
	// Unit is the thing counted.
	Unit providers.Unit
	// AboveInput makes this the rate of calls whose whole input, in tokens, is
	// more than that (long contexts cost more per token). 0: of all calls.
	AboveInput int64
	// Beside makes the row count only for calls that used this unit too. It
	// makes pictures free beside the tokens that they are charged by, and leaves
	// a picture without tokens unpriced. Empty: of all calls.
	Beside providers.Unit
	// Rate is the price in US dollars per so many units, a plain decimal.
	Rate string
	// Per is the number of units that Rate is for. Default 1,000,000.
	Per int64
	// Hours are those of each day, in UTC, in which the row counts, such as
	// "16:30-00:30": it goes before a row that counts all day. Empty: all day.
	Hours string
	// From is its first moment, in UTC.
	From time.Time
	// Until is its end, in UTC and exclusive. Zero: it does not.
	Until time.Time
	// Checked is the day on which somebody last compared it with Source. Zero: never.
	Checked time.Time
	// Estimate reports whether the vendor charges by something that is not reported,
	// so that this is our best guess.
	Estimate bool
	// Source is the page that tells the price.
	Source string

	perUnit *big.Rat // nano-dollars
	whole   int64    // perUnit, or -1 where that is no whole number of them
	hours   hours
}

// modelLimits bounds the usage of a model's calls where a request does not.
type modelLimits struct {
	// Provider and Match say which models, as in Row.
	Provider string
	Match    []string
	// MaxOutputTokens is the longest answer. Default defaultMaxOutputTokens.
	MaxOutputTokens int64
	// ContextWindow is the most tokens that one call can read and write. 0: not known.
	ContextWindow int64
	// MaxImageTokens is the most output tokens that one picture takes. Default
	// defaultMaxImageTokens.
	MaxImageTokens int64
	// ImageTokens are the output tokens of a picture by its "size/quality".
	ImageTokens map[string]int64
	// MaxMilliSeconds is the longest film. Default defaultMaxMilliSeconds.
	MaxMilliSeconds int64
	// DefaultSize and DefaultQuality are what the provider takes where a
	// request names none.
	DefaultSize, DefaultQuality string
}

// List is a price list. It does not change and is safe for concurrent use.
type List struct {
	parts

	cards  map[string]*shelf[card]        // by provider
	tiers  map[string]*shelf[factors]     // by provider
	bounds map[string]*shelf[modelLimits] // by provider
	ends   map[string]*shelf[Retirement]  // by provider
}

// card is all rows of one match.
type card struct{ rows []*Row }

// embedded is the built-in list, read once: it takes 50 ms, and a worker needs it in several places.
var embedded = sync.OnceValues(func() (*List, error) { //nolint:gochecknoglobals // nobody changes it
	return load(bytes.NewReader(builtIn), "built-in prices.json")
})

// Embedded returns the built-in list, the same one each time. It fails only if that was built broken.
func Embedded() (*List, error) { return embedded() }

// Open returns the built-in list with the file at path laid over it; an empty
// path means none. See List.With for what replaces what.
func Open(path string) (*List, error) {
	base, err := Embedded()
	if err != nil || path == "" {
		return base, err
	}
	f, err := os.Open(path) //nolint:gosec // the path is the configuration's
	if err != nil {
		return nil, fmt.Errorf("price list: %w", err)
	}
	defer f.Close()
	over, err := load(f, path)
	if err != nil {
		return nil, err
	}
	return base.With(over)
}

// load reads a list in the form of prices.json. It is strict: an unknown or
// missing field, a bad value or two prices for the same thing are errors that
// name the row and the field. name stands for the list in those errors.
func load(r io.Reader, name string) (*List, error) {
	p, err := decode(r)
	if err == nil {
		var l *List
		if l, err = newList(p); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("price list %s: %w", name, err)
}

// With returns this list with over laid over it: a row of over replaces the one
// with its id and the one for the same model, variant, unit, tier, hours and day;
// all other rows are added. Factors are replaced in the same way, limits and
// retirements model by model.
func (l *List) With(over *List) (*List, error) {
	ids := map[string]bool{}
	keys := map[rowKey]bool{}
	for _, r := range over.rows {
		ids[r.ID] = true
		for _, k := range r.keys() {
			keys[k] = true
		}
	}
	for _, f := range over.factors {
		ids[f.ID] = true
		for _, m := range f.Match {
			keys[f.key(m)] = true
		}
	}
	replaced := func(key func(match string) rowKey) func(match string) bool {
		return func(match string) bool { return keys[key(match)] }
	}
	p := parts{
		rows: slices.Clone(over.rows), factors: slices.Clone(over.factors),
		limits: slices.Clone(over.limits), retirements: slices.Clone(over.retirements),
	}
	for _, r := range l.rows {
		kept := *r
		kept.Match = slices.DeleteFunc(slices.Clone(r.Match), replaced(r.key))
		if !ids[r.ID] && len(kept.Match) > 0 {
			p.rows = append(p.rows, &kept)
		}
	}
	for _, f := range l.factors {
		kept := *f
		kept.Match = slices.DeleteFunc(slices.Clone(f.Match), replaced(f.key))
		if !ids[f.ID] && len(kept.Match) > 0 {
			p.factors = append(p.factors, &kept)
		}
	}
	for _, b := range l.limits {
		kept := *b
		kept.Match = without(b.Provider, b.Match, over.limits, func(o *modelLimits) (string, []string) { return o.Provider, o.Match })
		if len(kept.Match) > 0 {
			p.limits = append(p.limits, &kept)
		}
	}
	for _, r := range l.retirements {
		kept := *r
		kept.Match = without(r.Provider, r.Match, over.retirements, func(o *Retirement) (string, []string) { return o.Provider, o.Match })
		if len(kept.Match) > 0 {
			p.retirements = append(p.retirements, &kept)
		}
	}
	return newList(p)
}

// without returns the matches of a provider that none of others has.
func without[V any](provider string, match []string, others []*V, of func(*V) (provider string, match []string)) []string {
	return slices.DeleteFunc(slices.Clone(match), func(m string) bool {
		return slices.ContainsFunc(others, func(o *V) bool {
			p, all := of(o)
			return p == provider && slices.Contains(all, m)
		})
	})
}

// rowKey identifies a price: two rows with the same one must not overlap.
type rowKey struct {
	provider, match, variant string
	unit                     providers.Unit
	above                    int64
	hours                    string
	from                     time.Time
}

func (r *Row) key(match string) rowKey {
	return rowKey{r.Provider, match, r.Variant, r.Unit, r.AboveInput, r.Hours, r.From}
}

func (r *Row) keys() []rowKey {
	keys := make([]rowKey, len(r.Match))
	for i, m := range r.Match {
		keys[i] = r.key(m)
	}
	return keys
}

// newList builds the index of parts that are valid by themselves, and refuses those
// that contradict each other.
func newList(p parts) (*List, error) {
	l := &List{
		parts: p, cards: map[string]*shelf[card]{}, tiers: map[string]*shelf[factors]{},
		bounds: map[string]*shelf[modelLimits]{}, ends: map[string]*shelf[Retirement]{},
	}
	ids := map[string]bool{}
	keys := map[rowKey]string{}
	for i, r := range p.rows {
		if ids[r.ID] {
			return nil, fmt.Errorf("prices[%d] (%s): id: another row has it", i, r.ID)
		}
		ids[r.ID] = true
		for _, m := range r.Match {
			k := r.key(m)
			if other, dup := keys[k]; dup {
				return nil, fmt.Errorf("prices[%d] (%s): from: %s is priced per %s from the same day by %s", i, r.ID, m, r.Unit, other)
			}
			keys[k] = r.ID
			c := at(l.cards, r.Provider).put(m)
			c.rows = append(c.rows, r)
		}
	}
	for i, f := range p.factors {
		if ids[f.ID] {
			return nil, fmt.Errorf("factors[%d] (%s): id: another row has it", i, f.ID)
		}
		ids[f.ID] = true
		for _, m := range f.Match {
			if other, dup := keys[f.key(m)]; dup {
				return nil, fmt.Errorf("factors[%d] (%s): from: %s has a factor for %s from the same day by %s", i, f.ID, m, f.Tier, other)
			}
			keys[f.key(m)] = f.ID
			all := at(l.tiers, f.Provider).put(m)
			*all = append(*all, f)
		}
	}
	return l, l.indexModels()
}

// indexModels builds the index of what is known of models beside their prices.
func (l *List) indexModels() error {
	for i, b := range l.limits {
		for _, m := range b.Match {
			s := at(l.bounds, b.Provider)
			if s.has(m) {
				return fmt.Errorf("models[%d]: match: %s %s is in another row too", i, b.Provider, m)
			}
			*s.put(m) = *b
		}
	}
	for i, r := range l.retirements {
		for _, m := range r.Match {
			s := at(l.ends, r.Provider)
			if s.has(m) {
				return fmt.Errorf("retirements[%d]: match: %s %s is in another row too", i, r.Provider, m)
			}
			*s.put(m) = *r
		}
	}
	return nil
}
