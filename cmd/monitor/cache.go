package main

import (
	"fmt"
	"time"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

// cacheCmd looks after the answers that are kept for requests that are made again.
type cacheCmd struct {
	Stats cacheStats `cmd:"" help:"Show how many answers are kept, how large they are, and what they have saved."`
	Clear cacheClear `cmd:"" help:"Forget the answers that are kept: all, or those of an account, a provider or a model."`
}

type cacheStats struct {
	Since time.Duration `help:"For what time to sum up what was saved." default:"30d" placeholder:"DURATION"`
	cli.OutputFlag
}

// Run shows them.
func (c *cacheStats) Run(s *session) error {
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	st, err := db.CacheStats(s.Ctx)
	if err != nil {
		return err
	}
	sums, err := db.Spending(s.Ctx, billing.SpendingQuery{Since: time.Now().Add(-c.Since)})
	if err != nil {
		return err
	}
	var all billing.Spending
	for _, sum := range sums {
		all = all.Plus(sum)
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			jobs.CacheStats
			Hits           int64  `json:"hits"`
			Saved          string `json:"saved_usd"`
			SavedSimulated string `json:"simulated_saved_usd"`
		}{st, all.Hits, all.Saved.String(), all.SavedSimulated.String()})
	}
	rows := [][]string{
		{"answers", fmt.Sprintf("%s, %s bytes", cli.Count(st.Answers), cli.Count(st.Bytes))},
		{"under way", fmt.Sprintf("%s; jobs that wait for them: %s", cli.Things(st.Leading, "request"), cli.Count(st.Following))},
		{"hits", fmt.Sprintf("%s in %s, %s saved", cli.Count(all.Hits), cli.Span(c.Since), cli.Amount(jobs.Money{Cost: all.Saved, Simulated: all.SavedSimulated}))},
	}
	if !st.Oldest.IsZero() {
		rows = append(rows, []string{"oldest", st.Oldest.Format(time.RFC3339)}, []string{"next expires", st.Expires.Format(time.RFC3339)})
	}
	return cli.Fields(s.Env.Out, rows)
}

type cacheClear struct {
	Account  string `help:"Only those of this account." placeholder:"NAME"`
	Provider string `help:"Only those of this provider." placeholder:"NAME"`
	Model    string `help:"Only those of this model." placeholder:"NAME"`
}

// Run forgets them. Files that nobody else has are removed by a worker.
func (c *cacheClear) Run(s *session) error {
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	n, err := db.ClearCache(s.Ctx, jobs.CacheScope{Account: c.Account, Provider: c.Provider, Model: c.Model})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Env.Out, "%s forgotten\n", cli.Things(n, "answer"))
	return err
}
