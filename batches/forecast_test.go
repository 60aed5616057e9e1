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

func forecastOf(t *testing.T, known map[batches.ModelKey]batches.Answers, rows ...jobs.New) []batches.ForecastLine {
	t.Helper()
	prices, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	f := batches.Forecast{Prices: prices, Known: known, At: time.Now(), Kind: func(provider string) string { return provider }}
	for _, row := range rows {
		f.Add(row)
	}
	return f.Lines()
}

func text(provider, model string, maxTokens int64) jobs.New {
	return jobs.New{Provider: provider, Request: providers.Request{Task: providers.Text, Model: model, Prompt: strings.Repeat("a plain word ", 100), MaxTokens: maxTokens}}
}

func TestAForecastIsBoundedByWhatIsReserved(t *testing.T) {
	t.Parallel()
	rows := []jobs.New{
		text("openai", "gpt-5.4-mini", 1000), text("openai", "gpt-5.4-mini", 10), text("openai", "gpt-5.4-mini", 0), text("anthropic", "claude-haiku-4-5", 1000),
		{Provider: "stability", Request: providers.Request{Task: providers.Image, Model: "core", Prompt: "a"}},
		{Provider: "elevenlabs", Request: providers.Request{Task: providers.Audio, Model: "eleven_flash_v2_5", Prompt: "hello"}},
		text("openai", "my-own", 10),
	}
	lines := forecastOf(t, nil, rows...)
	total := int64(0)
	for _, l := range lines {
		total += l.Jobs
		switch {
		case l.Model == "my-own":
			if l.Unpriced != 1 || l.High != 0 {
				t.Errorf("a model without a price is not free: %+v", l)
			}
		case l.Low <= 0 || l.Low > l.Expected || l.Expected > l.High || l.Unpriced != 0 || l.Measured:
			t.Errorf("%+v", l)
		}
	}
	if len(lines) != 5 || total != int64(len(rows)) {
		t.Errorf("%+v", lines)
	}
}

func TestAForecastExpectsAnswersAsLongAsTheyWere(t *testing.T) {
	t.Parallel()
	key := batches.ModelKey{Provider: "openai", Model: "gpt-5.4-mini"}
	row := text("openai", "gpt-5.4-mini", 1000)
	for _, c := range []struct {
		known    batches.Answers
		want     int64
		measured bool
	}{
		{batches.Answers{Count: 100, OutputTokens: 120.4}, 120, true},
		{batches.Answers{Count: 100, OutputTokens: 5000}, 1000, true}, // no longer than it may be
		{batches.Answers{Count: 3, OutputTokens: 120}, 300, false},    // too few to tell
	} {
		l := forecastOf(t, map[batches.ModelKey]batches.Answers{key: c.known}, row)[0]
		if l.OutputTokens != c.want || l.Measured != c.measured {
			t.Errorf("%+v: %+v", c, l)
		}
	}
}

func TestAForecastExpectsEachOfTheAnswersThatARowAsksFor(t *testing.T) {
	t.Parallel()
	one, five := text("openai", "gpt-5.4-mini", 1000), text("openai", "gpt-5.4-mini", 1000)
	five.Request.N = 5
	a, b := forecastOf(t, nil, one)[0], forecastOf(t, nil, five)[0]
	if b.OutputTokens != 5*a.OutputTokens || b.Low < a.Low || b.Expected < 4*a.Expected || b.Expected > b.High {
		t.Errorf("one: %+v\nfive: %+v", a, b)
	}
}
