package batches

import (
	"crypto/sha256"
	"slices"
	"strings"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// Prefix says what a vendor's own cache would save, since requests begin alike.
type Prefix struct {
	// Rows are those that begin as another one does, in so many Groups, and Tokens those of
	// the beginnings of all of them.
	Rows   int64 `json:"rows"`
	Groups int64 `json:"groups"`
	Tokens int64 `json:"tokens"`
	// Saves is the most that the cache saves: where the first of each group is answered
	// before the others are sent, as with --warm. Counted is the part of it which the
	// expected costs are less by: that of the groups whose first goes ahead, or which mark
	// what they begin with.
	Saves   billing.NanoUSD `json:"saves_usd"`
	Counted billing.NanoUSD `json:"counted_usd"`
	// Marked: the vendor keeps only what the request marks, and these mark nothing.
	Marked bool `json:"needs_marks"`

	unmarked billing.NanoUSD // the part of Saves whose groups need no marks, and have none
}

const (
	// minPrefix is the number of bytes that two requests must have in common to be taken for
	// ones that begin alike: about the 1,024 tokens from which on vendors keep any.
	minPrefix = 4 << 10
	// maxCommon bounds the bytes of a beginning that are compared, and maxGroups the
	// beginnings that are told apart.
	maxCommon = 256 << 10
	maxGroups = 1000
)

// prefixKey names requests that begin alike.
type prefixKey struct {
	ModelKey
	start [sha256.Size]byte
}

// prefixes groups requests by what they begin with.
type prefixes struct {
	groups map[prefixKey]*prefixGroup
}

// prefixGroup holds what requests have in common.
type prefixGroup struct {
	kind   string
	common string
	rows   int64
	marked bool
	// written holds what the cache takes of each, as it is charged where all are marked.
	written func(tokens int64) providers.Usage
}

// beginning returns the group of a request, and what it begins with; ok is false where it is
// too short.
func beginning(job jobs.New) (key prefixKey, text string, ok bool) {
	if len(job.Encoded) < minPrefix || job.Request.Task != providers.Text {
		return key, "", false
	}
	text = startOf(kinds.Named("", job.Request))
	if len(text) < minPrefix {
		return key, "", false
	}
	return prefixKey{ModelKey{job.Provider, job.Request.Model}, sha256.Sum256([]byte(text[:minPrefix]))}, text, true
}

// startOf returns the words of a request until its first picture, sound or document, in the
// order in which vendors read it: tools, the system prompt, the turns.
func startOf(req providers.Request) string {
	var b strings.Builder
	for _, t := range req.Tools {
		b.WriteString(t.Name + "\x00" + t.Description + "\x00" + string(t.Parameters) + string(t.Own) + "\x00")
	}
	b.WriteString(req.System + "\x00" + req.Prompt)
	for _, m := range req.Messages {
		b.WriteString("\x00" + m.Role + "\x00" + m.Content)
		for _, p := range m.Parts {
			if p.Type != providers.TextPart || b.Len() > maxCommon {
				return b.String()
			}
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

// add adds a job, which uses at most so much, to its group.
func (p *prefixes) add(kind string, job jobs.New, high providers.Usage) {
	key, text, ok := beginning(job)
	if !ok {
		return
	}
	if p.groups == nil {
		p.groups = map[prefixKey]*prefixGroup{}
	}
	text = text[:min(len(text), maxCommon)]
	g := p.groups[key]
	switch {
	case g != nil:
		g.common = g.common[:shared(g.common, text)]
		g.marked = g.marked && job.Request.Caches()
	case len(p.groups) < maxGroups:
		g = &prefixGroup{kind: kind, common: strings.Clone(text), marked: job.Request.Caches(), written: func(tokens int64) providers.Usage { return writing(high, tokens) }}
		p.groups[key] = g
	default:
		return
	}
	g.rows++
}

// shared returns the number of bytes that two texts begin with in common.
func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// writing is the use of tokens that the vendor's cache takes, by the rate that the most of a
// request is counted with.
func writing(high providers.Usage, tokens int64) providers.Usage {
	switch {
	case high.CacheWrite1hTokens > 0:
		return providers.Usage{CacheWrite1hTokens: tokens}
	case high.CacheWriteTokens > 0:
		return providers.Usage{CacheWriteTokens: tokens}
	}
	return providers.Usage{InputTokens: tokens}
}

// of says what the cache would save of a model's calls; nil: nothing.
func (p *prefixes) of(f *Forecast, model ModelKey) *Prefix {
	var out Prefix
	for key, g := range p.groups {
		if key.ModelKey != model || g.rows < 2 {
			continue
		}
		d, _ := kinds.Of(g.kind)
		in, _ := tokensOf(g.kind, providers.Request{Task: providers.Text, Prompt: g.common})
		if d.Cache.MinTokens == 0 || in < d.Cache.MinTokens {
			continue
		}
		each := func(u providers.Usage) (billing.NanoUSD, bool) {
			c, err := f.Prices.Cost(g.kind, model.Model, u, f.At)
			return c.Amount, err == nil && c.Priced
		}
		plain, ok := each(providers.Usage{InputTokens: in})
		read, kept := each(providers.Usage{CachedInputTokens: in})
		written, writes := each(providers.Usage{CacheWriteTokens: in})
		if !writes {
			written = plain
		}
		if marked, ok := each(g.written(in)); g.marked && ok { // all of them are counted as written
			plain, written = marked, marked
		}
		saves := (plain-read)*billing.NanoUSD(g.rows-1) - (written - plain)
		if !ok || !kept || saves <= 0 {
			continue
		}
		out.Rows, out.Groups, out.Tokens = out.Rows+g.rows, out.Groups+1, out.Tokens+in*g.rows
		out.Saves = add(out.Saves, saves)
		if g.marked || f.Warm && !d.Cache.Marked {
			out.Counted = add(out.Counted, saves)
		}
		if !g.marked && !d.Cache.Marked {
			out.unmarked = add(out.unmarked, saves)
		}
		out.Marked = out.Marked || d.Cache.Marked && !g.marked
	}
	if out.Groups == 0 {
		return nil
	}
	return &out
}

// count takes what the vendor's cache saves out of what the jobs of a line are expected to
// cost, and, where it keeps without being told, out of the least that they may.
func (f *Forecast) count(line *ForecastLine) {
	p := line.Prefix
	if p == nil {
		return
	}
	line.Expected = max(0, line.Expected-p.Counted)
	if charged, ok := f.Card.Terms(providers.Text).Charge(0, &p.Counted); ok {
		line.ExpectedCharge = max(0, line.ExpectedCharge-charged)
	}
	saves := billing.NanoUSD(share(int64(p.unmarked), lowShare))
	line.Low = min(max(0, line.Low-saves), line.Expected)
	if charged, ok := f.Card.Terms(providers.Text).Charge(0, &saves); ok {
		line.LowCharge = min(max(0, line.LowCharge-charged), line.ExpectedCharge)
	}
}

// together has those of some jobs that begin alike dispatched one after the other: each gets
// its turn, as they stand, beside the first that begins as it does.
func together(list []jobs.New) {
	place := map[prefixKey]int{}
	order := make([]int, len(list))
	places := make([]int, len(list))
	moved := false
	for i, job := range list {
		order[i], places[i] = i, i
		key, _, ok := beginning(job)
		if !ok {
			continue
		}
		first, seen := place[key]
		if !seen {
			place[key], first = i, i
		}
		places[i] = first
		moved = moved || seen && places[i-1] != first
	}
	if !moved {
		return
	}
	slices.SortStableFunc(order, func(a, b int) int { return places[a] - places[b] })
	turns := make([]int64, len(list))
	for i, job := range list {
		turns[i] = job.Seq
	}
	for at, i := range order {
		list[i].Turn = turns[at]
	}
}
