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
