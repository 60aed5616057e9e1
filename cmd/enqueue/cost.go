package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

// costCmd tells what calls have cost, and for what.
type costCmd struct {
	ID string `arg:"" optional:"" help:"A batch or a job; default: everything."`
	spendingFlags
	cli.FiguresFlag
}

// Run prints it, with the sum last.
func (c *costCmd) Run(s *session) error {
	if c.ID == "" || len(c.By) > 0 || c.Since != 0 || c.Tag != "" {
		return c.spent(s)
	}
	db, err := s.db()
	if err != nil {
		return err
	}
	list, err := db.Expenses(s.Ctx, c.ID)
	if errors.Is(err, jobs.ErrBatchRemoved) {
		return cli.Fail(cli.Usage, fmt.Errorf("%w: `enqueue cost --by batch` still has what it cost", err))
	}
	if err != nil {
		return err
	}
	type line struct {
		For      string          `json:"for"`
		Provider string          `json:"provider"`
		Calls    int64           `json:"calls"`
		Jobs     int64           `json:"jobs"` // those that they answered: more than calls, where some were shared
		CostUSD  billing.NanoUSD `json:"cost_usd"`
		// Charge is the money that the account is charged: the cost, unless a rate card differs.
		Charge billing.NanoUSD `json:"charge_usd"`
		// Simulated money is that of mocks and fakes; cost_usd leaves it out.
		Simulated billing.NanoUSD `json:"simulated_cost_usd"`
		Unpriced  int64           `json:"unpriced_calls"`
		// Saved is the cost that answers from the cache stand for; they are no calls.
		Saved billing.NanoUSD `json:"saved_usd,omitzero"`
	}
	lines, sum := make([]line, len(list)), line{For: "all"}
	shared := int64(0)
	rows := [][]string{{"FOR", "PROVIDER", "CALLS", "COST", "CHARGED", "SIMULATED"}}
	for i, e := range list {
		lines[i] = line{e.Sort, e.Provider, e.Calls, e.Jobs, e.Cost, e.Charge, e.Simulated, e.Unpriced, e.Saved}
		rows = append(rows, []string{e.Sort, e.Provider, cli.Count(e.Calls), cli.Money(lines[i].CostUSD, e.Unpriced), e.Charge.Human(), simulated(lines[i].Simulated)})
		sum.Saved += e.Saved
		if e.Sort == "cache" {
			continue // these are no calls
		}
		if e.Sort == "answer" {
			shared, sum.Jobs = shared+e.Jobs-e.Calls, sum.Jobs+e.Jobs
		}
		sum.Calls, sum.CostUSD, sum.Unpriced = sum.Calls+e.Calls, sum.CostUSD+lines[i].CostUSD, sum.Unpriced+e.Unpriced
		sum.Simulated, sum.Charge = sum.Simulated+e.Simulated, sum.Charge+e.Charge
	}
	if c.CSV() {
		rows := [][]string{{"for", "provider", "calls", "cost_usd", "charge_usd", "simulated_cost_usd", "unpriced_calls"}}
		for _, l := range lines {
			rows = append(rows, []string{l.For, l.Provider, fmt.Sprint(l.Calls), l.CostUSD.String(), l.Charge.String(), l.Simulated.String(), fmt.Sprint(l.Unpriced)})
		}
		return cli.WriteCSV(s.Env.Out, rows)
	}
	seen, err := s.cheaperThanBought(c.ID, time.Time{})
	if err != nil {
		return err
	}
	if all := sum.Jobs; seen.answers == lookedAt && all > lookedAt { // those that were looked at stand for all
		seen.saved = billing.NanoUSD(float64(seen.saved) * float64(all) / lookedAt)
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			ID        string          `json:"id"`
			Calls     int64           `json:"calls"`
			CostUSD   billing.NanoUSD `json:"cost_usd"`
			Charge    billing.NanoUSD `json:"charge_usd"`
			Simulated billing.NanoUSD `json:"simulated_cost_usd"`
			Unpriced  int64           `json:"unpriced_calls"`
			By        []line          `json:"by"`
			// Cheaper are models that Answers of them would have cost less with.
			Cheaper []alternative `json:"cheaper"`
			Answers int           `json:"cheaper_answers"`
			// CombiningSaved is about what combining prompts saved; below 0: it cost more.
			CombiningSaved billing.NanoUSD `json:"combining_saved_usd,omitzero"`
		}{c.ID, sum.Calls, sum.CostUSD, sum.Charge, sum.Simulated, sum.Unpriced, lines, orNone(seen.cheaper), seen.answers, seen.saved})
	}
	rows = append(rows, []string{sum.For, "", cli.Count(sum.Calls), cli.Money(sum.CostUSD, sum.Unpriced), sum.Charge.Human(), simulated(sum.Simulated)})
	if sum.Simulated == 0 {
		rows = without(rows, 5)
	}
	if sum.Charge == sum.CostUSD {
		rows = without(rows, 4)
	}
	if err := cli.Table(s.Env.Out, rows); err != nil {
		return err
	}
	if shared > 0 || seen.combined > 0 {
		text := "rows that shared calls saved " + cli.Things(shared, "call")
		if seen.combined > 0 {
			text += ", and cost " + combining(seen.saved)
		}
		fmt.Fprintln(s.Env.Out)
		if err := cli.Sentence(s.Env.Out, text); err != nil {
			return err
		}
	}
	if sum.Saved > 0 {
		fmt.Fprintf(s.Env.Out, "\nanswers from the cache saved %s\n", sum.Saved.Human())
	}
	return printCheaper(s, wouldHave(seen.answers), seen.cheaper)
}

// combining says what combining prompts saves.
func combining(saves billing.NanoUSD) string {
	amount, than := "about "+saves.Human(), "less"
	if saves < 0 {
		amount, than = "about "+(-saves).Human(), "more"
	}
	return strings.Replace(amount, "about <", "<", 1) + " " + than + " than asked alone"
}

// wouldHave heads the models that some of the answers would have cost less with.
func wouldHave(answers int) string {
	of := cli.Things(int64(answers), "answer")
	if answers == lookedAt {
		of = "the last " + of
	}
	return "Looked at " + of + ": with these models, which take the same options, they would have cost less, for as many tokens:"
}

// orNone is a list that is not null for programs.
func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// without returns rows without the column at a place.
func without(rows [][]string, place int) [][]string {
	for i, row := range rows {
		rows[i] = slices.Delete(row, place, place+1)
	}
	return rows
}

// simulated is simulated money for people.
func simulated(n billing.NanoUSD) string {
	if n == 0 {
		return "-"
	}
	return n.Human()
}
