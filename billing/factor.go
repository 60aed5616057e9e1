package billing

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
)

// Factor multiplies all prices of tokens where a call was served at
// other terms than the standard ones: half for a call that may wait, more for one
// that goes first or stays in one part of the world. Factors of several terms
// multiply.
type Factor struct {
	// ID names the factor for ever: each charge keeps the ids that it used.
	ID string
	// Provider and Match say which models, as in Row.
	Provider string
	Match    []string
	// Tier is the word of Usage.Tier that it is for, such as "flex".
	Tier string
	// Factor is a plain decimal, such as "0.5".
	Factor string
	// From, Until, Checked and Source are as in Row.
	From, Until, Checked time.Time
	Source               string

	value *big.Rat
}

// factors are all of one match.
type factors []*Factor

// factorJSON is a Factor in the form of the file.
type factorJSON struct {
	ID       string   `json:"id"`
	Provider string   `json:"provider"`
	Match    []string `json:"match"`
	Tier     string   `json:"tier"`
	Factor   string   `json:"factor"`
	From     string   `json:"from"`
	Until    string   `json:"until"`
	Checked  string   `json:"checked"`
	Source   string   `json:"source"`
}

// factor checks each field and returns the factor.
func (in factorJSON) factor() (*Factor, error) {
	if in.ID == "" || len(in.ID) > 200 {
		return nil, errors.New("id: must have from 1 to 200 characters")
	}
	if err := checkMatch(in.Provider, in.Match); err != nil {
		return nil, err
	}
	if in.Tier == "" || strings.Contains(in.Tier, tierSeparator) {
		return nil, fmt.Errorf("tier: must be one word such as \"flex\", got %s", quote(in.Tier))
	}
	value, err := parseDecimal(in.Factor, 12)
	if err != nil || value.Sign() == 0 {
		return nil, fmt.Errorf("factor: %s: write a decimal above 0 as a string, such as \"0.5\"", quote(in.Factor))
	}
	out := &Factor{ID: in.ID, Provider: in.Provider, Match: in.Match, Tier: in.Tier, Factor: in.Factor, Source: in.Source, value: value}
	out.From, out.Until, out.Checked, err = parseDates(in.From, in.Until, in.Checked, in.Source)
	return out, err
}

// key identifies a factor: there is one for each.
func (f *Factor) key(match string) rowKey {
	return rowKey{provider: f.Provider, match: match, variant: f.Tier, unit: "factor", from: f.From}
}

// tierSeparator stands between the words of Usage.Tier.
const tierSeparator = "+"

// factorOf returns what the tokens of a call cost times their rates, with the ids of
// the factors that were used; missing is the first term that the list has none for.
func (l *List) factorOf(provider, model, tier string, at time.Time) (product *big.Rat, ids []string, missing providers.Unit) {
	product = big.NewRat(1, 1)
	for word := range strings.SplitSeq(tier, tierSeparator) {
		if word == "" {
			continue
		}
		var best *Factor
		l.tiers[provider].find(model, func(all *factors) bool {
			for _, f := range *all {
				if f.Tier == word && !at.Before(f.From) && (f.Until.IsZero() || at.Before(f.Until)) && (best == nil || f.From.After(best.From)) {
					best = f
				}
			}
			return best != nil
		})
		if best == nil {
			return product, nil, providers.Unit("tier " + word)
		}
		product.Mul(product, best.value)
		ids = append(ids, best.ID)
	}
	return product, ids, ""
}

// multiplied reports whether factors hold for a unit: for tokens, however they are
// counted. Searches, pictures and the like cost the same at all terms.
func multiplied(u providers.Unit) bool {
	return isInput(u) || slices.Contains([]providers.Unit{providers.OutputTokens, providers.ImageOutputTokens, providers.AudioOutputTokens}, u)
}
