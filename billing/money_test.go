package billing_test

import (
	"encoding/json"
	"math"
	"testing"

	"oneflow/billing"
)

func TestAmountsAreWrittenInFullForPrograms(t *testing.T) {
	t.Parallel()
	for n, want := range map[billing.NanoUSD]string{
		0:                   "0",
		1:                   "0.000000001",
		123_000:             "0.000123",
		1_000_000_000:       "1",
		2_500_000_000:       "2.5",
		-2_500_000_000:      "-2.5",
		-1:                  "-0.000000001",
		120_000_000_000_000: "120000",
		math.MaxInt64:       "9223372036.854775807",
		math.MinInt64:       "-9223372036.854775808",
	} {
		if got := n.String(); got != want {
			t.Errorf("%d nano-dollars: got %q, want %q", int64(n), got, want)
		}
		back, err := billing.Parse(want)
		if err != nil || back != n {
			t.Errorf("Parse(%q) = %d, %v; want %d", want, int64(back), err, int64(n))
		}
	}
}

func TestAmountsAreShortForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[billing.NanoUSD]string{
		0:                     "$0.00",
		1:                     "<$0.0001",
		99_999:                "<$0.0001",
		100_000:               "$0.0001",
		4_200_000:             "$0.0042",
		150_000:               "$0.0002", // 0.00015: half goes to the even digit
		250_000:               "$0.0002", // 0.00025: so does this half
		30_000_000:            "$0.03",
		123_400_000:           "$0.1234",
		999_949_999:           "$0.9999",
		999_950_000:           "$1.00",
		1_230_000_000:         "$1.23",
		1_225_000_000:         "$1.22", // half to even
		1_235_000_000:         "$1.24",
		1_995_000_001:         "$2.00",
		1_234_560_000_000:     "$1,234.56",
		1_000_000_000_000_000: "$1,000,000.00",
		-1:                    ">-$0.0001",
		-4_200_000:            "-$0.0042",
		-1_230_000_000:        "-$1.23",
		math.MaxInt64:         "$9,223,372,036.85",
		math.MinInt64:         "-$9,223,372,036.85",
	} {
		if got := n.Human(); got != want {
			t.Errorf("%d nano-dollars: got %q, want %q", int64(n), got, want)
		}
	}
}

func TestAmountsOfLedgersAreExact(t *testing.T) {
	t.Parallel()
	for n, want := range map[billing.NanoUSD]string{
		0: "$0.00", 1: "$0.000000001", 24_100: "$0.0000241", 500_000_000: "$0.50", 30_000_000: "$0.03", 1_235_000_000: "$1.235", -2_500_000_000: "-$2.50", -1: "-$0.000000001",
		1_234_560_000_000: "$1,234.56", math.MaxInt64: "$9,223,372,036.854775807", math.MinInt64: "-$9,223,372,036.854775808",
	} {
		if got := n.Exact(); got != want {
			t.Errorf("%d nano-dollars: got %q, want %q", int64(n), got, want)
		}
	}
}

func TestJSONCarriesAmountsAsStrings(t *testing.T) {
	t.Parallel()
	type bill struct {
		Cost billing.NanoUSD `json:"cost"`
	}
	got, err := json.Marshal(bill{123_000})
	if err != nil || string(got) != `{"cost":"0.000123"}` {
		t.Errorf("got %s, %v", got, err)
	}
	var back bill
	if err := json.Unmarshal(got, &back); err != nil || back.Cost != 123_000 {
		t.Errorf("got %d, %v", int64(back.Cost), err)
	}
	for _, bad := range []string{`{"cost":0.000123}`, `{"cost":"1e-9"}`, `{"cost":""}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestParseTakesPlainDollarsOnly(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]billing.NanoUSD{
		"12.50": 12_500_000_000, "$5": 5_000_000_000, "-$0.5": -500_000_000, "007": 7_000_000_000, "0.000000001": 1, "-0": 0,
	} {
		if got, err := billing.Parse(s); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", s, int64(got), err, int64(want))
		}
	}
	for _, s := range []string{
		"", "-", "$", ".", "1.", ".5", "1e3", "1,000", "+1", "--1", " 1", "1 ", "0x1", "1_0", "1/2", "NaN", "Inf",
		"0.0000000001", "9223372036.854775808", "99999999999999999999", "١",
	} {
		if got, err := billing.Parse(s); err == nil {
			t.Errorf("Parse(%q) = %s, want an error", s, got)
		}
	}
}

func FuzzParseGivesBackWhatStringWrote(f *testing.F) {
	f.Add("0.000123")
	f.Add("-$12.5")
	f.Add("9223372036.854775807")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := billing.Parse(s)
		if err != nil {
			return
		}
		if back, err := billing.Parse(n.String()); err != nil || back != n {
			t.Errorf("%q is %d, written %q, read %d, %v", s, int64(n), n, int64(back), err)
		}
	})
}
