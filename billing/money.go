package billing

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// NanoUSD is an amount of money in nano-dollars: 1,000,000,000 are one US
// dollar. It is the only form in which money is kept and computed; the largest
// amount is about 9.2 thousand million dollars. It reads and writes itself as a
// plain decimal string, in JSON too.
type NanoUSD int64

// USD is one US dollar.
const USD NanoUSD = 1_000_000_000

// decimals are the places after the point in a NanoUSD.
const decimals = 9

// String returns the exact amount in dollars for programs: a plain decimal
// without exponent, currency sign or trailing zeros, such as "0.000123", "-2.5"
// or "0". Parse takes it back.
func (n NanoUSD) String() string {
	whole, fraction := n.split()
	out := strconv.FormatUint(whole, 10)
	if fraction != 0 {
		out += "." + strings.TrimRight(fmt.Sprintf("%0*d", decimals, fraction), "0")
	}
	if n < 0 {
		out = "-" + out
	}
	return out
}

// Human returns the amount for people: to the cent from one dollar on
// ("$1,234.56"), below that to a hundredth of a cent ("$0.0042", "$0.03"), and
// "<$0.0001" for what is less. Rounding is half to even; use String to compute.
func (n NanoUSD) Human() string {
	const places = 4
	sign := ""
	if n < 0 {
		sign = "-"
	}
	whole, fraction := n.split()
	if whole == 0 && fraction > 0 && fraction < uint64(USD)/10_000 {
		if n < 0 {
			return ">-$0.0001"
		}
		return "<$0.0001"
	}
	if whole == 0 {
		if f := roundHalfEven(fraction, 100_000); f < 10_000 {
			text := strings.TrimRight(fmt.Sprintf("%0*d", places, f), "0")
			return sign + "$0." + text + strings.Repeat("0", max(0, 2-len(text)))
		}
	}
	cents := roundHalfEven(fraction, 10_000_000)
	whole += cents / 100
	return fmt.Sprintf("%s$%s.%02d", sign, grouped(whole), cents%100)
}

// Exact returns the amount for people to the last nano-dollar, such as "$0.0000241" or
// "-$2.50": for ledgers and refusals, which must add up.
func (n NanoUSD) Exact() string {
	whole, fraction := n.split()
	sign := ""
	if n < 0 {
		sign = "-"
	}
	digits := strings.TrimRight(fmt.Sprintf("%0*d", decimals, fraction), "0")
	return sign + "$" + grouped(whole) + "." + digits + strings.Repeat("0", max(0, 2-len(digits)))
}

// MarshalText returns String, so that JSON carries a decimal string: a number
// would pass through a double somewhere.
func (n NanoUSD) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText is Parse.
func (n *NanoUSD) UnmarshalText(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return err
	}
	*n = v
	return nil
}

// Parse reads an amount in dollars: digits with at most nine places after the
// point ("12", "0.000123", "-2.5"), with or without a leading "$". Exponents,
// separators and finer fractions are refused: nothing is rounded here.
func Parse(s string) (NanoUSD, error) {
	const example = `write dollars such as "12.50"`
	rest, negative := strings.CutPrefix(s, "-")
	rest = strings.TrimPrefix(rest, "$")
	v, err := parseDecimal(rest, decimals)
	if err != nil {
		return 0, fmt.Errorf("amount %s: %w; %s", quote(s), err, example)
	}
	nano := v.Mul(v, new(big.Rat).SetInt64(int64(USD))).Num()
	if negative {
		nano.Neg(nano)
	}
	if !nano.IsInt64() {
		return 0, fmt.Errorf("amount %s: larger than $%s, the most that can be kept", quote(s), NanoUSD(math.MaxInt64))
	}
	return NanoUSD(nano.Int64()), nil
}

// split returns the absolute amount as whole dollars and nano-dollars.
func (n NanoUSD) split() (whole, fraction uint64) {
	abs := uint64(n) //nolint:gosec // two's complement is wanted: it gives the smallest int64 its absolute value
	if n < 0 {
		abs = -abs
	}
	return abs / uint64(USD), abs % uint64(USD)
}

// grouped writes n with a comma between thousands.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// roundHalfEven returns n / d, rounded to the nearest, halves to the even one.
func roundHalfEven(n, d uint64) uint64 {
	q, r := n/d, n%d
	if r > d-r || (r == d-r && q%2 == 1) {
		q++
	}
	return q
}

// parseDecimal reads a plain decimal of at most 12 digits before the point and
// places after it, without sign or exponent. Bounding it here keeps the
// arithmetic on numbers from a file small.
func parseDecimal(s string, places int) (*big.Rat, error) {
	const digits = 12
	whole, fraction, point := strings.Cut(s, ".")
	switch {
	case whole == "" || (point && fraction == ""):
		return nil, fmt.Errorf("not a plain decimal")
	case strings.Trim(whole+fraction, "0123456789") != "":
		return nil, fmt.Errorf("not a plain decimal")
	case len(whole) > digits:
		return nil, fmt.Errorf("more than %d digits before the point", digits)
	case len(fraction) > places:
		return nil, fmt.Errorf("more than %d places after the point", places)
	}
	v, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil, fmt.Errorf("not a plain decimal")
	}
	return v, nil
}

// quote shows a short piece of a value that was refused.
func quote(s string) string {
	const longest = 40
	if len(s) > longest {
		return strconv.Quote(s[:longest]) + "…"
	}
	return strconv.Quote(s)
}
