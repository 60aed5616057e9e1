package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"

	"oneflow/providers"
)

const (
	// Window bounds the tokens of one side of a call where nothing tighter is
	// known: more than any model reads or writes at once.
	Window int64 = 1 << 24
	// hiddenInput bounds what a server may add to a request that holds nothing but
	// texts: prompts of its own.
	hiddenInput int64 = 1 << 18
	// hiddenOutput bounds what a server may write beyond the cap of a request: some do
	// not count reasoning.
	hiddenOutput int64 = 1 << 15
	// longestReport is the most that is kept of a report that is not believed.
	longestReport = 2 << 10
)

// Bounds are the most tokens that a call can use.
type Bounds struct {
	Input, Output int64
}

// TextBounds are the most tokens that a call for text can use: a token is at least
// a byte of the request, beside what the server adds, where the request holds only
// texts; and the answer ends at its cap.
func TextBounds(req providers.Request) Bounds {
	b := Bounds{Input: Window, Output: Window}
	for range req.Media() {
		return b // how they are counted is the vendor's affair
	}
	if len(req.Extra) > 0 || req.N > 1 {
		return b // several answers, searches: anything
	}
	var size int64
	for t := range req.Texts() {
		size += int64(len(t))
	}
	b.Input = min(Window, size+hiddenInput)
	if req.MaxTokens > 0 && req.MaxTokens < Window-hiddenOutput {
		b.Output = req.MaxTokens + hiddenOutput
	}
	return b
}

// Report reads the numbers of a vendor's report of what a call used. Whatever they
// are, it goes on: a number that cannot be is brought within its bounds, and the
// report is kept beside what was read of it.
type Report struct {
	raw    json.RawMessage
	fields map[string]any
	odd    bool
}

// ReadReport reads the usage object of an answer; nil or null is an empty one.
func ReadReport(raw json.RawMessage) *Report {
	r := &Report{raw: raw}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) == nil && v != nil {
		fields, ok := v.(map[string]any)
		r.fields, r.odd = fields, !ok
	}
	return r
}

func (r *Report) at(path []string) any {
	var v any = r.fields
	for _, name := range path {
		o, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = o[name]
	}
	return v
}

// Int is the number at path, from 0 to most; 0 where there is none.
func (r *Report) Int(most int64, path ...string) int64 {
	v := r.at(path)
	if v == nil {
		return 0
	}
	n, ok := whole(v)
	if !ok || n < 0 || n > most {
		r.odd = true
	}
	return min(max(n, 0), most)
}

// Decimal is the number at path in plain decimals, such as "0.000012"; empty where
// there is none, or none that can be an amount of money.
func (r *Report) Decimal(path ...string) string {
	n, ok := r.at(path).(json.Number)
	if !ok || len(n) > 40 {
		return ""
	}
	if _, exponent, found := strings.Cut(strings.ToLower(n.String()), "e"); found {
		if e, err := strconv.Atoi(exponent); err != nil || e < -20 || e > 6 {
			return ""
		}
	}
	v, ok := new(big.Rat).SetString(n.String())
	if !ok || v.Sign() < 0 || v.Cmp(big.NewRat(1_000_000, 1)) > 0 {
		return ""
	}
	return v.FloatString(24)
}

// Sum adds two amounts that Decimal has returned.
func Sum(a, b string) string {
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	if !okX || !okY {
		return ""
	}
	return x.Add(x, y).FloatString(24)
}

// True reports whether true stands at path.
func (r *Report) True(path ...string) bool {
	yes, _ := r.at(path).(bool)
	return yes
}

// Word is the text at path; empty where there is none.
func (r *Report) Word(path ...string) string {
	word, _ := r.at(path).(string)
	return word
}

// Mark returns usage with the report beside it where that was not believed.
func (r *Report) Mark(usage providers.Usage) providers.Usage {
	if !r.odd {
		return usage
	}
	return Implausible(usage, r.raw)
}

// Implausible returns usage with the report beside it that was not believed.
func Implausible(usage providers.Usage, report []byte) providers.Usage {
	usage.Implausible, usage.Reported = true, reported(string(report))
	return usage
}

// reported is a report as it may stand in a database: printable ASCII.
func reported(raw string) string {
	quoted := strconv.QuoteToASCII(oneLine(raw, longestReport/4))
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// whole reads a number whatever form it has: 5, 5.0, 5e3, "5". Beyond what an
// int64 holds it is the largest or the smallest one. It reports whether it is a
// whole number.
func whole(v any) (int64, bool) {
	var s string
	switch v := v.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = strings.TrimSpace(v)
	default:
		return 0, false
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	if len(s) > 400 {
		return 0, false
	}
	f, _, err := big.ParseFloat(s, 10, 128, big.ToNearestEven)
	if err != nil {
		return 0, false
	}
	if f.IsInf() || f.MantExp(nil) > 63 {
		if f.Sign() < 0 {
			return math.MinInt64, true
		}
		return math.MaxInt64, true
	}
	n, accuracy := f.Int64()
	return n, accuracy == big.Exact
}

// Text is a text in an answer. Anything else in its place, such as null or a
// number, reads as the empty text: an answer that is paid for is not lost for it.
type Text string

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (t *Text) UnmarshalJSON(data []byte) error {
	*t = Text(text(data))
	return nil
}
