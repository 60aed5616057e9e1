package chaos

import (
	"regexp"
	"strings"
	"time"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

// What the model costs, by its vendor's page, in nano-USD a token: $0.15 and
// $0.60 a million. Not taken from the price list, which is under test too.
const (
	inputNano  = 150
	outputNano = 600
	embedNano  = 20 // of an input token of the model for vectors, at $0.02 a million
)

// seen is one generating call as the provider saw it.
type seen struct {
	jobs    []string // batch/custom ids; none if the request did not arrive whole
	outcome string   // empty if it is still under way
	paid    bool     // the vendor would charge for it, whether or not the answer arrived
	cost    int64
	began   time.Time
}

// delivered reports whether the whole answer was sent.
func (s seen) delivered() bool {
	return s.outcome == "ok" || s.outcome == string(fakeprovider.Trickle)
}

var jobInPrompt = regexp.MustCompile(regexp.QuoteMeta(canaryPrompt) + `: ([\w.-]+/r\d+)\.`)

// calls reads what the provider wrote down, by its own id of each call.
func (x *experiment) calls() map[string]seen {
	x.t.Helper()
	jobs := map[int64][]string{}
	for _, c := range x.provider.Calls() {
		for _, m := range jobInPrompt.FindAllSubmatch(c.Body, -1) {
			jobs[c.Number] = append(jobs[c.Number], string(m[1]))
		}
	}
	lines, err := harness.ReadLog[fakeprovider.LogLine](x.callLog())
	if err != nil {
		x.t.Fatal(err)
	}
	out := map[string]seen{}
	for _, l := range lines {
		embeds := strings.HasSuffix(l.Path, "/embeddings")
		if !embeds && !strings.HasSuffix(l.Path, "/chat/completions") {
			continue
		}
		call := out[l.ID]
		if l.Event == "begin" {
			call.began = l.Time
		}
		call.jobs, call.outcome = jobs[l.Call], l.Outcome
		switch {
		case l.Usage != nil && embeds:
			call.paid, call.cost = true, embedNano*l.Usage.InputTokens
		case l.Usage != nil:
			call.paid, call.cost = true, inputNano*l.Usage.InputTokens+outputNano*l.Usage.OutputTokens
		}
		if call.paid && x.flat > 0 {
			call.cost = x.flat
		}
		out[l.ID] = call
	}
	return out
}

// underWay returns the number of calls that the provider is working on.
func (x *experiment) underWay() int {
	n := 0
	for _, c := range x.calls() {
		if c.outcome == "" {
			n++
		}
	}
	return n
}
