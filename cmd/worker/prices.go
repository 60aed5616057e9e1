package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/internal/app"
	"oneflow/internal/cli"
)

// modelsCmd lists what can be called and what it costs.
type modelsCmd struct {
	Provider string `arg:"" optional:"" help:"Only this provider's."`
	Output   string `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

// modelRow is a line of the list.
type modelRow struct {
	Provider string            `json:"provider"`
	Model    string            `json:"model"`
	RPM      int64             `json:"rpm"`   // of the provider; 0: no limit
	Rates    map[string]string `json:"rates"` // USD per million units
}

// Run lists models with their rates and their provider's limit.
func (c *modelsCmd) Run(s *session) error {
	list, err := app.PriceList(s.config)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	var rows []modelRow
	for _, m := range list.Models(time.Now()) {
		if c.Provider != "" && m.Provider != c.Provider {
			continue
		}
		r := modelRow{Provider: m.Provider, Model: m.Match, Rates: map[string]string{}}
		if p, ok := s.config.Providers[m.Provider]; ok {
			limits, _ := p.LimitsByName()
			r.RPM = limits["rpm"]
		}
		for _, rate := range m.Rates {
			r.Rates[unitName(rate)] = rate.Rate
		}
		rows = append(rows, r)
	}
	if c.Output == "json" {
		return cli.JSON(s.env.Out, rows)
	}
	table := [][]string{{"PROVIDER", "MODEL", "REQUESTS/MIN", "USD PER MILLION"}}
	for _, r := range rows {
		rates := make([]string, 0, len(r.Rates))
		for unit, rate := range r.Rates {
			rates = append(rates, unit+" "+rate)
		}
		slices.Sort(rates)
		if len(rates) > 5 {
			rates = append(rates[:5], fmt.Sprintf("and %d more (-o json)", len(rates)-5))
		}
		limit := "none"
		if r.RPM > 0 {
			limit = cli.Count(r.RPM)
		}
		table = append(table, []string{r.Provider, r.Model, limit, strings.Join(rates, ", ")})
	}
	return cli.Table(s.env.Out, table)
}

// unitName says what a rate is for, with its variant and tier.
func unitName(r billing.Row) string {
	name := string(r.Unit)
	if r.Variant != "" {
		name += "[" + r.Variant + "]"
	}
	if r.AboveInput > 0 {
		name += fmt.Sprintf("[over %d]", r.AboveInput)
	}
	return name
}

// pricesCmd looks after the price list.
type pricesCmd struct {
	Check pricesCheck `cmd:"" help:"List the rows that nobody has compared with their source for 90 days."`
}

// staleAfter is the age from which a price is to be looked at.
const staleAfter = 90 * 24 * time.Hour

type pricesCheck struct{}

// Run lists stale rows; there being some gives exit code 1.
func (pricesCheck) Run(s *session) error {
	list, err := app.PriceList(s.config)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	stale := list.Stale(time.Now(), staleAfter)
	if len(stale) == 0 {
		_, err := fmt.Fprintln(s.env.Out, "every price was checked within the last 90 days")
		return err
	}
	rows := [][]string{{"ROW", "CHECKED", "SOURCE"}}
	for _, r := range stale {
		checked := "never"
		if !r.Checked.IsZero() {
			checked = r.Checked.Format(time.DateOnly)
		}
		rows = append(rows, []string{r.ID, checked, r.Source})
	}
	if err := cli.Table(s.env.Out, rows); err != nil {
		return err
	}
	return cli.Fail(cli.Failure, fmt.Errorf("%d prices are older than 90 days: compare them with their sources, and lay corrections over the list with `prices:` in the configuration", len(stale)))
}
