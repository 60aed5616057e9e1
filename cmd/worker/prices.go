package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// modelsCmd lists what can be called and what it costs.
type modelsCmd struct {
	Provider string `arg:"" optional:"" help:"Only this provider's."`
	All      bool   `help:"Also models that cannot be called: of vendors that are not configured, shut down, or for tasks that their client does not do."`
	cli.OutputFlag
}

// modelRow is a line of the list.
type modelRow struct {
	Provider string            `json:"provider"`
	Model    string            `json:"model"`
	RPM      int64             `json:"rpm"`   // of the provider; 0: no limit
	Rates    map[string]string `json:"rates"` // USD per million units
	// Retires is the day on which it is or was shut down, where the vendor has said so.
	Retires string `json:"retires,omitempty"`
}

// Run lists models with their rates and their provider's limit.
func (c *modelsCmd) Run(s *session) error {
	list, err := app.PriceList(s.config)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	var rows []modelRow
	now := time.Now()
	for _, m := range list.Models(now) {
		if c.Provider != "" && m.Provider != c.Provider || !c.All && !s.callable(list, m, c.Provider, now) {
			continue
		}
		r := modelRow{Provider: m.Provider, Model: m.Match, Rates: map[string]string{}}
		if p, ok := s.config.Providers[m.Provider]; ok {
			limits, _ := p.LimitsByName()
			r.RPM = limits["rpm"]
		}
		for _, rate := range m.Rates {
			r.Rates[unitName(rate)] = rate.Rate
			if rate.Per != 1_000_000 {
				r.Rates[unitName(rate)] += fmt.Sprintf(" per %d", rate.Per)
			}
		}
		if end, ok := list.Retires(m.Provider, strings.TrimSuffix(m.Match, "*")); ok {
			r.Retires = end.Day.Format(time.DateOnly)
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 && c.Provider != "" {
		return cli.Fail(cli.Usage, fmt.Errorf("no model of %.40q has a price here; there are models of %s", c.Provider, strings.Join(vendors(list, now), ", ")))
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, rows)
	}
	table := [][]string{{"PROVIDER", "MODEL", "REQUESTS/MIN", "RETIRES", "USD PER MILLION"}}
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
		table = append(table, []string{r.Provider, r.Model, limit, cmp.Or(r.Retires, "-"), strings.Join(rates, ", ")})
	}
	return cli.Table(s.Env.Out, table)
}

// vendors lists whose models have prices.
func vendors(list *billing.List, now time.Time) (names []string) {
	for _, m := range list.Models(now) {
		names = append(names, m.Provider)
	}
	return slices.Compact(names)
}

// callable reports whether a model can be asked for something: its vendor is named or
// configured and has not shut it down, and the client does a task that it is priced
// for.
func (s *session) callable(list *billing.List, m billing.Model, named string, now time.Time) bool {
	if end, ok := list.Retires(m.Provider, strings.TrimSuffix(m.Match, "*")); ok && !now.Before(end.Day) {
		return false
	}
	if _, ours := kinds.Of(named); named != "" && !ours {
		return true
	}
	for name, p := range s.config.Providers {
		d, ok := kinds.Of(p.Capabilities())
		if !ok || m.Provider != app.PricesAs(s.config, name) {
			continue
		}
		for task := range d.Capabilities().Tasks {
			if slices.ContainsFunc(m.Rates, func(r billing.Row) bool { return slices.Contains(chargedFor()[task], r.Unit) }) {
				return true
			}
		}
	}
	return false
}

// chargedFor are the units of which a model has a price that does a task.
func chargedFor() map[providers.Task][]providers.Unit {
	return map[providers.Task][]providers.Unit{
		providers.Text:  {providers.OutputTokens},
		providers.Image: {providers.ImageOutputTokens, providers.Images, providers.MilliCredits},
		providers.Audio: {providers.Characters, providers.AudioOutputTokens, providers.MilliCredits},
		providers.Video: {providers.MilliSeconds},

		providers.Embedding:     {providers.InputTokens},
		providers.Transcription: {providers.MilliSeconds, providers.AudioInputTokens},
	}
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
	Import pricesImport `cmd:"" help:"Show what a price file says otherwise, and write that to the file that is laid over the built-in list."`
	Check  pricesCheck  `cmd:"" help:"Show how old the prices are, by vendor, or those of a vendor that nobody has compared with their source for 90 days."`
}

