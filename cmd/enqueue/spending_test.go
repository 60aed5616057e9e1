package main

import (
	"strings"
	"testing"

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
		Lines, Kinds []spendingLine
		All          spendingLine
	}](t, s.enqueue("cost", "--by", "batch", "-o", "json").out)
	if len(got.Lines) != 1 || got.Lines[0].Of["batch"] != "" || got.All.Calls != 4 || len(got.Kinds) != 1 || got.Kinds[0].Of["kind"] != "first" {
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
