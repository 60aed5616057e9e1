package billing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
)

// maxList is the most bytes that a price list may have.
const maxList = 16 << 20

// defaultPer is the number of units that a rate is for where its row does not say so.
const defaultPer = 1_000_000

// listJSON is the outer form of prices.json. Its parts are decoded one by one, so
// that an error can say which.
type listJSON struct {
	Models      []json.RawMessage `json:"models"`
	Retirements []json.RawMessage `json:"retirements"`
	Factors     []json.RawMessage `json:"factors"`
	Prices      []json.RawMessage `json:"prices"`
}

// rowJSON is a Row as the file has it.
type rowJSON struct {
	ID         string   `json:"id"`
	Provider   string   `json:"provider"`
	Match      []string `json:"match"`
	Variant    string   `json:"variant,omitempty"`
	Unit       string   `json:"unit"`
	AboveInput int64    `json:"above_input,omitempty"`
	Beside     string   `json:"beside,omitempty"`
	Rate       string   `json:"rate"`
	Per        int64    `json:"per,omitempty"`
	Hours      string   `json:"hours,omitempty"`
	From       string   `json:"from"`
	Until      string   `json:"until,omitempty"`
	Checked    string   `json:"checked,omitempty"`
	Estimate   bool     `json:"estimate,omitempty"`
	Source     string   `json:"source"`
}

// limitsJSON is modelLimits in the form of the file.
type limitsJSON struct {
	Provider        string           `json:"provider"`
	Match           []string         `json:"match"`
	MaxOutputTokens int64            `json:"max_output_tokens"`
	ContextWindow   int64            `json:"context_window"`
	MaxImageTokens  int64            `json:"max_image_tokens"`
	ImageTokens     map[string]int64 `json:"image_tokens"`
	MaxMilliSeconds int64            `json:"max_milliseconds"`
	DefaultSize     string           `json:"default_size"`
	DefaultQuality  string           `json:"default_quality"`
}

// parts are those of a list.
type parts struct {
	rows        []*Row
	factors     []*Factor
	limits      []*modelLimits
	retirements []*Retirement
}

// decode reads parts that are each valid by themselves.
func decode(r io.Reader) (parts, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err != nil {
		return parts{}, err
	}
	if len(data) > maxList {
		return parts{}, fmt.Errorf("larger than %d MiB", maxList>>20)
	}
	var outer listJSON
	if err := strict(data, &outer); err != nil {
		return parts{}, err
	}
	var p parts
	if p.rows, err = each("prices", outer.Prices, rowJSON.row, func(in rowJSON) string { return in.ID }); err != nil {
		return parts{}, err
	}
	if p.factors, err = each("factors", outer.Factors, factorJSON.factor, func(in factorJSON) string { return in.ID }); err != nil {
		return parts{}, err
	}
	if p.limits, err = each("models", outer.Models, limitsJSON.limits, func(in limitsJSON) string { return strings.Join(in.Match, ", ") }); err != nil {
		return parts{}, err
	}
	p.retirements, err = each("retirements", outer.Retirements, retirementJSON.retirement,
		func(in retirementJSON) string { return strings.Join(in.Match, ", ") })
	return p, err
}

// each decodes the values of one list; name says in errors which of them is meant.
func each[In, Out any](list string, values []json.RawMessage, read func(In) (*Out, error), name func(In) string) ([]*Out, error) {
	var all []*Out
	for i, raw := range values {
		var in In
		var out *Out
		err := strict(raw, &in)
		if err == nil {
			out, err = read(in)
		}
		if err != nil {
			return nil, fmt.Errorf("%s[%d]%s: %w", list, i, about(name(in)), err)
		}
		all = append(all, out)
	}
	return all, nil
}

// about names a row by its id where it has one.
func about(id string) string {
	if id == "" {
		return ""
	}
	return " (" + strings.Trim(quote(id), `"`) + ")"
}

// strict decodes exactly one JSON value of known fields.
func strict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line := 1 + bytes.Count(data[:min(syntax.Offset, int64(len(data)))], []byte("\n"))
			return fmt.Errorf("line %d: %w", line, err)
		}
		if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && typ.Field != "" {
			return fmt.Errorf("%s: must be a %s, not a %s", typ.Field, typ.Type, typ.Value)
		}
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows after the end")
	}
	return nil
}

