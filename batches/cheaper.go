package batches

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// Candidate is a model that could be asked.
type Candidate struct {
	ModelKey
	// Kind is the name that the price list has for the provider.
	Kind string
	Task providers.Task
	// Can holds what the provider can do.
	Can providers.Capabilities
}

// Alternative is a model that the same requests would have cost less with.
type Alternative struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Cost is theirs there, with as many tokens.
	Cost billing.NanoUSD `json:"cost_usd"`
}

// Bought is a request that was answered, with what that used and cost; of a call that several
// shared, its part.
type Bought struct {
	ModelKey
	Request providers.Request
	Usage   providers.Usage
	Cost    billing.NanoUSD
	// Shared is the number of jobs that the call served. Its usage is empty for one that it
	// brought no result for.
	Shared int
}

// Cheaper finds the models that the same requests would cost least with: those of the same
// task that take all of their options.
type Cheaper struct {
	Prices     *billing.List
	Candidates []Candidate
	// At is the time whose prices count.
	At time.Time

	groups map[lineKey]map[string]*alike
}

// maxAlternatives bounds the models that are named, and maxShapes the sorts of requests that
// are told apart: of more, nobody is named.
const (
	maxAlternatives = 3
	maxShapes       = 1000
)

// alike are requests with the same options, and what they use.
type alike struct {
	req    providers.Request // the first
	n      int64
	used   providers.Usage // the sums of what counts
	prompt int64           // the bytes of all prompts
	cost   billing.NanoUSD
}

// Add adds a request that was answered. One that has no part in the answer counts nowhere.
func (c *Cheaper) Add(b Bought) {
	if b.Shared > 1 && b.Usage == (providers.Usage{}) {
		return
	}
	c.add(lineKey{"", b.ModelKey}, b.Request, b.Usage, b.Cost)
}

func (c *Cheaper) add(of lineKey, req providers.Request, used providers.Usage, cost billing.NanoUSD) {
	if c.groups == nil {
		c.groups = map[lineKey]map[string]*alike{}
	}
	if c.groups[of] == nil {
		c.groups[of] = map[string]*alike{}
	}
	if len(c.groups[of]) > maxShapes {
		return
	}
	req = kinds.Named("", req)
	shape := shapeOf(req)
	g := c.groups[of][shape]
	if g == nil {
		g = &alike{req: req}
		c.groups[of][shape] = g
	}
	g.n++
	g.used.InputTokens += used.TotalInput()
	g.used.OutputTokens += used.TotalOutput()
	g.used.MilliSeconds += used.MilliSeconds
	g.prompt += int64(len(req.Prompt))
	g.cost = add(g.cost, cost)
}

// shapeOf is a request without what it says: its options, its turns and what they have.
func shapeOf(req providers.Request) string {
	req.Prompt, req.System, req.NegativePrompt, req.Model, req.Stop = "", "", "", "", nil
	turns := make([]providers.Message, len(req.Messages))
	for i, m := range req.Messages {
		turns[i] = providers.Message{Role: m.Role}
		for _, p := range m.Parts {
			turns[i].Parts = append(turns[i].Parts, providers.Part{Type: p.Type, MIME: p.MIME})
		}
		for range m.ToolCalls {
			turns[i].ToolCalls = append(turns[i].ToolCalls, providers.ToolCall{})
		}
	}
	req.Messages = turns
	data, err := json.Marshal(req)
	if err != nil {
		return ""
	}
	return string(data)
}

// Each yields the models whose requests were added, with what these did cost, and the models
// that they would have cost less with, the cheapest first.
func (c *Cheaper) Each(yield func(of Alternative, than []Alternative) bool) {
	for of, groups := range c.groups {
		var cost billing.NanoUSD
		for _, g := range groups {
			cost = add(cost, g.cost)
		}
		if !yield(Alternative{of.Provider, of.Model, cost}, c.than(of)) {
			return
		}
	}
}

func (c *Cheaper) than(of lineKey) []Alternative {
	groups := c.groups[of]
	var own billing.NanoUSD
	for _, g := range groups {
		own = add(own, g.cost)
	}
	if len(groups) > maxShapes || own == 0 {
		return nil
	}
	var found []Alternative
	for _, m := range c.Candidates {
		cost, ok := c.costOf(m, of.ModelKey, groups)
		if ok && cost < own {
			found = append(found, Alternative{m.Provider, m.Model, cost})
		}
	}
	slices.SortFunc(found, func(a, b Alternative) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), strings.Compare(a.Provider, b.Provider), strings.Compare(a.Model, b.Model))
	})
	return found[:min(len(found), maxAlternatives)]
}

// costOf returns what all of these would cost with a model; ok is false where it does not
// take them all, or nobody knows.
func (c *Cheaper) costOf(m Candidate, in ModelKey, groups map[string]*alike) (sum billing.NanoUSD, ok bool) {
	if m.ModelKey == in {
		return 0, false
	}
	window := c.Prices.ContextWindow(m.Kind, m.Model)
	for _, g := range groups {
		req := g.req
		req.Model = m.Model
		if req.Task != m.Task || req.Body != nil || m.Can.Check(req) != nil {
			return 0, false
		}
		each := providers.Usage{}
		switch req.Task {
		case providers.Text, providers.Embedding:
			each.InputTokens, each.OutputTokens = divided(g.used.InputTokens, g.n), divided(g.used.OutputTokens, g.n)
			if window > 0 && each.InputTokens+each.OutputTokens > window {
				return 0, false
			}
		case providers.Transcription:
			each.MilliSeconds = divided(g.used.MilliSeconds, g.n)
		case providers.Image, providers.Audio, providers.Video, providers.Moderation:
			req.Prompt = strings.Repeat("x", int(divided(g.prompt, g.n)))
			each = c.Prices.UpperBound(m.Kind, req, c.At)
		}
		charge, err := c.Prices.Cost(m.Kind, m.Model, each, c.At)
		if err != nil || !charge.Priced {
			return 0, false
		}
		if charge.Amount > math.MaxInt64/billing.NanoUSD(g.n) {
			return 0, false
		}
		sum = add(sum, charge.Amount*billing.NanoUSD(g.n))
	}
	return sum, true
}

// divided is a share of a sum, rounded up.
func divided(sum, n int64) int64 { return (sum + n - 1) / n }
