package main

import (
	"fmt"
	"math"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/worker"
)

// print writes the forecast for people.
func (f *forecast) print(s *session) error {
	rows := [][]string{
		{"rows", cli.Count(f.Rows)},
		{"bad lines", cli.Count(int64(f.BadLines))},
		{"duplicates", cli.Count(f.Duplicates)},
		{"cost", f.range3()},
	}
	if f.CacheHits > 0 {
		rows = append(rows, []string{"cache", cli.Things(f.CacheHits, "row") + " answered from it, at no cost"})
	}
	if f.Varied > 0 {
		rows = append(rows, []string{"no cache", cli.Things(f.Varied, "row") + " asked anew, since they ask for variety: see --cache-varied"})
	}
	if f.Charge.Card != "" {
		rows = append(rows, []string{"charged", fmt.Sprintf("about %s, from %s to %s, by the rate card %s",
			f.Charge.Expected.Human(), f.Charge.Low.Human(), f.Charge.High.Human(), cli.Printable(f.Charge.Card))})
	}
	if calls, jobs := f.shared(); calls < jobs {
		text := fmt.Sprintf("%s in place of %s", cli.Things(calls, "call"), cli.Count(jobs))
		if c := f.combiningSaves(); c != 0 {
			text += ", " + combining(c)
		}
		rows = append(rows, []string{"shared", text})
	}
	for _, p := range f.Providers {
		text := "nobody knows when"
		if !p.DoneAt.IsZero() {
			text = fmt.Sprintf("done at %s, in %s", stamp(p.DoneAt), cli.Span(time.Until(p.DoneAt)))
		}
		text += fmt.Sprintf(": %s jobs a minute (%s)", cli.Count(int64(math.Round(p.PerMinute))), binding(p.Binds))
		if p.Before > 0 {
			text += ", after " + cli.Things(p.Before, "other job")
		}
		rows = append(rows, []string{p.Provider, text})
	}
	if err := cli.Fields(s.Env.Out, rows); err != nil {
		return err
	}
	if len(f.Models) == 0 {
		return nil
	}
	table := [][]string{{"STEP", "PROVIDER", "MODEL", "JOBS", "LOW", "EXPECTED", "HIGH", "TOKENS IN", "TOKENS OUT", "ANSWERS"}}
	steps := false
	for _, m := range f.Models {
		steps = steps || m.Step != ""
		low, expected, high := m.Low.Human(), m.Expected.Human(), m.High.Human()
		if m.Unpriced > 0 {
			high += " + " + cli.Things(m.Unpriced, "job") + " without a known price"
		}
		answers := "length guessed"
		if m.Measured {
			answers = "length measured"
		}
		table = append(table, []string{
			m.Step, m.Provider, cli.Printable(m.Model), cli.Count(m.Jobs), low, expected, high, cli.Count(m.InputTokens), cli.Count(m.OutputTokens), answers,
		})
	}
	if !steps {
		table = without(table, 0)
	}
	fmt.Fprintln(s.Env.Out)
	if err := cli.Table(s.Env.Out, table); err != nil {
		return err
	}
	if steps {
		fmt.Fprintln(s.Env.Out)
		if err := cli.Sentence(s.Env.Out, "Each row is taken to pass the filters, and each answer to be as long as usual; what a step attaches is not counted."); err != nil {
			return err
		}
	}
	for _, m := range f.Models {
		if m.Prefix != nil {
			fmt.Fprintln(s.Env.Out)
			if err := cli.Sentence(s.Env.Out, beginAlike(m)); err != nil {
				return err
			}
		}
	}
	return printCheaper(s, "These take the same options, and would cost less for as many tokens:", alternatives(f.Models))
}

// shared returns how many calls the jobs take.
func (f *forecast) shared() (calls, jobs int64) {
	for _, m := range f.Models {
		calls, jobs = calls+m.Calls, jobs+m.Jobs
	}
	return calls, jobs
}

func (f *forecast) combiningSaves() (sum billing.NanoUSD) {
	for _, m := range f.Models {
		sum += m.CombiningSaves
	}
	return sum
}

// beginAlike says what a vendor's own cache would save.
func beginAlike(m batches.ForecastLine) string {
	p := m.Prefix
	if p.Counted == p.Saves {
		return fmt.Sprintf("%s for %s begin alike, in %s: its own cache saves about %s, which is counted.",
			cli.Things(p.Rows, "row"), cli.Printable(m.Provider+"/"+m.Model), cli.Things(p.Groups, "group"), p.Saves.Human())
	}
	how := "with --warm the first of them is answered before the others are sent"
	if p.Marked {
		how += ", and marked for the cache, which wants that"
	}
	return fmt.Sprintf("%s for %s begin alike, in %s: its own cache saves up to %s; %s.",
		cli.Things(p.Rows, "row"), cli.Printable(m.Provider+"/"+m.Model), cli.Things(p.Groups, "group"), p.Saves.Human(), how)
}

// range3 says what it costs.
func (f *forecast) range3() string {
	text := fmt.Sprintf("about %s, from %s to %s", f.Expected.Human(), f.Low.Human(), f.High.Human())
	if f.Simulated {
		text += ", simulated money included"
	}
	if f.Unpriced > 0 {
		text += "; and " + cli.Things(f.Unpriced, "job") + " without a known price"
	}
	return text
}

// binding says what keeps a provider from more.
func binding(binds string) string {
	switch binds {
	case worker.BindsConfigured:
		return "bound by the configured concurrency"
	case worker.BindsMax:
		return "bound by what the workers run at once"
	case worker.BindsUnlimited:
		return "no limit binds"
	}
	return "bound by its " + binds
}
