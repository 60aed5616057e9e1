package providers_test

import (
	"encoding/json"
	"testing"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// A body is its vendor's to judge: a number that is written in another way is the same number, and a
// seed that we cannot hold arrives all the same.
func TestANumberInABodyMayBeWrittenInAnyWay(t *testing.T) {
	t.Parallel()
	for body, c := range map[string]struct {
		most, n int64
		seed    string // kept as it is
		refused bool
	}{
		`{"max_tokens":1024.0,"n":1e0}`:         {most: 1024},
		`{"max_tokens":1.5e3,"n":2.0}`:          {most: 1500, n: 2},
		`{"seed":18446744073709551615}`:         {seed: "18446744073709551615"},
		`{"max_tokens":0.5}`:                    {refused: true},
		`{"max_tokens":"1024"}`:                 {refused: true},
		`{"max_tokens":1e400}`:                  {refused: true},
		`{"max_tokens":9223372036854775808}`:    {refused: true},
		`{"seed":"x"}`:                          {refused: true},
		`{"seed":1.5}`:                          {refused: true},
		`{"n":1e999999999}`:                     {refused: true},
		`{"max_completion_tokens":1e2,"n":3.0}`: {most: 100, n: 3},
	} {
		can, _ := kinds.CapabilitiesOf("openai")
		req := providers.Request{Task: providers.Text, Endpoint: "/v1/chat/completions", Body: json.RawMessage(`{"model":"m","messages":[{"role":"user","content":"a"}],` + body[1:])}
		named, _, err := can.Named(req)
		if (err != nil) != c.refused || (can.Check(req) != nil) != c.refused {
			t.Errorf("%s: %v, %v", body, err, can.Check(req))
		}
		if !c.refused && (named.MaxTokens != c.most || int64(named.N) != c.n || string(named.Extra["seed"]) != c.seed) {
			t.Errorf("%s: %+v", body, named)
		}
	}
}
