package main

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// forecast tells of a batch before it is accepted, for programs.
type forecast struct {
	Rows       int64 `json:"rows"`
	BadLines   int   `json:"bad_lines"`
	Duplicates int64 `json:"duplicates"`
	// The sums of Models.
	Low      billing.NanoUSD `json:"low_usd"`
	Expected billing.NanoUSD `json:"expected_usd"`
	High     billing.NanoUSD `json:"high_usd"`
	Unpriced int64           `json:"unpriced_jobs"`
	// CacheHits counts the rows that are expected to be answered from the cache, at no cost.
	CacheHits int64 `json:"cache_hits"`
	// Varied counts the rows that ask for variety, and are asked anew whatever --cache says.
	Varied int64 `json:"varied_rows"`
	// Charge bounds what the account is charged for it, by its rate card.
	Charge charged `json:"charge_usd"`
	// Simulated reports whether some of it is the money of mocks and fakes.
	Simulated bool                   `json:"simulated"`
	Models    []batches.ForecastLine `json:"models"`    // never null; of a pipeline, those of each step
	Providers []finish               `json:"providers"` // never null
	// At is the time at which the last of the rows may begin, which the others count from, and
	// DoneAt that at which the last provider is done; zero where nobody knows.
	At     time.Time `json:"at"`
	DoneAt time.Time `json:"done_at,omitzero"`
	// least is the least that the rows cost which are not there yet, of real money.
	least billing.NanoUSD
	start time.Time // see At
}

// charged bounds what an account is charged.
type charged struct {
	// Card is the name of its rate card; empty: it is charged the cost.
	Card     string          `json:"rate_card,omitempty"`
	Low      billing.NanoUSD `json:"low"`
	Expected billing.NanoUSD `json:"expected"`
	High     billing.NanoUSD `json:"high"`
}

// finish is the time at which a provider is done with its part.
type finish struct {
	Provider string `json:"provider"`
	Jobs     int64  `json:"jobs"`
	// Calls is the expected number of calls: fewer than jobs, where calls are shared.
	Calls int64 `json:"calls"`
	// Before is the number of other jobs that wait for it already.
	Before int64 `json:"jobs_before"`
	// PerMinute is the number of jobs that the fleet is expected to do; 0: nobody knows.
	PerMinute float64 `json:"jobs_per_minute"`
	// Binds names what keeps it from being more.
	Binds  string    `json:"binds"`
	DoneAt time.Time `json:"done_at,omitzero"`
}

// foresee reads the rows once and accepts none.
func (c *batchCmd) foresee(s *session, cfg config.Config, in batches.Input, src *source, batchID string) (forecast, error) {
	db, err := s.db()
	if err != nil {
		return forecast{}, err
	}
	from, err := src.rows()
	if err != nil {
		return forecast{}, unread(err)
	}
	f := forecast{Models: []batches.ForecastLine{}, Providers: []finish{}}
	sums, err := s.forecast(cfg, c.Account)
	if err != nil {
		return forecast{}, err
	}
	sums.Warm = c.Warm
	in.Least = leastOf(cfg, sums)
	count := sums.Add
	if len(c.compiled) > 0 {
		count = sums.Pipeline(in, c.first, c.compiled).Add
	}
	if c.DryRun {
		if sums.Cheaper, err = s.cheaper(cfg, sums.Prices); err != nil {
			return forecast{}, err
		}
	}
	said := io.Discard // where they are told of when the rows are accepted
	if c.DryRun {
		said = s.Env.Err
	}
	lines := newBadLines(said, func() {})
	var keys []string
	least := map[string]billing.NanoUSD{}
	varied := varied{}
	hits := cacheForecast{cfg: cfg, seen: map[jobs.CacheKey]bool{}}
	look := func() error {
		known, err := db.KnownKeys(s.Ctx, batchID, keys)
		for _, key := range known {
			delete(least, key)
		}
		for _, amount := range least {
			f.least = add(f.least, amount)
		}
		rows, err2 := hits.look(s.Ctx, db)
		for _, row := range rows {
			if row.hit {
				f.CacheHits++
				f.least -= least[row.job.Key]
				continue
			}
			count(row.job)
		}
		err = errors.Join(err, err2)
		f.Duplicates, keys = f.Duplicates+int64(len(known)), keys[:0]
		clear(least)
		return err
	}
	start := time.Now()
	err = in.Read(from, func(job jobs.New) error {
		f.Rows++
		varied.add(job)
		if len(c.compiled) > 0 || !hits.add(job) { // what a step is made of is always asked
			count(job)
		}
		f.Simulated = f.Simulated || cfg.Providers[job.Provider].Simulated
		if job.RunAt.After(start) {
			start = job.RunAt
		}
		least[job.Key] = job.Least
		if keys = append(keys, job.Key); len(keys) >= 2000 {
			if err := look(); err != nil {
				return err
			}
		}
		return s.Ctx.Err()
	}, lines.add)
	lines.total()
	f.BadLines, f.Varied = lines.n, varied.n
	err = errors.Join(err, from.Close())
	if errors.Is(err, context.Canceled) {
		return f, cli.Fail(cli.Interrupted, errors.New("interrupted: nothing was accepted"))
	}
	if err != nil {
		return f, unread(err)
	}
	if err := look(); err != nil {
		return f, err
	}
	f.Models, f.start = sums.Lines(), start
	if sums.Card != nil {
		f.Charge.Card = sums.Card.Name
	}
	return f, f.sum(s, cfg)
}

