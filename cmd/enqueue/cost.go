package main

import (
	"fmt"

	"oneflow/billing"
	"oneflow/internal/cli"
)

// costCmd tells what calls have cost, and for what.
type costCmd struct {
	ID string `arg:"" optional:"" help:"A batch or a job; default: everything."`
	spendingFlags
	cli.FiguresFlag
}

// Run prints it, with the sum last.
func (c *costCmd) Run(s *session) error {
	if c.ID == "" || len(c.By) > 0 || c.Since != 0 {
		return c.spent(s)
	}
	db, err := s.db()
	if err != nil {
		return err
	}
	list, err := db.Expenses(s.Ctx, c.ID)
	if err != nil {
		return err
	}
	type line struct {
		For      string          `json:"for"`
		Provider string          `json:"provider"`
		Calls    int64           `json:"calls"`
		CostUSD  billing.NanoUSD `json:"cost_usd"`
		// Simulated money is that of mocks and fakes; cost_usd leaves it out.
		Simulated billing.NanoUSD `json:"simulated_cost_usd"`
		Unpriced  int64           `json:"unpriced_calls"`
	}
	lines, sum := make([]line, len(list)), line{For: "all"}
	rows := [][]string{{"FOR", "PROVIDER", "CALLS", "COST", "SIMULATED"}}
	for i, e := range list {
		lines[i] = line{e.Sort, e.Provider, e.Calls, e.Cost, e.Simulated, e.Unpriced}
		rows = append(rows, []string{e.Sort, e.Provider, cli.Count(e.Calls), cli.Money(lines[i].CostUSD, e.Unpriced), simulated(lines[i].Simulated)})
		sum.Calls, sum.CostUSD, sum.Unpriced = sum.Calls+e.Calls, sum.CostUSD+lines[i].CostUSD, sum.Unpriced+e.Unpriced
		sum.Simulated += lines[i].Simulated
	}
	if c.CSV() {
		rows := [][]string{{"for", "provider", "calls", "cost_usd", "simulated_cost_usd", "unpriced_calls"}}
		for _, l := range lines {
			rows = append(rows, []string{l.For, l.Provider, fmt.Sprint(l.Calls), l.CostUSD.String(), l.Simulated.String(), fmt.Sprint(l.Unpriced)})
		}
		return cli.WriteCSV(s.Env.Out, rows)
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			ID        string          `json:"id"`
			Calls     int64           `json:"calls"`
			CostUSD   billing.NanoUSD `json:"cost_usd"`
			Simulated billing.NanoUSD `json:"simulated_cost_usd"`
			Unpriced  int64           `json:"unpriced_calls"`
			By        []line          `json:"by"`
		}{c.ID, sum.Calls, sum.CostUSD, sum.Simulated, sum.Unpriced, lines})
	}
	rows = append(rows, []string{sum.For, "", cli.Count(sum.Calls), cli.Money(sum.CostUSD, sum.Unpriced), simulated(sum.Simulated)})
	if sum.Simulated == 0 {
		for i := range rows {
			rows[i] = rows[i][:4]
		}
	}
	return cli.Table(s.Env.Out, rows)
}

// simulated is simulated money for people.
func simulated(n billing.NanoUSD) string {
	if n == 0 {
		return "-"
	}
	return n.Human()
}
