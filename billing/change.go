package billing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Change is a row that says something else than a list, or something new.
type Change struct {
	// Row is the new price.
	Row Row
	// Rate is the list's price for the same, as dollars per Row.Per; empty where it
	// has none.
	Rate string
}

// Changes are the rows that hold at a time, or will, and say something else than the
// list: of some models another rate, or a rate where it has none.
func (l *List) Changes(rows []Row, at time.Time) []Change {
	var out []Change
	for _, r := range rows {
		if !r.Until.IsZero() && !at.Before(r.Until) {
			continue // over
		}
		moment := at
		if moment.Before(r.From) {
			moment = r.From
		}
		kept := r
		kept.Match = nil
		var rate string
		for _, m := range r.Match {
			switch old := l.sameAs(r, m, moment); {
			case old == nil:
				kept.Match = append(kept.Match, m)
			case old.perUnit.Cmp(r.perUnit) != 0:
				kept.Match = append(kept.Match, m)
				rate = perRate(old, r.Per)
			}
		}
		if len(kept.Match) > 0 {
			out = append(out, Change{Row: kept, Rate: rate})
		}
	}
	return out
}

// sameAs returns the list's row for what r is for, of the models of a match; nil where
// there is none.
func (l *List) sameAs(r Row, match string, at time.Time) *Row {
	c := l.cards[r.Provider].find(trimStar(match), func(c *card) bool { return c.row(r, at) != nil })
	if c == nil {
		return nil
	}
	return c.row(r, at)
}

// row returns the row of a card that is for the same as r at a time.
func (c *card) row(r Row, at time.Time) *Row {
	var best *Row
	for _, o := range c.rows {
		same := o.Unit == r.Unit && o.Variant == r.Variant && o.AboveInput == r.AboveInput && o.Hours == r.Hours
		began := !at.Before(o.From) && (o.Until.IsZero() || at.Before(o.Until))
		if same && began && (best == nil || o.From.After(best.From)) {
			best = o
		}
	}
	return best
}

// perRate is the rate of a row for so many units.
func perRate(r *Row, per int64) string {
	if r.Per == per {
		return r.Rate
	}
	return fmt.Sprintf("%s per %d", r.Rate, r.Per)
}

// Override writes a file in the form of prices.json that holds what an old one holds,
// if there is one, with the changes laid over it.
func Override(w io.Writer, old []byte, changes []Change) error {
	base := &List{}
	if len(bytes.TrimSpace(old)) > 0 {
		var err error
		if base, err = load(bytes.NewReader(old), "to be written"); err != nil {
			return err
		}
	}
	var rows []*Row
	for i := range changes {
		rows = append(rows, &changes[i].Row)
	}
	over, err := newList(parts{rows: rows})
	if err != nil {
		return err
	}
	all, err := base.With(over)
	if err != nil {
		return err
	}
	if len(all.limits)+len(all.factors)+len(all.retirements) > 0 {
		return errors.New("it holds models, factors or retirements, which an import does not keep: import to a file of its own")
	}
	out := make([]Row, len(all.rows))
	for i, r := range all.rows {
		out[i] = *r
	}
	slices.SortStableFunc(out, func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	return writeRows(w, out)
}

// MarshalJSON implements json.Marshaler: the form of prices.json.
func (r *Row) MarshalJSON() ([]byte, error) {
	out := rowJSON{
		ID: r.ID, Provider: r.Provider, Match: r.Match, Variant: r.Variant, Unit: string(r.Unit), AboveInput: r.AboveInput,
		Beside: string(r.Beside), Rate: r.Rate, Hours: r.Hours, From: day(r.From), Until: day(r.Until), Checked: day(r.Checked),
		Estimate: r.Estimate, Source: r.Source,
	}
	if r.Per != defaultPer {
		out.Per = r.Per
	}
	return json.Marshal(out)
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateOnly)
}

// writeRows writes rows in the form of prices.json, one a line.
func writeRows(w io.Writer, rows []Row) error {
	if _, err := io.WriteString(w, "{\n  \"prices\": [\n"); err != nil {
		return err
	}
	for i := range rows {
		line, err := json.Marshal(&rows[i])
		if err != nil {
			return err
		}
		comma := ","
		if i == len(rows)-1 {
			comma = ""
		}
		if _, err := fmt.Fprintf(w, "    %s%s\n", line, comma); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "  ]\n}\n")
	return err
}