// row checks each field and returns the price.
func (in rowJSON) row() (*Row, error) {
	if in.ID == "" || len(in.ID) > 200 {
		return nil, errors.New("id: must have from 1 to 200 characters")
	}
	if err := checkMatch(in.Provider, in.Match); err != nil {
		return nil, err
	}
	unit := providers.Unit(in.Unit)
	if !slices.Contains(units(), unit) {
		return nil, fmt.Errorf("unit: %s is none of %v", quote(in.Unit), units())
	}
	if in.AboveInput < 0 {
		return nil, fmt.Errorf("above_input: must not be negative, got %d", in.AboveInput)
	}
	beside := providers.Unit(in.Beside)
	if beside != "" && (beside == unit || !slices.Contains(units(), beside)) {
		return nil, fmt.Errorf("beside: %s must be another unit of %v", quote(in.Beside), units())
	}
	rate, err := parseDecimal(in.Rate, 12)
	if err != nil {
		return nil, fmt.Errorf("rate: %s: %w; write dollars per million units as a string, such as \"0.15\"", quote(in.Rate), err)
	}
	if in.Per == 0 {
		in.Per = defaultPer
	}
	if in.Per < 0 || in.Per > maxBound {
		return nil, fmt.Errorf("per: must be from 1 to %d, got %d", int64(maxBound), in.Per)
	}
	hours, err := parseHours(in.Hours)
	if err != nil {
		return nil, err
	}
	out := &Row{
		ID: in.ID, Provider: in.Provider, Match: in.Match, Variant: in.Variant, Unit: unit, AboveInput: in.AboveInput,
		Beside: beside, Rate: in.Rate, Per: in.Per, Hours: in.Hours, hours: hours, Estimate: in.Estimate, Source: in.Source,
		// dollars × 10⁹ nano-dollars ÷ so many units
		perUnit: rate.Mul(rate, big.NewRat(int64(USD), in.Per)),
	}
	if out.whole = -1; out.perUnit.IsInt() && out.perUnit.Num().IsInt64() {
		out.whole = out.perUnit.Num().Int64()
	}
	out.From, out.Until, out.Checked, err = parseDates(in.From, in.Until, in.Checked, in.Source)
	return out, err
}

// parseDates reads when a price holds and when it was checked.
func parseDates(fromText, untilText, checkedText, source string) (from, until, checked time.Time, err error) {
	if from, err = parseDate("from", fromText); err != nil {
		return from, until, checked, err
	}
	if untilText != "" {
		if until, err = parseDate("until", untilText); err != nil {
			return from, until, checked, err
		}
		if !until.After(from) {
			return from, until, checked, fmt.Errorf("until: must be after from (%s), got %s", fromText, untilText)
		}
	}
	if checkedText != "" {
		if checked, err = parseDate("checked", checkedText); err != nil {
			return from, until, checked, err
		}
	}
	if source == "" {
		err = errors.New("source: must say where the price is from")
	}
	return from, until, checked, err
}

// limits checks each field and returns the limits.
func (in limitsJSON) limits() (*modelLimits, error) {
	if err := checkMatch(in.Provider, in.Match); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"max_output_tokens", in.MaxOutputTokens},
		{"context_window", in.ContextWindow},
		{"max_image_tokens", in.MaxImageTokens},
		{"max_milliseconds", in.MaxMilliSeconds},
	} {
		if f.value < 0 || f.value > maxBound {
			return nil, fmt.Errorf("%s: must be from 0 (the default) to %d, got %d", f.name, int64(maxBound), f.value)
		}
	}
	for variant, n := range in.ImageTokens {
		if n <= 0 || n > maxBound {
			return nil, fmt.Errorf("image_tokens: %s: must be from 1 to %d, got %d", quote(variant), int64(maxBound), n)
		}
	}
	out := modelLimits(in)
	return &out, nil
}

// checkMatch refuses a row that is for no model.
func checkMatch(provider string, match []string) error {
	if provider == "" {
		return errors.New(`provider: must be a kind of provider, such as "openai"`)
	}
	if len(match) == 0 {
		return errors.New(`match: must name at least one model, such as ["gpt-4o", "gpt-4o-2024-*"]`)
	}
	for i, m := range match {
		if m == "" || strings.Contains(strings.TrimSuffix(m, "*"), "*") {
			return fmt.Errorf(`match[%d]: must be a model, or a prefix with one "*" at its end, got %s`, i, quote(m))
		}
		if slices.Contains(match[:i], m) {
			return fmt.Errorf("match[%d]: %s is in it twice", i, quote(m))
		}
	}
	return nil
}

func parseDate(field, s string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, fmt.Errorf(`%s: %s is not a date such as "2026-08-21"`, field, quote(s))
	}
	return t, nil
}

// units lists the units that a price can be for.
func units() []providers.Unit {
	return []providers.Unit{
		providers.InputTokens, providers.CachedInputTokens, providers.CacheWriteTokens, providers.CacheWrite1hTokens,
		providers.OutputTokens,
		providers.ImageInputTokens, providers.ImageOutputTokens, providers.AudioInputTokens, providers.AudioOutputTokens,
		providers.Characters, providers.Images, providers.MilliSeconds, providers.MilliCredits, providers.WebSearches, providers.Calls,
	}
}
