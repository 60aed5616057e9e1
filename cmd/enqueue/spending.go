package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

// spendingFlags ask for sums of what was spent.
type spendingFlags struct {
	By       []billing.Dimension `help:"Sum up by these: provider, model, day, hour, account, tag, batch, kind (why calls were made)." placeholder:"NAME,…"`
	Since    time.Duration       `help:"Only what ended so long ago at most, such as 7d. Default: 30d, or all of a batch." placeholder:"DURATION"`
	Tag      string              `help:"Only batches with this tag: NAME=VALUE, or NAME with any value; with --by tag, by this tag alone." placeholder:"TAG"`
	Timezone string              `help:"The time zone of days and hours." default:"UTC" placeholder:"ZONE"`
}

// spent sums up and prints: all, or of a batch.
func (c *costCmd) spent(s *session) error {
	by := c.By
	if len(by) == 0 {
		by = []billing.Dimension{billing.ByProvider, billing.ByModel}
	}
	q := billing.SpendingQuery{By: by, Zone: c.Timezone, Batch: c.ID, Tag: c.Tag}
	switch {
	case c.Since < 0:
		return cli.Fail(cli.Usage, fmt.Errorf("--since %s: must be positive", c.Since))
	case c.Since > 0:
		q.Since = time.Now().Add(-c.Since)
	case c.ID == "":
		q.Since = time.Now().Add(-30 * 24 * time.Hour)
	}
	if err := q.Check(); err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("--%w", err))
	}
	db, err := s.db()
	if err != nil {
		return err
	}
	if c.ID != "" {
		p, err := db.Progress(s.Ctx, c.ID)
		if err != nil {
			return err
		}
		if p.JobID != "" {
			return cli.Fail(cli.Usage, errors.New("--by: sums up the calls of batches; `enqueue cost` alone shows those of a job"))
		}
	}
	list, err := db.Spending(s.Ctx, q)
	if err != nil {
		return err
	}
	of := q
	of.By = []billing.Dimension{billing.ByKind}
	kinds, err := db.Spending(s.Ctx, of)
	if err != nil {
		return err
	}
	var seen looked
	if c.Tag == "" { // what is bought under a tag alone is not looked at
		if seen, err = s.cheaperThanBought(c.ID, q.Since); err != nil {
			return err
		}
	}
	return c.print(s, by, list, kinds, seen.cheaper, seen.answers)
}

func (c *costCmd) print(s *session, by []billing.Dimension, list, kinds []billing.Spending, cheaper []alternative, answers int) error {
	var sum billing.Spending
	for _, k := range kinds { // a batch of two tags is in the list twice
		sum = sum.Plus(k)
	}
	switch {
	case c.CSV():
		header := make([]string, 0, len(by))
		for _, d := range by {
			header = append(header, string(d))
		}
		rows := [][]string{append(header, sum.Fields()...)}
		for _, l := range list {
			rows = append(rows, l.Row())
		}
		return cli.WriteCSV(s.Env.Out, rows)
	case c.Output == "ndjson":
		lines := make([]billing.SpendingLine, len(list))
		for i, l := range list {
			lines[i] = l.Line(by)
		}
		return c.Write(s.Env.Out, lines)
	case c.ForPrograms():
		out := struct {
			By    []billing.Dimension    `json:"by"`
			Lines []billing.SpendingLine `json:"lines"`
			Kinds []billing.SpendingLine `json:"kinds"`
			All   billing.SpendingLine   `json:"all"`
			// Cheaper are models that Answers of them would have cost less with.
			Cheaper []alternative `json:"cheaper"`
			Answers int           `json:"cheaper_answers"`
		}{by, make([]billing.SpendingLine, len(list)), make([]billing.SpendingLine, len(kinds)), sum.Line(nil), orNone(cheaper), answers}
		for i, l := range list {
			out.Lines[i] = l.Line(by)
		}
		for i, k := range kinds {
			out.Kinds[i] = k.Line([]billing.Dimension{billing.ByKind})
		}
		return c.Write(s.Env.Out, out)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(s.Env.Out, "nothing was spent in this time")
		return err
	}
	if err := cli.Table(s.Env.Out, spendingTable(by, list, sum)); err != nil {
		return err
	}
	if rows := kindRows(kinds, sum); len(rows) > 0 {
		fmt.Fprintln(s.Env.Out)
		if err := cli.Fields(s.Env.Out, rows); err != nil {
			return err
		}
	}
	return printCheaper(s, wouldHave(answers), cheaper)
}

