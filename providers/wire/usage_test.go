package wire_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func TestUsageIsBoundedWhateverIsReported(t *testing.T) {
	t.Parallel()
	const most = 1000
	for raw, want := range map[string]struct {
		n   int64
		odd bool
	}{
		`5`: {5, false}, `0`: {0, false}, `1000`: {1000, false}, `5.0`: {5, false}, `5e2`: {500, false}, `"7"`: {7, false}, `" 7 "`: {7, false}, `null`: {0, false},
		`-1`: {0, true}, `1001`: {1000, true}, `5.5`: {5, true}, `10000000000000000000`: {1000, true}, `18446744073709551615`: {1000, true},
		`9223372036854775807`: {1000, true}, `9223372036854775808`: {1000, true}, `-9223372036854775809`: {0, true},
		`1e30`: {1000, true}, `1e999999999`: {1000, true}, `-1e400`: {0, true}, `1e-400`: {0, true}, `"18446744073709551615"`: {1000, true}, `"NaN"`: {0, true}, `"Inf"`: {1000, true},
		`"many"`: {0, true}, `""`: {0, true}, `true`: {0, true}, `[]`: {0, true}, `[5]`: {0, true}, `{}`: {0, true}, `"\u0000"`: {0, true},
	} {
		r := wire.ReadReport([]byte(`{"a":{"b":` + raw + `}}`))
		n := r.Int(most, "a", "b")
		u := r.Mark(providers.Usage{InputTokens: n})
		if n != want.n || u.Implausible != want.odd || (u.Reported != "") != want.odd {
			t.Errorf("%s: got %d, %+v", raw, n, u)
		}
	}
	for _, raw := range []string{``, `null`, `{}`, `{"a":null}`, `{"a":{"c":5}}`} {
		r := wire.ReadReport([]byte(raw))
		if n := r.Int(most, "a", "b"); n != 0 || r.Mark(providers.Usage{}).Implausible {
			t.Errorf("%q: got %d", raw, n)
		}
	}
	for _, raw := range []string{`5`, `"x"`, `[1]`, `true`} { // no object: what was used is not told
		r := wire.ReadReport([]byte(raw))
		if n := r.Int(most, "a", "b"); n != 0 || !r.Mark(providers.Usage{}).Implausible {
			t.Errorf("%q: got %d", raw, n)
		}
	}
	long := wire.ReadReport([]byte(`{"a":"` + strings.Repeat("é\\u0000", 5000) + `"}`))
	long.Int(most, "a")
	if u := long.Mark(providers.Usage{}); len(u.Reported) > 2<<10 || strings.ContainsFunc(u.Reported, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("kept %d bytes: %.80q", len(u.Reported), u.Reported)
	}
}

func TestUsageIsBoundedByTheRequest(t *testing.T) {
	t.Parallel()
	req := providers.Request{Prompt: "hello", MaxTokens: 100}
	if b := wire.TextBounds(req); b.Output < 100 || b.Output > 100_000 || b.Input < 5 || b.Input > 1_000_000 {
		t.Errorf("got %+v", b)
	}
	req.Extra = map[string]json.RawMessage{"tools": json.RawMessage(`[]`)}
	if b := wire.TextBounds(req); b.Input != wire.Window || b.Output != wire.Window {
		t.Errorf("with tools: got %+v", b)
	}
	if b := wire.TextBounds(providers.Request{Prompt: strings.Repeat("x", 32<<20)}); b.Input != wire.Window || b.Output != wire.Window {
		t.Errorf("a long prompt: got %+v", b)
	}
}

func TestACapWithoutMeaningBoundsNothing(t *testing.T) {
	t.Parallel()
	for _, most := range []int64{0, wire.Window, math.MaxInt64 - 1, math.MaxInt64} {
		b := wire.TextBounds(providers.Request{Task: providers.Text, Prompt: "p", MaxTokens: most})
		r := wire.ReadReport([]byte(`{"output_tokens":7}`))
		if got := r.Int(b.Output, "output_tokens"); got != 7 || r.Mark(providers.Usage{}).Implausible {
			t.Errorf("a cap of %d: %d output tokens, bounds %+v", most, got, b)
		}
	}
}
