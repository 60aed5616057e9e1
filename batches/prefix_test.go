package batches

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// begun are jobs that begin with one of some texts, in turns.
func begun(t *testing.T, provider, model string, n int, starts ...string) []jobs.New {
	t.Helper()
	keys := jobs.NewKeys()
	list := make([]jobs.New, n)
	for i := range list {
		list[i] = jobs.New{ID: jobs.NewID(), Seq: int64(i + 1), Provider: provider, Request: providers.Request{
			Task: providers.Text, Model: model, System: starts[i%len(starts)], Prompt: fmt.Sprint("question ", i), MaxTokens: 10,
		}}
		if err := keys.Assign(&list[i]); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func TestRowsThatBeginAlikeAreDispatchedTogether(t *testing.T) {
	t.Parallel()
	long := func(name string) string {
		return name + strings.Repeat(" of the instructions that all of these rows begin with", 100)
	}
	list := begun(t, "openai", "gpt-6-luna", 6, long("a"), long("b"))
	together(list)
	var turns []int64
	for _, job := range list {
		turns = append(turns, job.Turn)
	}
	if fmt.Sprint(turns) != "[1 4 2 5 3 6]" {
		t.Errorf("turns %v: the three of each beginning follow each other, in their order", turns)
	}
	short := begun(t, "openai", "gpt-6-luna", 4, "a", "b")
	together(short)
	for _, job := range short {
		if job.Turn != 0 {
			t.Errorf("row %d has turn %d, and no vendor keeps so short a beginning", job.Seq, job.Turn)
		}
	}
}

func TestAForecastTellsWhatTheVendorsCacheWouldSave(t *testing.T) {
	t.Parallel()
	list, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	start := strings.Repeat("All of these rows begin with this sentence. ", 1000)
	for _, c := range []struct {
		provider, model string
		marked          bool
	}{{"openai", "gpt-6-luna", false}, {"anthropic", "claude-haiku-5-5", true}} {
		f := &Forecast{Prices: list, At: day, Kind: func(provider string) string { return provider }}
		for _, job := range begun(t, c.provider, c.model, 10, start) {
			f.Add(job)
		}
		p := f.Lines()[0].Prefix
		if p == nil || p.Rows != 10 || p.Groups != 1 || p.Marked != c.marked {
			t.Fatalf("%s: %+v", c.model, p)
		}
		each := p.Tokens / 10
		cost := func(u providers.Usage) billing.NanoUSD {
			charge, err := list.Cost(c.provider, c.model, u, day)
			if err != nil || !charge.Priced {
				t.Fatal(err)
			}
			return charge.Amount
		}
		plain := cost(providers.Usage{InputTokens: each})
		want := 10*plain - cost(providers.Usage{CacheWriteTokens: each}) - 9*cost(providers.Usage{CachedInputTokens: each})
		if each < 4096 || p.Saves != want {
			t.Errorf("%s: %d tokens each save %s, want %s", c.model, each, p.Saves, want)
		}
	}
	f := &Forecast{Prices: list, At: day, Kind: func(provider string) string { return provider }}
	for _, job := range begun(t, "openai", "gpt-6-luna", 10, start[:3900]) {
		f.Add(job)
	}
	if p := f.Lines()[0].Prefix; p != nil {
		t.Errorf("%+v for less than 1,024 tokens", p)
	}
}

// What rows cost whose vendor keeps what they begin with: the first is written, and the
// others are read. A forecast that counts on it says as much, and none is below or above
// what it bounds.
func TestAForecastCountsWhatTheVendorsCacheSaves(t *testing.T) {
	t.Parallel()
	list, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	start := strings.Repeat("All of these rows begin with this sentence. ", 1000)
	card := &billing.Card{Name: "twice", Markup: "2"}
	for name, c := range map[string]struct {
		provider, model string
		mark            providers.Cache
		warm, counts    bool
		write           func(tokens int64) providers.Usage
	}{
		"kept without being told, the first ahead": {"openai", "gpt-6-luna", providers.NoCache, true, true, func(n int64) providers.Usage { return providers.Usage{InputTokens: n} }},
		"kept without being told":                  {"openai", "gpt-6-luna", providers.NoCache, false, false, nil},
		"marked":                                   {"anthropic", "claude-haiku-5-5", providers.CacheDefault, false, true, func(n int64) providers.Usage { return providers.Usage{CacheWriteTokens: n} }},
		"marked, the first ahead":                  {"anthropic", "claude-haiku-5-5", providers.CacheDefault, true, true, func(n int64) providers.Usage { return providers.Usage{CacheWriteTokens: n} }},
		"marked for an hour":                       {"anthropic", "claude-haiku-5-5", providers.Cache1h, true, true, func(n int64) providers.Usage { return providers.Usage{CacheWrite1hTokens: n} }},
		"not marked, as the vendor wants":          {"anthropic", "claude-haiku-5-5", providers.NoCache, true, false, nil},
	} {
		known := map[ModelKey]Answers{{c.provider, c.model}: {Count: 100, OutputTokens: 10}}
		f := &Forecast{Prices: list, At: day, Known: known, Warm: c.warm, Kind: func(provider string) string { return provider }}
		charged := &Forecast{Prices: list, At: day, Known: known, Warm: c.warm, Card: card, Kind: f.Kind}
		for _, job := range begun(t, c.provider, c.model, 100, start) {
			if c.mark != providers.NoCache {
				job.Request.Messages = []providers.Message{
					{Role: "system", Parts: []providers.Part{{Type: providers.TextPart, Text: job.Request.System, Cache: c.mark}}}, {Role: "user", Content: job.Request.Prompt},
				}
				job.Request.System, job.Request.Prompt = "", ""
			}
			f.Add(job)
			charged.Add(job)
		}
		line := f.Lines()[0]
		cost := func(u providers.Usage) billing.NanoUSD {
			charge, err := list.Cost(c.provider, c.model, u, day)
			if err != nil || !charge.Priced {
				t.Fatal(err)
			}
			return charge.Amount
		}
		each := line.Prefix.Tokens / 100
		others := cost(providers.Usage{OutputTokens: 1000})
		read := 99*cost(providers.Usage{CachedInputTokens: each}) + others
		want := 100*cost(providers.Usage{InputTokens: each}) + others
		if c.counts {
			want = read + cost(c.write(each))
		} else if line.Prefix.Counted != 0 {
			t.Errorf("%s: counts on %s", name, line.Prefix.Counted)
		}
		// The question itself is some tokens, and so is the frame.
		if line.Expected < want-want/50 || line.Expected > want+want/10 {
			t.Errorf("%s: %s are expected, want about %s", name, line.Expected, want)
		}
		if line.Low > line.Expected || line.Expected > line.High || line.Prefix.Marked == (c.mark != providers.NoCache || c.provider == "openai") {
			t.Errorf("%s: %s to %s to %s, %+v", name, line.Low, line.Expected, line.High, line.Prefix)
		}
		if line.Low < read/3 {
			t.Errorf("%s: at least %s, where %s is what reading costs", name, line.Low, read)
		}
		if !line.Prefix.Marked && line.Low > read {
			t.Errorf("%s: at least %s, and it may cost %s", name, line.Low, read)
		}
		if twice := charged.Lines()[0]; twice.ExpectedCharge-2*line.Expected > 100 || 2*line.Expected-twice.ExpectedCharge > 100 || twice.LowCharge > twice.ExpectedCharge {
			t.Errorf("%s: %+v is charged for %s", name, twice.ExpectedCharge, line.Expected)
		}
	}
}
