package batches_test

import (
	"strings"
	"testing"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// candidate is a model of a provider that is called as its kind.
func candidate(kind, model string, task providers.Task) batches.Candidate {
	can, _ := kinds.CapabilitiesOf(kind)
	return batches.Candidate{ModelKey: batches.ModelKey{Provider: kind, Model: model}, Kind: kind, Task: task, Can: can}
}

func prices(t *testing.T) *billing.List {
	t.Helper()
	list, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// day is one on which the models of these tests have a price.
var day = time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)

func TestOnlyModelsThatTakeAllOptionsAreNamedAsCheaper(t *testing.T) {
	t.Parallel()
	dear := batches.ModelKey{Provider: "openai", Model: "gpt-6-sol"}
	all := []batches.Candidate{
		candidate("openai", "gpt-6-luna", providers.Text), candidate("anthropic", "claude-haiku-5-5", providers.Text),
		candidate("openai", "gpt-6-astra", providers.Text), candidate("openai", "gpt-6-sol", providers.Text),
		candidate("openai", "text-embedding-3-small", providers.Embedding),
	}
	used := providers.Usage{InputTokens: 1_000, OutputTokens: 1_000}
	cost := func(key batches.ModelKey) billing.NanoUSD {
		c, err := prices(t).Cost(key.Provider, key.Model, used, day)
		if err != nil || !c.Priced {
			t.Fatalf("%s has no price: %v", key, err)
		}
		return c.Amount
	}
	named := func(reqs ...providers.Request) (text string) {
		c := batches.Cheaper{Prices: prices(t), Candidates: all, At: day}
		for _, req := range reqs {
			c.Add(batches.Bought{ModelKey: dear, Request: req, Usage: used, Cost: cost(dear)})
		}
		for of, than := range c.Each {
			if want := (batches.Alternative{Provider: dear.Provider, Model: dear.Model, Cost: cost(dear) * billing.NanoUSD(len(reqs))}); of != want {
				t.Errorf("%+v, want %+v", of, want)
			}
			for _, a := range than {
				text += a.Model + " "
				if want := cost(batches.ModelKey{Provider: a.Provider, Model: a.Model}) * billing.NanoUSD(len(reqs)); a.Cost != want {
					t.Errorf("%s: %s, want %s", a.Model, a.Cost, want)
				}
			}
		}
		return strings.TrimSpace(text)
	}
	plain := providers.Request{Task: providers.Text, Prompt: "a"}
	if got := named(plain, plain); got != "claude-haiku-5-5 gpt-6-luna" {
		t.Errorf("named %q, want the cheaper ones, the cheapest first", got)
	}
	seed := int64(7)
	seeded := plain
	seeded.Seed = &seed
	if got := named(plain, seeded); got != "gpt-6-luna" {
		t.Errorf("named %q, and Anthropic takes no seed", got)
	}
	body := providers.Request{Task: providers.Text, Endpoint: "/v1/chat/completions", Body: []byte(`{"model":"gpt-6-sol","messages":[{"role":"user","content":"a"}]}`)}
	if got := named(body); got != "claude-haiku-5-5 gpt-6-luna" {
		t.Errorf("named %q for a vendor's own body", got)
	}
	wide := providers.Usage{InputTokens: 100_000_000, OutputTokens: 1}
	c := batches.Cheaper{Prices: prices(t), Candidates: all, At: day}
	c.Add(batches.Bought{ModelKey: dear, Request: plain, Usage: wide, Cost: billing.USD * 1000})
	for _, than := range c.Each {
		if len(than) > 0 {
			t.Errorf("named %v for what no window holds", than)
		}
	}
}
