package providers_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
)

// short are requests to combine.
func short(prompts ...string) (all []providers.Request) {
	for _, p := range prompts {
		all = append(all, providers.Request{Task: providers.Text, Model: "m", System: "be brief", Prompt: p, MaxTokens: 100, Combine: 10})
	}
	return all
}

func TestPromptsAreCombinedInOneNumberedRequest(t *testing.T) {
	t.Parallel()
	got := providers.Pack(short("What is 1+1?", "Name a colour."))
	if got.Combine != 0 || got.MaxTokens != 216 || got.System != "be brief" || len(got.With) != 0 {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.Prompt, "2 requests") || !strings.Contains(got.Prompt, "\n[[1]]\nWhat is 1+1?\n\n[[2]]\nName a colour.\n") {
		t.Errorf("%s", got.Prompt)
	}
	all := short("What is 1+1?", "Name a colour.")
	for i := range all {
		all[i].MaxTokens = math.MaxInt64 - 1
	}
	if got := providers.Pack(all); got.MaxTokens != math.MaxInt64 {
		t.Errorf("a cap of %d", got.MaxTokens)
	}
}

func TestACombinedAnswerIsSplitOnlyWhereItIsCertain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, finish string
		want         []string // empty: goes alone
	}{
		"all":               {"[[1]]\none\n[[2]]\ntwo\nlines\n\n[[3]]\nthree", "stop", []string{"one", "two\nlines", "three"}},
		"words before":      {"Sure!\n\n  [[1]]  \none\n[[2]]\ntwo\n[[3]]\nthree\n", "end_turn", []string{"one", "two", "three"}},
		"one missing":       {"[[1]]\none\n[[3]]\nthree", "stop", []string{"", "", "three"}},
		"the first missing": {"[[2]]\ntwo\n[[3]]\nthree", "stop", []string{"", "two", "three"}},
		"the last missing":  {"[[1]]\none\n[[2]]\ntwo", "stop", []string{"one", "", ""}},
		"twice":             {"[[1]]\none\n[[1]]\nagain\n[[2]]\ntwo\n[[3]]\nthree", "stop", []string{"", "", ""}},
		"out of order":      {"[[2]]\ntwo\n[[1]]\none\n[[3]]\nthree", "stop", []string{"", "", ""}},
		"one too many":      {"[[1]]\none\n[[2]]\ntwo\n[[3]]\nthree\n[[4]]\nfour", "stop", []string{"", "", ""}},
		"cut off":           {"[[1]]\none\n[[2]]\ntwo\n[[3]]\nthr", "length", []string{"one", "two", ""}},
		"empty":             {"[[1]]\n\n[[2]]\ntwo\n[[3]]\nthree", "stop", []string{"", "two", "three"}},
		"a number in text":  {"[[1]]\nsee [[2]] below\n[[2]]\ntwo\n[[3]]\nthree", "stop", []string{"see [[2]] below", "two", "three"}},
		"no numbers":        {"one, two, three", "stop", []string{"", "", ""}},
		"a huge number":     {"[[99999999999999999999]]\nx\n[[1]]\none\n[[2]]\ntwo\n[[3]]\nthree", "stop", []string{"one", "two", "three"}},
	} {
		res := providers.Response{Text: c.text, FinishReason: c.finish, Raw: []byte("{}")}
		res.Usage = providers.Usage{InputTokens: 100, OutputTokens: 31, ReasoningTokens: 7, Cost: "0.5"}
		parts, err := providers.Split(short("a", "bb", "ccc"), res)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]string, len(parts))
		for i, p := range parts {
			if p != nil {
				got[i] = p.Text
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if name == "all" {
			var used providers.Usage
			for _, p := range parts {
				used.InputTokens += p.Usage.InputTokens
				used.OutputTokens += p.Usage.OutputTokens
				used.ReasoningTokens += p.Usage.ReasoningTokens
				if p.Usage.Cost != "" || p.Raw != nil {
					t.Errorf("a part has the cost or the body of all: %+v", p)
				}
			}
			if used != (providers.Usage{InputTokens: 100, OutputTokens: 31, ReasoningTokens: 7}) {
				t.Errorf("the parts sum up to %+v", used)
			}
		}
	}
}

func TestEachEmbeddingOfAPackIsThatOfItsPrompt(t *testing.T) {
	t.Parallel()
	var all []providers.Request
	for i := range 5 {
		all = append(all, providers.Request{Task: providers.Embedding, Model: "m", Prompt: fmt.Sprint("p", i)})
	}
	packed := providers.Pack(all)
	if packed.Prompt != "p0" || !slices.Equal(packed.With, []string{"p1", "p2", "p3", "p4"}) {
		t.Errorf("%+v", packed)
	}
	res := providers.Response{Vector: []float32{0}, With: [][]float32{{1}, {2}, {3}, {4}}, Usage: providers.Usage{InputTokens: 23}}
	parts, err := providers.Split(all, res)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for i, p := range parts {
		if !slices.Equal(p.Vector, []float32{float32(i)}) || p.With != nil {
			t.Errorf("part %d: %v", i, p.Vector)
		}
		sum += p.Usage.InputTokens
	}
	if sum != 23 {
		t.Errorf("the parts sum up to %d tokens", sum)
	}
	res.With = res.With[1:]
	if _, err := providers.Split(all, res); err == nil {
		t.Error("an answer with a vector too few was split")
	}
}

func TestWhatCannotBeSplitIsNotCombined(t *testing.T) {
	t.Parallel()
	can := providers.Capabilities{AnyModel: true, Tasks: map[providers.Task]providers.TaskCapabilities{
		providers.Text:      {Options: []string{"prompt", "messages", "stop", "n", "response_format", "tools", "logprobs"}},
		providers.Embedding: {Options: []string{"prompt"}},
	}}
	for want, r := range map[string]providers.Request{
		"":                 {Combine: 5},
		"for task text":    {Task: providers.Embedding, Combine: 5},
		"from 2 to 50":     {Combine: 51},
		"from 2 to 50, ":   {Combine: -1},
		"messages":         {Combine: 2, Messages: []providers.Message{{Role: "user", Content: "x"}}},
		"stop":             {Combine: 2, Stop: []string{"x"}},
		"response_format":  {Combine: 2, ResponseFormat: &providers.ResponseFormat{Type: "json_object"}},
		"tools":            {Combine: 2, Tools: []providers.Tool{{Name: "f"}}},
		"with n":           {Combine: 2, N: 2},
		"logprobs":         {Combine: 2, LogProbs: true},
		"on_cut":           {Combine: 2, OnCut: providers.RetryCut},
		"vendor's own bod": {Combine: 2, Endpoint: "/v1/x", Body: []byte("{}")},
	} {
		if r.Task == "" {
			r.Task = providers.Text
		}
		if len(r.Messages) == 0 {
			r.Prompt = "p"
		}
		err := can.Check(r)
		if want == "" && err == nil {
			continue
		}
		if err == nil || want == "" || !strings.Contains(err.Error(), "combine") || !strings.Contains(err.Error(), strings.TrimSuffix(want, ", ")) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