// sum adds up the models, and computes when they are done.
func (f *forecast) sum(s *session, cfg config.Config) error {
	for _, line := range f.Models {
		f.Low, f.Expected, f.High = add(f.Low, line.Low), add(f.Expected, line.Expected), add(f.High, line.High)
		f.Unpriced += line.Unpriced
		f.Charge.Low, f.Charge.Expected = add(f.Charge.Low, line.LowCharge), add(f.Charge.Expected, line.ExpectedCharge)
		f.Charge.High = add(f.Charge.High, line.HighCharge)
	}
	f.At = f.start
	return f.when(s, cfg, f.start)
}

// forecast prepares estimating what jobs will cost.
func (s *session) forecast(cfg config.Config, account string) (*batches.Forecast, error) {
	db, err := s.db()
	if err != nil {
		return nil, err
	}
	known, err := db.AnswerLengths(s.Ctx)
	if err != nil {
		return nil, err
	}
	prices, err := priceList(cfg)
	if err != nil {
		return nil, cli.Fail(cli.Usage, err)
	}
	has, _, err := s.funds(account)
	if err != nil {
		return nil, err
	}
	return &batches.Forecast{Prices: prices, Known: known, At: time.Now(), Card: has.Card, Kind: func(provider string) string { return pricedAs(cfg, provider) }}, nil
}

// pricedAs is the name that the price list has for a provider.
func pricedAs(cfg config.Config, provider string) string {
	return cfg.Providers[provider].PriceRows(provider)
}

// when estimates when each provider is done: at the limits in force, after the jobs that
// wait already, and with calls as long as they are now.
func (f *forecast) when(s *session, cfg config.Config, start time.Time) error {
	var names []string
	parts := map[string]*batches.ForecastLine{}
	for _, line := range f.Models {
		part := parts[line.Provider]
		if part == nil {
			part = &batches.ForecastLine{Provider: line.Provider}
			parts[line.Provider] = part
			names = append(names, line.Provider)
		}
		part.Jobs, part.Calls = part.Jobs+line.Jobs, part.Calls+line.Calls
		part.InputTokens += line.InputTokens
		part.OutputTokens += line.OutputTokens
	}
	seen, err := s.store.Capacity(s.Ctx, names)
	if err != nil {
		return err
	}
	stored, _, err := s.store.Settings(s.Ctx)
	if err != nil {
		return err
	}
	backlog, err := s.store.Backlog(s.Ctx)
	if err != nil {
		return err
	}
	fleet := cli.Fleet(cfg)
	inForce := fleet.Settings(stored)
	for _, name := range names {
		p, part := cfg.Providers[name], parts[name]
		served := worker.Served{
			Name: name, Concurrency: p.Concurrency, Min: p.MinConcurrency, Max: p.MaxConcurrency, Latency: time.Duration(p.Latency),
		}
		done := finishOf(worker.NewPlan(served, inForce[name].Total(), asked(seen[name], served, *part)), *part, backlog[name], start)
		f.Providers = append(f.Providers, done)
		if done.DoneAt.After(f.DoneAt) {
			f.DoneAt = done.DoneAt
		}
	}
	return nil
}

// asked returns what the fleet has seen, with the tokens of this batch in place of those of
// the calls before.
func asked(c worker.Capacity, served worker.Served, part batches.ForecastLine) worker.Capacity {
	if c.MeanLatency <= 0 {
		c.Latency, c.MeanLatency = served.Latency, served.Latency
	}
	if c.MeanLatency <= 0 {
		c.Latency, c.MeanLatency = time.Second, time.Second
	}
	c.Calls = math.MaxInt32 // believe it
	c.InputTokens, c.OutputTokens = float64(part.InputTokens)/float64(part.Calls), float64(part.OutputTokens)/float64(part.Calls)
	return c
}

// finishOf estimates when a provider is done.
func finishOf(plan worker.Plan, part batches.ForecastLine, before int64, start time.Time) finish {
	// The plan counts a job a call.
	each := float64(part.Jobs) / float64(part.Calls)
	out := finish{Provider: part.Provider, Jobs: part.Jobs, Calls: part.Calls, Before: before, PerMinute: math.Round(plan.JobsPerMinute*each*10) / 10, Binds: plan.Binds}
	minutes := float64(part.Calls+before) / plan.JobsPerMinute
	if perDay := plan.Limits.Of(providers.DimensionRPD); perDay > 0 && part.Calls+before > perDay {
		if days := math.Floor(float64(part.Calls+before-1) / float64(perDay)); days*24*60 > minutes {
			minutes, out.Binds = days*24*60, providers.DimensionRPD.Unit()
		}
	}
	if minutes > 0 && minutes < 10*365*24*60 {
		out.DoneAt = start.Add(time.Duration(minutes*float64(time.Minute)) + plan.Latency).Round(time.Millisecond)
	}
	return out
}

func add(a, b billing.NanoUSD) billing.NanoUSD {
	return billing.NanoUSD(jobs.Sum(int64(a), int64(b)))
}
