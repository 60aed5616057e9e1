package batches_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

func estimates(t *testing.T) *batches.Estimates {
	t.Helper()
	prices, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return &batches.Estimates{
		Prices: prices, Kind: func(provider string) string { return provider },
		Lengths: func(context.Context) (map[batches.ModelKey]batches.Answers, error) { return nil, nil },
	}
}

func TestFewRowsAreEstimatedAsADryRunForecastsThem(t *testing.T) {
	t.Parallel()
	rows := []jobs.New{
		text("openai", "gpt-5.4-mini", 1000), text("openai", "gpt-5.4-mini", 10), text("anthropic", "claude-haiku-4-5", 1000),
		{Provider: "stability", Request: providers.Request{Task: providers.Image, Model: "core", Prompt: "a"}},
		text("openai", "my-own", 10),
	}
	var want, got jobs.Estimate
	for _, l := range forecastOf(t, nil, rows...) {
		want = want.Plus(jobs.Estimate{Jobs: l.Jobs - l.Unpriced, Low: l.Low, Expected: l.Expected, High: l.High})
	}
	if err := estimates(t).Fill(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		got = got.Plus(row.Estimate)
	}
	if got != want || got.Jobs != 4 || rows[4].Estimate != (jobs.Estimate{}) {
		t.Errorf("%+v, want %+v; without a price: %+v", got, want, rows[4].Estimate)
	}
}

// Of a chunk a part is estimated, whose rows are taken to be as the others are.
func TestManyRowsAreEstimatedCloseToWhatADryRunForecasts(t *testing.T) {
	t.Parallel()
	rows := make([]jobs.New, 2000)
	for i := range rows {
		rows[i] = jobs.New{Seq: int64(i + 1), Provider: "openai", Request: providers.Request{
			Task: providers.Text, Model: "gpt-5.4-mini", MaxTokens: 200, Prompt: strings.Repeat("a plain word ", 5+i*7919%53) + fmt.Sprint(i),
		}}
		if err := jobs.NewKeys().Assign(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	l := forecastOf(t, nil, rows...)[0]
	if err := estimates(t).Fill(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	var got jobs.Estimate
	for _, row := range rows {
		got = got.Plus(row.Estimate)
	}
	for what, pair := range map[string][2]billing.NanoUSD{"low": {got.Low, l.Low}, "expected": {got.Expected, l.Expected}, "high": {got.High, l.High}} {
		if off := float64(pair[0])/float64(pair[1]) - 1; math.Abs(off) > 0.03 {
			t.Errorf("%s: %s, forecast %s", what, pair[0], pair[1])
		}
	}
	if got.Jobs != 2000 {
		t.Errorf("%+v", got)
	}
}

func TestAnEstimateThatCannotBeMadeIsAnErrorAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	e, gone, n := estimates(t), errors.New("gone"), 0
	e.Lengths = func(context.Context) (map[batches.ModelKey]batches.Answers, error) {
		if n++; n == 1 {
			return nil, gone
		}
		return nil, nil
	}
	rows := []jobs.New{text("openai", "gpt-5.4-mini", 1000)}
	if err := e.Fill(t.Context(), rows); !errors.Is(err, gone) {
		t.Error(err)
	}
	for range 3 {
		if err := e.Fill(t.Context(), rows); err != nil || rows[0].Estimate.Jobs != 1 {
			t.Errorf("%v, %+v", err, rows[0].Estimate)
		}
	}
	if n != 2 {
		t.Errorf("asked %d times", n)
	}
}
