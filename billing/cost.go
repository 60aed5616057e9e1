package billing

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// Charge is the cost of a call.
type Charge struct {
	// Amount is the price. It means nothing unless Priced.
	Amount NanoUSD
	// Priced reports whether the list had a price for all that was used. Where it is
	// false the cost is not known: it is not zero.
	Priced bool
	// Estimated reports whether at least one row is an estimate (Row.Estimate).
	Estimated bool
	// Rows are the ids of the rows that were used, sorted.
	Rows []string
	// Missing are the units without a price, sorted: why it is not priced.
	Missing []providers.Unit
}

// Cost returns what a call cost that began at a time and used what usage says.
// provider is the kind, such as "openai".
//
// The amount is the sum over all units of the used quantity times the unit's
// rate, rounded once, half to even, to a nano-dollar. A model's rates are those
// of its most specific match that has any in force: an exact name before the
// longest prefix, never a mixture. Of those, per unit: the most specific variant
// ("1024x1024/hd", then "1024x1024", then none), then the highest tier that the
// input exceeds; then a row of these hours of the day; and of rows that follow each
// other, the latest that has begun. Rows that count only beside another unit are
// left out where that was not used. Tokens are multiplied by the factor of each of
// the terms in Usage.Tier. Where the provider itself says what the call costs
// (Usage.Cost), that is the charge, and its one row is reportedRow.
//
// The charge is unpriced when a unit that was used has no rate, or a term no factor. A rate of "0"
// makes a unit free. The call itself needs no rate, except where nothing else
// was reported: then nobody knows what was used. Errors are negative usage and
// amounts too large to be kept.
func (l *List) Cost(provider, model string, usage providers.Usage, at time.Time) (Charge, error) {
	used := usage.Quantities()
	input := new(big.Int)
	for unit, n := range used {
		if n < 0 {
			return Charge{}, fmt.Errorf("cost of %s %s: %s: must not be negative, got %d", provider, model, unit, n)
		}
		if isInput(unit) {
			input.Add(input, big.NewInt(n))
		}
	}
	if amount, ok := reported(usage); ok {
		return Charge{Amount: amount, Priced: true, Rows: []string{reportedRow}}, nil
	}
	c := l.card(provider, model, at)
	var charge Charge
	var factor *big.Rat
	if usage.Tier != "" {
		var missing providers.Unit
		if factor, charge.Rows, missing = l.factorOf(provider, model, usage.Tier, at); missing != "" {
			charge.Missing = append(charge.Missing, missing)
		}
	}
	factored := len(charge.Rows) > 0
	var whole int64       // the sum of the parts that are whole nano-dollars, as nearly all are
	var broken []*big.Rat // the others
	for _, unit := range slices.Sorted(maps.Keys(used)) {
		row := c.rate(unit, usage.Variant, used, input, at)
		if row == nil {
			if unit != providers.Calls || len(used) == 1 {
				charge.Missing = append(charge.Missing, unit)
			}
			continue
		}
		charge.Rows = append(charge.Rows, row.ID)
		charge.Estimated = charge.Estimated || row.Estimate
		if !factored || !multiplied(unit) {
			if n, ok := plusTimes(whole, row.whole, used[unit]); ok {
				whole = n
				continue
			}
		}
		part := new(big.Rat).Mul(row.perUnit, new(big.Rat).SetInt64(used[unit]))
		if factored && multiplied(unit) {
			part.Mul(part, factor)
		}
		broken = append(broken, part)
	}
	if len(charge.Missing) > 0 {
		return Charge{Missing: charge.Missing}, nil
	}
	amount := NanoUSD(whole)
	if len(broken) > 0 {
		sum := new(big.Rat).SetInt64(whole)
		for _, part := range broken {
			sum.Add(sum, part)
		}
		var err error
		if amount, err = toNano(sum); err != nil {
			return Charge{}, fmt.Errorf("cost of %s %s: %w", provider, model, err)
		}
	}
	charge.Amount, charge.Priced = amount, true
	slices.Sort(charge.Rows)
	return charge, nil
}

// plusTimes returns sum + rate × n; ok is false where rate is no whole number, which -1
// stands for, or the sum is too large. None is negative otherwise.
func plusTimes(sum, rate, n int64) (total int64, ok bool) {
	if rate < 0 {
		return 0, false
	}
	high, low := bits.Mul64(uint64(rate), uint64(n))  //nolint:gosec // neither is negative
	if high != 0 || low > uint64(math.MaxInt64-sum) { //nolint:gosec // sum is not negative
		return 0, false
	}
	return sum + int64(low), true //nolint:gosec // it fits, as was just seen
}

