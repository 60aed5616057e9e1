package billing

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
)

// Imported holds the contents of a price file of somebody else's.
type Imported struct {
	// Rows are its prices, as rows of a list.
	Rows []Row
	// Skipped says, one line each, what could not be taken over, and why.
	Skipped []string
}

// Import reads prices of a list in the form of prices.json, or of pydantic's
// genai-prices (https://github.com/pydantic/genai-prices), as of a day. What that
// list has no date for is taken to hold since 2020.
func Import(data []byte, checked time.Time) (Imported, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		l, err := load(bytes.NewReader(data), "to import")
		if err != nil {
			return Imported{}, err
		}
		var out Imported
		for _, r := range l.rows {
			out.Rows = append(out.Rows, *r)
		}
		return out, nil
	}
	if len(data) > maxList {
		return Imported{}, fmt.Errorf("price list to import: larger than %d MiB", maxList>>20)
	}
	var vendors []genaiProvider
	if err := json.Unmarshal(data, &vendors); err != nil {
		return Imported{}, fmt.Errorf("price list to import: %w", err)
	}
	in := importer{checked: checked.UTC().Format(time.DateOnly)}
	for _, v := range vendors {
		in.provider = v.ID
		if own := genaiNames()[v.ID]; own != "" {
			in.provider = own
		}
		in.taken = map[string]bool{}
		for _, m := range v.Models {
			in.model(m)
		}
	}
	if len(in.rows) == 0 {
		return Imported{}, errors.New("price list to import: holds no price that can be taken over")
	}
	out := Imported{Skipped: in.skipped}
	for _, r := range in.rows {
		row, err := r.row()
		if err != nil {
			return Imported{}, fmt.Errorf("price list to import: %s: %w", r.ID, err)
		}
		out.Rows = append(out.Rows, *row)
	}
	return out, nil
}

// genaiNames are our names of the providers that genai-prices has another for.
func genaiNames() map[string]string { return map[string]string{"google": "gemini", "x-ai": "xai"} }

// genaiUnit is a unit of ours, and how many of it a price of theirs is for.
type genaiUnit struct {
	unit providers.Unit
	per  int64
}

// genaiUnits are the units of genai-prices that we count.
func genaiUnits() map[string]genaiUnit {
	return map[string]genaiUnit{
		"input_mtok": {providers.InputTokens, 1_000_000}, "cache_read_mtok": {providers.CachedInputTokens, 1_000_000},
		"cache_write_mtok": {providers.CacheWriteTokens, 1_000_000}, "cache_write_1h_mtok": {providers.CacheWrite1hTokens, 1_000_000},
		"output_mtok": {providers.OutputTokens, 1_000_000}, "input_image_mtok": {providers.ImageInputTokens, 1_000_000},
		"output_image_mtok": {providers.ImageOutputTokens, 1_000_000}, "input_audio_mtok": {providers.AudioInputTokens, 1_000_000},
		"output_audio_mtok": {providers.AudioOutputTokens, 1_000_000}, "web_searches_kcount": {providers.WebSearches, 1000},
		"requests_kcount": {providers.Calls, 1000}, "audio_hours": {providers.MilliSeconds, 3_600_000},
	}
}

type genaiProvider struct {
	ID     string       `json:"id"`
	Models []genaiModel `json:"models"`
}

type genaiModel struct {
	ID     string          `json:"id"`
	Match  genaiMatch      `json:"match"`
	Prices json.RawMessage `json:"prices"`
}

// genaiMatch is a condition on a model's name.
type genaiMatch struct {
	Equals     string       `json:"equals"`
	StartsWith string       `json:"starts_with"`
	EndsWith   string       `json:"ends_with"`
	Contains   string       `json:"contains"`
	Regex      string       `json:"regex"`
	Or         []genaiMatch `json:"or"`
	And        []genaiMatch `json:"and"`
}

// genaiPrices are prices with when they hold.
type genaiPrices struct {
	Constraint struct {
		StartDate string `json:"start_date"`
		StartTime string `json:"start_time"`
		EndTime   string `json:"end_time"`
	} `json:"constraint"`
	Prices map[string]genaiRate `json:"prices"`
}

// genaiRate is a rate, with others for longer inputs.
type genaiRate struct {
	Base  json.Number `json:"base"`
	Tiers []struct {
		Start int64       `json:"start"`
		Price json.Number `json:"price"`
	} `json:"tiers"`
}

// UnmarshalJSON implements json.Unmarshaler: a number is a rate without others.
func (r *genaiRate) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &r.Base) == nil {
		return nil
	}
	type plain genaiRate
	return json.Unmarshal(data, (*plain)(r))
}

