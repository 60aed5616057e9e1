package batches_test

import (
	"encoding/json"
	"strings"
	"testing"

	"oneflow/batches"
	"oneflow/jobs"
	"oneflow/providers"
)

// The later steps of a pipeline cost what their prompts do, with the answers before in them.
func TestAForecastOfAPipelineHasTheAnswersThatItsStepsAreMadeOf(t *testing.T) {
	t.Parallel()
	in := batches.Input{Kind: func(provider string) (string, bool) { return provider, true }}
	step := func(name, template string, filter ...string) *batches.CompiledStep {
		ready, err := batches.Step{
			Name: name, Template: template, Filter: filter,
			Defaults: map[string]json.RawMessage{"provider": []byte(`"openai"`), "model": []byte(`"gpt-6-luna"`), "max_tokens": []byte(`50`)},
		}.Compile()
		if err != nil {
			t.Fatal(err)
		}
		return ready
	}
	f := &batches.Forecast{
		Prices: prices(t), At: day, Kind: func(provider string) string { return provider },
		Known: map[batches.ModelKey]batches.Answers{{Provider: "anthropic", Model: "claude-haiku-5-5"}: {Count: 100, OutputTokens: 700}},
	}
	p := f.Pipeline(in, "first", []*batches.CompiledStep{
		step("second", "Shorten: {{answer}}"), step("third", "Of {{topic}}, {{first}} and {{answer}}: {{answer.score}}", "answer.score >= 7"),
	})
	const rows = 10
	for range rows {
		p.Add(jobs.New{
			Provider: "anthropic", Own: []byte(`{"topic":"trees"}`),
			Request: providers.Request{Task: providers.Text, Model: "claude-haiku-5-5", Prompt: "Write about trees.", MaxTokens: 1000},
		})
	}
	lines := f.Lines()
	var names []string
	for _, l := range lines {
		names = append(names, l.Step)
		if l.Jobs != rows || l.Low > l.Expected || l.Expected >= l.High {
			t.Errorf("%s: %d jobs, %s to %s to %s", l.Step, l.Jobs, l.Low, l.Expected, l.High)
		}
	}
	if got := strings.Join(names, " "); got != "first second third" {
		t.Fatalf("steps %s", got)
	}
	// The second has 700 tokens of an answer, the third these and the 50 that the second may have at most.
	for i, want := range []int64{0, 700, 700 + 50} {
		if got := lines[i].InputTokens / rows; got < want || got > want+70 {
			t.Errorf("%s: %d tokens each, want about %d", lines[i].Step, got, want)
		}
	}
	if lines[1].Low == 0 || lines[2].Low != 0 {
		t.Errorf("at least %s and %s: only where a filter stands a row may be left out", lines[1].Low, lines[2].Low)
	}
}