// Reserve returns the most that a call can cost whose usage is at most upper
// (see UpperBound), in the arithmetic of Cost. As nobody knows beforehand which
// part of the input the provider reads from its cache or writes to it, all of it
// is taken at the dearest of these rates. at must be the time that Cost gets too.
func (l *List) Reserve(provider, model string, upper providers.Usage, at time.Time) (Charge, error) {
	most, err := l.Cost(provider, model, upper, at)
	if err != nil || !most.Priced || upper.InputTokens == 0 {
		return most, err
	}
	written, read := upper, upper
	written.InputTokens, written.CacheWriteTokens = 0, upper.CacheWriteTokens+upper.InputTokens
	read.InputTokens, read.CachedInputTokens = 0, upper.CachedInputTokens+upper.InputTokens
	for _, other := range []providers.Usage{written, read} {
		c, err := l.Cost(provider, model, other, at)
		if err != nil {
			return Charge{}, err
		}
		if c.Priced && c.Amount > most.Amount {
			most = c
		}
	}
	return most, nil
}

// card returns the rows of the most specific match that has any in force, or nil.
func (l *List) card(provider, model string, at time.Time) *card {
	return l.cards[provider].find(model, func(c *card) bool {
		return slices.ContainsFunc(c.rows, func(r *Row) bool { return r.inForce(at) })
	})
}

// inForce reports whether the row has begun and not ended. A later row may still
// have taken its place.
func (r *Row) inForce(at time.Time) bool {
	return !at.Before(r.From) && (r.Until.IsZero() || at.Before(r.Until)) && (r.Hours == "" || r.hours.hold(at))
}

// rate returns the row that counts for a unit, or nil.
func (c *card) rate(
	unit providers.Unit, variant string, used map[providers.Unit]int64, input *big.Int, at time.Time,
) *Row {
	if c == nil {
		return nil
	}
	for {
		var best *Row
		for _, r := range c.rows {
			switch {
			case r.Unit != unit || r.Variant != variant || !r.inForce(at):
			case r.Beside != "" && used[r.Beside] == 0:
			case r.AboveInput > 0 && input.Cmp(big.NewInt(r.AboveInput)) <= 0:
			case best == nil, r.goesBefore(best):
				best = r
			}
		}
		if best != nil || variant == "" {
			return best
		}
		variant = variant[:max(0, strings.LastIndexByte(variant, '/'))]
	}
}

// goesBefore reports whether r is the more particular of two rows in force, or the
// later one.
func (r *Row) goesBefore(other *Row) bool {
	if r.AboveInput != other.AboveInput {
		return r.AboveInput > other.AboveInput
	}
	if (r.Hours == "") != (other.Hours == "") {
		return other.Hours == ""
	}
	return r.From.After(other.From)
}

// reportedRow stands in the place of a price row where a provider said itself what a
// call costs.
const reportedRow = "reported by the provider"

// reported returns the price that the provider itself tells; ok is false where it does
// not say so, or nothing that can be read.
func reported(usage providers.Usage) (amount NanoUSD, ok bool) {
	if usage.Cost == "" {
		return 0, false
	}
	dollars, err := parseDecimal(usage.Cost, 24)
	if err != nil {
		return 0, false
	}
	amount, err = toNano(dollars.Mul(dollars, big.NewRat(int64(USD), 1)))
	return amount, err == nil
}

// isInput reports whether a unit counts for the tiers of Row.AboveInput.
func isInput(u providers.Unit) bool {
	return slices.Contains([]providers.Unit{
		providers.InputTokens, providers.CachedInputTokens, providers.CacheWriteTokens, providers.CacheWrite1hTokens,
		providers.ImageInputTokens, providers.AudioInputTokens,
	}, u)
}

// toNano rounds nano-dollars, which are not negative, half to even.
func toNano(v *big.Rat) (NanoUSD, error) {
	q, r := new(big.Int).QuoRem(v.Num(), v.Denom(), new(big.Int))
	switch half := r.Lsh(r, 1).Cmp(v.Denom()); {
	case half > 0, half == 0 && q.Bit(0) == 1:
		q.Add(q, big.NewInt(1))
	}
	if !q.IsInt64() {
		return 0, fmt.Errorf("more than $%s, the most that can be kept", NanoUSD(math.MaxInt64))
	}
	return NanoUSD(q.Int64()), nil
}

// Prices answers for providers by their configured names, where the List knows their
// kinds. It is a worker.Prices.
type Prices struct {
	List *List
	// Kinds holds the name of each provider in the List: its kind, or its own name
	// where it is a server that is only compatible with one.
	Kinds map[string]string
}

