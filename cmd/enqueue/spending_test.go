package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/internal/cli"
)

func TestCostsAreSummedUpAndDrawn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.enqueue("cost"); r.code != cli.OK || r.out != "nothing was spent in this time\n" {
		t.Errorf("%+v", r)
	}
	for range 3 {
		s.finish(strings.TrimSpace(s.enqueue("text", "hello", "--provider", "mock", "--account", "alpha").out), "hi", "")
	}
	s.finish(strings.TrimSpace(s.enqueue("text", "hello", "--provider", "mock").out), "hi", "")
	want := "ACCOUNT  COST      CALLS\n" +
		"alpha    $0.0045  ████████████████████  3\n" +
		"default  $0.0015  ██████▋               1\n" +
		"all      $0.006                         4\n"
	if r := s.enqueue("cost", "--by", "account", "--since", "7d"); r.code != cli.OK || squeezed(r.out) != squeezed(want) {
		t.Errorf("%+v\nwant\n%s", r, want)
	}
	r := s.enqueue("cost", "--by", "provider,account", "-o", "csv")
	if want := "provider,account,calls,failed_calls,cost_usd,charge_usd,simulated_cost_usd,unpriced_calls,overrun_calls,overrun_usd,cached_answers,saved_usd,simulated_saved_usd\nmock,alpha,3,0,0.0045,0.0045,0,0,0,0,0,0,0\nmock,default,1,0,0.0015,0.0015,0,0,0,0,0,0,0\n"; r.out != want {
		t.Errorf("%+v", r)
	}
	// The bars stand beside the money that they draw.
	one[int](s, `WITH x AS (UPDATE spending SET simulated = true RETURNING 1) SELECT count(*) FROM x`)
	if r := s.enqueue("cost", "--by", "account"); squeezed(r.out) != squeezed("ACCOUNT COST SIMULATED CALLS\n"+
		"alpha $0.00 $0.0045 ████████████████████ 3\ndefault $0.00 $0.0015 ██████▋ 1\nall $0.00 $0.006 4") {
		t.Error(r.out)
	}
	one[int](s, `WITH x AS (UPDATE spending SET simulated = false RETURNING 1) SELECT count(*) FROM x`)
	got := decoded[struct {
		By           []string
		Lines, Kinds []billing.SpendingLine
		All          billing.SpendingLine
		Cheaper      []alternative
		Answers      int `json:"cheaper_answers"`
	}](t, s.enqueue("cost", "--by", "batch", "-o", "json").out)
	if len(got.Lines) != 1 || got.Lines[0].By["batch"] != "" || got.All.Calls != 4 || len(got.Kinds) != 1 || got.Kinds[0].By["kind"] != "first" {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"cost", "--by", "colour"}, `by "colour": must be of provider, model`},
		{[]string{"cost", "--timezone", "Mars"}, `time zone "Mars": not known`},
		{[]string{"cost", "nothing", "--by", "day"}, "no such job or batch"},
	} {
		if r := s.enqueue(c.args...); r.code == cli.OK || !strings.Contains(r.err, c.says) {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
}

func squeezed(text string) string { return strings.Join(strings.Fields(text), " ") }

// What was bought, and what is about to be, is compared with models that take the same.
func TestModelsThatWouldHaveCostLessAreNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.worker("openai")
	path := file(t, `{"prompt":"a","seed":7}`)
	if r := s.enqueue("batch", path, "--batch-id", "b1", "--provider", "openai", "--model", "gpt-6-sol"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	s.answer("b1", 1, strings.Repeat("x", 1000), 10_000_000, time.Second)
	for _, args := range [][]string{{"cost", "b1"}, {"cost", "--by", "model"}} {
		r := s.enqueue(args...)
		if !strings.Contains(r.out, "Looked at 1 answer: with these models") || !strings.Contains(r.out, "openai/gpt-6-luna") || !strings.Contains(r.out, "openai/gpt-6-sol") || strings.Contains(r.out, "anthropic") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	got := decoded[struct {
		Cheaper []alternative
		Answers int `json:"cheaper_answers"`
	}](t, only(t, s.enqueue("cost", "b1", "-o", "json").out, "cheaper", "cheaper_answers"))
	if len(got.Cheaper) == 0 || got.Answers != 1 || got.Cheaper[0].Cost >= 10_000_000 || got.Cheaper[0].Of != (askedModel{"openai/gpt-6-sol", 10_000_000}) {
		t.Errorf("%+v", got)
	}
	r := s.enqueue("batch", path, "--provider", "openai", "--model", "gpt-6-sol", "--dry-run")
	if !strings.Contains(r.out, "These take the same options, and would cost less") || !strings.Contains(r.out, "openai/gpt-6-luna") {
		t.Errorf("%+v", r)
	}
	f := decoded[forecast](t, s.enqueue("batch", path, "--provider", "openai", "--model", "gpt-6-sol", "--dry-run", "-o", "json").out)
	if len(f.Models[0].Cheaper) == 0 || f.Models[0].Cheaper[0].Cost >= f.Models[0].Expected {
		t.Errorf("%+v", f.Models)
	}
}

// only is a JSON object with these names alone.
func only(t *testing.T, text string, names ...string) string {
	t.Helper()
	kept := map[string]json.RawMessage{}
	for name, value := range decoded[map[string]json.RawMessage](t, text) {
		if slices.Contains(names, name) {
			kept[name] = value
		}
	}
	data, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