// chartWidth is the length of the longest bar.
const chartWidth = 20

// spendingTable has a bar a row: of real money, or, where there is none, of simulated.
func spendingTable(by []billing.Dimension, list []billing.Spending, sum billing.Spending) [][]string {
	header := []string{}
	for _, d := range by {
		header = append(header, strings.ToUpper(string(d)))
	}
	rows := [][]string{append(header, "COST", "", "CHARGED", "SIMULATED", "", "CALLS")}
	weight := func(s billing.Spending) billing.NanoUSD {
		if sum.Cost == 0 {
			return s.Simulated
		}
		return s.Cost
	}
	most := billing.NanoUSD(1)
	for _, l := range list {
		most = max(most, weight(l))
	}
	for _, l := range list {
		var row []string
		for i, value := range l.Of {
			row = append(row, cli.Printable(valueName(by[i], value)))
		}
		rows = append(rows, append(row, cli.Money(l.Cost, l.Unpriced), bar(weight(l), most), l.Charge.Human(), simulated(l.Simulated), bar(weight(l), most), cli.Count(l.Calls)))
	}
	all := append([]string{"all"}, slices.Repeat([]string{""}, len(by)-1)...)
	rows = append(rows, append(all, cli.Money(sum.Cost, sum.Unpriced), "", sum.Charge.Human(), simulated(sum.Simulated), "", cli.Count(sum.Calls)))
	drawsSimulated := sum.Cost == 0 && sum.Simulated > 0
	if !drawsSimulated {
		rows = without(rows, len(by)+4)
	}
	if sum.Simulated == 0 {
		rows = without(rows, len(by)+3)
	}
	if sum.Charge == sum.Cost {
		rows = without(rows, len(by)+2)
	}
	if drawsSimulated {
		rows = without(rows, len(by)+1)
	}
	return rows
}

// bar is a share of the most, in eighths of a character.
func bar(n, most billing.NanoUSD) string {
	if n <= 0 {
		return ""
	}
	eighths := max(int(float64(n)/float64(most)*chartWidth*8), 1)
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text
}

// valueName says what the empty value of a dimension stands for.
func valueName(d billing.Dimension, value string) string {
	if value != "" {
		return value
	}
	return map[billing.Dimension]string{
		billing.ByBatch: "(single jobs)", billing.ByTag: "(no tag)", billing.ByModel: "(no model)", billing.ByAccount: "(removed)",
	}[d]
}

// kindRows says what of the sum went into calls beyond the first.
func kindRows(kinds []billing.Spending, sum billing.Spending) [][]string {
	words := []struct {
		kind billing.CallKind
		text string
	}{
		{billing.CallRetry, "retries"}, {billing.CallReask, "re-asks"}, {billing.CallFallback, "fallbacks"}, {billing.CallUnknown, "unknown outcomes"},
	}
	var rows [][]string
	for _, w := range words {
		i := slices.IndexFunc(kinds, func(k billing.Spending) bool { return k.Of[0] == string(w.kind) })
		if i < 0 {
			continue
		}
		rows = append(rows, []string{w.text, spentOn(kinds[i].Calls, kinds[i].Cost, kinds[i].Simulated)})
	}
	if sum.Hits > 0 {
		rows = append(rows, []string{"cache", fmt.Sprintf("%s, %s saved", cli.Things(sum.Hits, "answer"), saved(sum.Saved, sum.SavedSimulated))})
	}
	if sum.Overruns > 0 {
		rows = append(rows, []string{"overruns", fmt.Sprintf("%s, %s above what was reserved", cli.Things(sum.Overruns, "call"), sum.Overrun.Human())})
	}
	return rows
}

// saved writes amounts of real and simulated money.
func saved(cost, simulated billing.NanoUSD) string {
	return cli.Amount(jobs.Money{Cost: cost, Simulated: simulated})
}

func spentOn(calls int64, cost, simulated billing.NanoUSD) string {
	text := cli.Things(calls, "call")
	if cost > 0 || simulated == 0 {
		text += ", " + cost.Human()
	}
	if simulated > 0 {
		text += fmt.Sprintf(", %s simulated", simulated.Human())
	}
	return cmp.Or(text, "-")
}