// Reserve returns the most that a call can cost, and the most units that a rate card can
// count of its answer; priced is false where the cost is not known.
func (p *Prices) Reserve(provider string, req providers.Request, at time.Time) (most NanoUSD, units int64, priced bool) {
	kind := p.Kinds[provider]
	upper := p.List.UpperBound(kind, req, at)
	n := kinds.Named(kind, req).N
	if req.Task == providers.Embedding {
		n = 1 + len(req.With)
	}
	c, err := p.List.Reserve(kind, req.Model, upper, at)
	return c.Amount, MostUnits(req.Task, upper, n), err == nil && c.Priced
}

// LongestAnswer is the largest cap that a model's answer may have, in tokens: that of the
// list, or defaultMaxOutputTokens where it names none.
func (p *Prices) LongestAnswer(provider, model string) int64 {
	return p.List.limitsOf(p.Kinds[provider], model).MaxOutputTokens
}

// Cost returns the cost of a call that began at a time, with the ids of the price rows
// used; priced is false where it is not known.
func (p *Prices) Cost(provider, model string, u providers.Usage, at time.Time) (cost NanoUSD, rows []string, priced bool) {
	c, err := p.List.Cost(p.Kinds[provider], model, u, at)
	return c.Amount, c.Rows, err == nil && c.Priced
}

// Units counts what an answer delivers, as cards charge it: the words of a text or a
// transcription, the pictures, and otherwise the answer itself.
func Units(task providers.Task, res providers.Response) int64 {
	switch task {
	case providers.Text, providers.Transcription:
		return int64(len(strings.Fields(res.Text)))
	case providers.Image:
		return int64(max(len(res.Blobs), 1))
	case providers.Embedding:
		return int64(1 + len(res.With))
	case providers.Audio, providers.Video, providers.Moderation:
	}
	return 1
}

// MostUnits returns the most that Units may count of an answer, of which upper is the most
// that it can use: no word of a text has less than a token.
func MostUnits(task providers.Task, upper providers.Usage, n int) int64 {
	switch task {
	case providers.Text:
		return upper.OutputTokens
	case providers.Transcription:
		if upper.OutputTokens > 0 {
			return upper.OutputTokens
		}
		return times(upper.MilliSeconds/1000+1, mostWordsASecond)
	case providers.Image, providers.Embedding:
		return int64(max(n, 1))
	case providers.Audio, providers.Video, providers.Moderation:
	}
	return 1
}

// mostWordsASecond is more than anybody says.
const mostWordsASecond = 12

// shelf finds values by model name: an exact name first, then the longest
// prefix.
type shelf[V any] struct {
	exact    map[string]*V
	prefixes []prefix[V] // longest first
}

type prefix[V any] struct {
	text  string
	value *V
}

// at returns the shelf of a provider, which it makes where there is none.
func at[V any](m map[string]*shelf[V], provider string) *shelf[V] {
	if m[provider] == nil {
		m[provider] = &shelf[V]{exact: map[string]*V{}}
	}
	return m[provider]
}

// put returns the value of a match, which it makes where there is none.
func (s *shelf[V]) put(match string) *V {
	text, isPrefix := strings.CutSuffix(match, "*")
	if !isPrefix {
		if s.exact[text] == nil {
			s.exact[text] = new(V)
		}
		return s.exact[text]
	}
	i, found := slices.BinarySearchFunc(s.prefixes, text, func(p prefix[V], t string) int {
		if len(p.text) != len(t) {
			return len(t) - len(p.text)
		}
		return strings.Compare(p.text, t)
	})
	if !found {
		s.prefixes = slices.Insert(s.prefixes, i, prefix[V]{text, new(V)})
	}
	return s.prefixes[i].value
}

func (s *shelf[V]) has(match string) bool {
	text, isPrefix := strings.CutSuffix(match, "*")
	if !isPrefix {
		return s.exact[text] != nil
	}
	return slices.ContainsFunc(s.prefixes, func(p prefix[V]) bool { return p.text == text })
}

// find returns the value of the most specific match that ok accepts, or nil.
func (s *shelf[V]) find(model string, ok func(*V) bool) *V {
	if s == nil {
		return nil
	}
	if v := s.exact[model]; v != nil && ok(v) {
		return v
	}
	for _, p := range s.prefixes {
		if strings.HasPrefix(model, p.text) && ok(p.value) {
			return p.value
		}
	}
	return nil
}

// trimStar is a match as a name: a prefix stands for the shortest name that it has.
func trimStar(match string) string { return strings.TrimSuffix(match, "*") }