// matches are the names and prefixes that the condition stands for. A condition that
// only narrows another is left out: the models that it takes out have rows of their
// own, which are more particular.
func (m genaiMatch) matches() []string {
	switch {
	case m.Equals != "":
		return []string{m.Equals}
	case m.StartsWith != "":
		return []string{m.StartsWith + "*"}
	case m.Contains != "":
		return []string{m.Contains + "*"}
	case m.EndsWith != "":
		return []string{m.EndsWith}
	case m.Regex != "":
		dated := regexp.MustCompile(`^\^([\w./\\-]+)-(?:\\d\{8\}|\\d\{4\}-\\d\{2\}-\\d\{2\})\$$`).FindStringSubmatch(m.Regex)
		if dated != nil {
			return []string{strings.ReplaceAll(dated[1], `\`, "") + "-20*"}
		}
	}
	var all []string
	for _, one := range m.Or {
		all = append(all, one.matches()...)
	}
	for _, one := range m.And {
		if all = one.matches(); len(all) > 0 {
			break
		}
	}
	return all
}

// importer makes rows of models.
type importer struct {
	provider string
	checked  string
	taken    map[string]bool // matches
	rows     []rowJSON
	skipped  []string
}

func (in *importer) skip(model, format string, args ...any) {
	in.skipped = append(in.skipped, in.provider+" "+model+": "+fmt.Sprintf(format, args...))
}

// model adds the rows of a model.
func (in *importer) model(m genaiModel) {
	if in.provider == "gemini" && strings.HasPrefix(m.ID, "claude") {
		return // Vertex sells it, the Gemini API does not
	}
	names := m.Match.matches()
	if m.Match.Contains != "" && strings.Contains(m.ID, m.Match.Contains) && !strings.HasPrefix(m.ID, m.Match.Contains) {
		names = append(names, m.ID)
	}
	var match []string
	for _, name := range names {
		if strings.Contains(strings.TrimSuffix(name, "*"), "*") || in.taken[name] {
			continue
		}
		in.taken[name] = true
		match = append(match, name)
	}
	if len(match) == 0 {
		in.skip(m.ID, "its condition on names cannot be written as names and prefixes")
		return
	}
	var sets []genaiPrices
	if bytes.HasPrefix(bytes.TrimSpace(m.Prices), []byte("[")) {
		if err := json.Unmarshal(m.Prices, &sets); err != nil {
			in.skip(m.ID, "its prices cannot be read")
			return
		}
	} else {
		var one genaiPrices
		if err := json.Unmarshal(m.Prices, &one.Prices); err != nil {
			in.skip(m.ID, "its prices cannot be read")
			return
		}
		sets = []genaiPrices{one}
	}
	from := "2020-01-01"
	for i, set := range sets {
		hours, until := "", ""
		if set.Constraint.StartTime != "" {
			hours = clock(set.Constraint.StartTime) + "-" + clock(set.Constraint.EndTime)
		} else {
			from = cmp.Or(set.Constraint.StartDate, from)
			for _, later := range sets[i+1:] {
				until = cmp.Or(until, later.Constraint.StartDate)
			}
		}
		in.set(m.ID, match, set.Prices, rowJSON{From: from, Until: until, Hours: hours})
	}
}

// clock is a time of day without its seconds and its zone, which is UTC.
func clock(text string) string { return text[:min(len(text), len("15:04"))] }

// set adds the rows of one set of prices.
func (in *importer) set(model string, match []string, prices map[string]genaiRate, when rowJSON) {
	if len(prices) == 0 {
		in.skip(model, "no price is named")
	}
	units := genaiUnits()
	for _, name := range slices.Sorted(maps.Keys(prices)) {
		unit, ok := units[name]
		switch {
		case name == "input_audio_hours": // the same as audio_hours
			continue
		case !ok:
			in.skip(model, "%s is not counted here", name)
			continue
		}
		rate := prices[name]
		in.row(model, match, unit, rate.Base, 0, when)
		for _, tier := range rate.Tiers {
			in.row(model, match, unit, tier.Price, tier.Start, when)
		}
	}
}

func (in *importer) row(model string, match []string, unit genaiUnit, rate json.Number, above int64, when rowJSON) {
	r := when
	r.Provider, r.Match, r.Unit, r.Rate, r.AboveInput, r.Checked = in.provider, match, string(unit.unit), rate.String(), above, in.checked
	if unit.per != defaultPer {
		r.Per = unit.per
	}
	r.ID = in.provider + "/" + match[0] + "/" + r.Unit
	if above > 0 {
		r.ID += fmt.Sprintf("[over %d]", above)
	}
	if r.Hours != "" {
		r.ID += "[" + r.Hours + "]"
	}
	r.ID += "@" + r.From
	r.Source = "pydantic/genai-prices (MIT): " + model
	in.rows = append(in.rows, r)
}