// staleAfter is the age from which a price is to be looked at.
const staleAfter = 90 * 24 * time.Hour

type pricesCheck struct {
	Vendor string `arg:"" optional:"" help:"List the old prices of this vendor."`
	cli.OutputFlag
}

// vendorPrices sums up the prices of one vendor.
type vendorPrices struct {
	Vendor string `json:"vendor"`
	// Prices counts those in force, and Old those of them that nobody has compared
	// with their source for 90 days.
	Prices int `json:"prices"`
	Old    int `json:"old"`
	// Oldest is the day of the oldest comparison.
	Oldest string `json:"oldest"`
}

// oldPrice is a price that is to be looked at.
type oldPrice struct {
	ID      string `json:"id"`
	Checked string `json:"checked"`
	Source  string `json:"source"`
}

// Run tells. Old prices are no error: they are used, and may be wrong.
func (c *pricesCheck) Run(s *session) error {
	list, err := app.PriceList(s.config)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	now := time.Now()
	vendors := sumUp(list, now)
	if c.Vendor != "" {
		if !slices.ContainsFunc(vendors, func(v vendorPrices) bool { return v.Vendor == c.Vendor }) {
			var names []string
			for _, v := range vendors {
				names = append(names, v.Vendor)
			}
			return cli.Fail(cli.Usage, fmt.Errorf("%.60q: no price of this vendor is listed; there are those of %s", c.Vendor, strings.Join(names, ", ")))
		}
		return c.rows(s, list.Stale(now, staleAfter))
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, vendors)
	}
	rows, old := [][]string{{"VENDOR", "PRICES", "OLDER THAN 90 DAYS", "OLDEST CHECKED"}}, 0
	for _, v := range vendors {
		rows = append(rows, []string{v.Vendor, fmt.Sprint(v.Prices), fmt.Sprint(v.Old), v.Oldest})
		old += v.Old
	}
	if err := cli.Table(s.Env.Out, rows); err != nil || old == 0 {
		return err
	}
	_, err = fmt.Fprintln(s.Env.Err, "list old prices with `worker prices check VENDOR`; lay corrections over the list with `prices:` in the configuration")
	return err
}

// rows lists the old prices of the vendor.
func (c *pricesCheck) rows(s *session, stale []billing.Row) error {
	var list []oldPrice
	rows := [][]string{{"PRICE", "CHECKED", "SOURCE"}}
	for _, r := range stale {
		if r.Provider != c.Vendor {
			continue
		}
		checked := "never"
		if !r.Checked.IsZero() {
			checked = r.Checked.Format(time.DateOnly)
		}
		list = append(list, oldPrice{r.ID, checked, r.Source})
		rows = append(rows, []string{r.ID, checked, r.Source})
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintf(s.Env.Out, "every price of %s was checked within the last 90 days\n", c.Vendor)
		return err
	}
	return cli.Table(s.Env.Out, rows)
}

// sumUp counts the prices in force by vendor. The mock's are invented.
func sumUp(list *billing.List, now time.Time) (vendors []vendorPrices) {
	of := func(vendor string) *vendorPrices {
		for i := range vendors {
			if vendors[i].Vendor == vendor {
				return &vendors[i]
			}
		}
		vendors = append(vendors, vendorPrices{Vendor: vendor, Oldest: "-"})
		return &vendors[len(vendors)-1]
	}
	seen := map[string]bool{}
	for _, m := range list.Models(now) {
		for _, r := range m.Rates {
			if m.Provider == "mock" || seen[r.ID] {
				continue
			}
			seen[r.ID] = true
			v := of(m.Provider)
			v.Prices++
			checked := r.Checked
			if checked.IsZero() {
				checked = r.From
			}
			if day := checked.Format(time.DateOnly); v.Oldest == "-" || day < v.Oldest {
				v.Oldest = day
			}
		}
	}
	for _, r := range list.Stale(now, staleAfter) {
		of(r.Provider).Old++
	}
	return vendors
}
