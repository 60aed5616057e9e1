package chaos

import (
	"bufio"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"time"

	"oneflow/internal/fakeprovider"
)

// What the model costs, by its vendor's page, in nano-USD a token: $0.15 and
// $0.60 a million. Not taken from the price list, which is under test too.
const (
	inputNano  = 150
	outputNano = 600
)

// seen is one generating call as the provider saw it.
type seen struct {
	job     string // batch/custom id; empty if the request did not arrive whole
	outcome string // empty if it is still under way
	paid    bool   // the vendor would charge for it, whether or not the answer arrived
	cost    int64
	began   time.Time
}

// delivered tells whether the whole answer was sent.
func (s seen) delivered() bool {
	return s.outcome == "ok" || s.outcome == string(fakeprovider.Trickle)
}

var jobInPrompt = regexp.MustCompile(regexp.QuoteMeta(canaryPrompt) + `: ([\w-]+/r\d+)\.`)

// calls reads what the provider wrote down, by its own id of each call.
func (w *world) calls() map[string]seen {
	w.t.Helper()
	jobs := map[int64]string{}
	for _, c := range w.provider.Calls() {
		if m := jobInPrompt.FindSubmatch(c.Body); m != nil {
			jobs[c.Number] = string(m[1])
		}
	}
	f, err := os.Open(w.callLog())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	out := map[string]seen{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var l fakeprovider.LogLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			w.t.Fatalf("call log: %v in %q", err, s.Text())
		}
		if !strings.HasSuffix(l.Path, "/chat/completions") {
			continue
		}
		call := out[l.ID]
		if l.Event == "begin" {
			call.began = l.Time
		}
		call.job, call.outcome = jobs[l.Call], l.Outcome
		if l.Usage != nil {
			call.paid, call.cost = true, inputNano*l.Usage.InputTokens+outputNano*l.Usage.OutputTokens
		}
		out[l.ID] = call
	}
	return out
}

// underWay is how many calls the provider is working on.
func (w *world) underWay() int {
	n := 0
	for _, c := range w.calls() {
		if c.outcome == "" {
			n++
		}
	}
	return n
}
