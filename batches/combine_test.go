package batches_test

import (
	"strings"
	"testing"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// short are n rows that are asked for together, by tens.
func short(n int, system string) (list []jobs.New) {
	for range n {
		list = append(list, jobs.New{Provider: "openai", Request: providers.Request{
			Task: providers.Text, Model: "gpt-5.4-mini", Prompt: "Is this a complaint? It broke.", System: system, MaxTokens: 20, Combine: 10,
		}})
	}
	return list
}

func TestAForecastTellsTheCallsAndTheMoneyThatCombiningSaves(t *testing.T) {
	t.Parallel()
	plain := forecastOf(t, nil, short(25, "")...)[0]
	if plain.Jobs != 25 || plain.Calls != 3 || plain.CombiningSaves >= 0 {
		t.Errorf("the numbers cost more where nothing is repeated: %+v", plain)
	}
	long := strings.Repeat("You are a careful reader of letters. ", 50)
	saved := forecastOf(t, nil, short(25, long)...)[0]
	rows := short(25, long)
	for i := range rows {
		rows[i].Request.Combine = 0
	}
	alone := forecastOf(t, nil, rows...)[0]
	if alone.Calls != 25 || alone.CombiningSaves != 0 {
		t.Errorf("alone: %+v", alone)
	}
	if saved.Calls != 3 || saved.CombiningSaves != alone.Expected-saved.Expected || saved.Expected > alone.Expected/2 {
		t.Errorf("%+v; alone %+v", saved, alone)
	}
	if saved.Low > saved.Expected || saved.High < alone.High {
		t.Errorf("each may have to be asked alone, too: %+v; alone %+v", saved, alone)
	}
}

func TestAForecastCountsTheCallsOfPackedEmbeddings(t *testing.T) {
	t.Parallel()
	var rows []jobs.New
	for range 450 {
		rows = append(rows, jobs.New{Provider: "openai", Request: providers.Request{Task: providers.Embedding, Model: "text-embedding-3-small", Prompt: "a lighthouse"}})
	}
	if l := forecastOf(t, nil, rows...)[0]; l.Jobs != 450 || l.Calls != 3 {
		t.Errorf("%+v", l)
	}
}

func TestWhatCombiningSavedIsReckonedFromWhatWasUsed(t *testing.T) {
	t.Parallel()
	prices, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	bought := func(system string, input int64, shared int) batches.Bought {
		used := providers.Usage{InputTokens: input, OutputTokens: 10}
		charge, err := prices.Cost("openai", "gpt-5.4-mini", used, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return batches.Bought{
			ModelKey: batches.ModelKey{Provider: "openai", Model: "gpt-5.4-mini"}, Request: short(1, system)[0].Request, Usage: used, Cost: charge.Amount, Shared: shared,
		}
	}
	long := strings.Repeat("You are a careful reader of letters. ", 50)
	if saved, cost := bought(long, 60, 10).SavedByCombining(prices, "openai", time.Now()), bought(long, 60, 10).Cost; saved < cost || saved > 20*cost {
		t.Errorf("saved %d of a share of %d", saved, cost)
	}
	if saved := bought("", 25, 10).SavedByCombining(prices, "openai", time.Now()); saved >= 0 {
		t.Errorf("nothing is repeated, and %d saved", saved)
	}
	apart := bought(long, 60, 10)
	apart.Usage = providers.Usage{}
	if saved := apart.SavedByCombining(prices, "openai", time.Now()); saved != -apart.Cost {
		t.Errorf("a row that had to be asked again saved %d; its share was %d", saved, apart.Cost)
	}
	if saved := bought(long, 60, 1).SavedByCombining(prices, "openai", time.Now()); saved != 0 {
		t.Errorf("a call of its own saved %d", saved)
	}
}
