package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/keys"
)

// best asks for the provider that does best now. A provider of that name goes
// before it.
const best = batches.Best

// mockProvider is the provider that is asked where nothing else exists.
const mockProvider = "mock"

// named is the provider that the flags name, and reports whether they do.
func (c common) named(cfg config.Config) (string, bool) {
	if _, configured := cfg.Providers[best]; c.Provider == best && !configured {
		return "", false
	}
	switch {
	case c.Provider != "":
		return c.Provider, true
	case len(c.Chain) > 0:
		return c.Chain[0], true
	}
	return "", false
}

// choose returns the provider to ask first: the named one, the best one, or the first
// of the task's chain that has a key or a live worker; the mock only where nothing
// else exists, and then it says so. For a batch that has rows already it is the one
// that these ask: the same command must make the same jobs.
func (c common) choose(s *session, cfg config.Config, task providers.Task, batchID string) (string, error) {
	if name, ok := c.named(cfg); ok {
		return name, nil
	}
	db, err := s.db()
	if err != nil {
		return "", err
	}
	if batchID != "" {
		options, err := db.BatchOptions(s.Ctx, batchID)
		if name := options["--provider"]; err != nil || name != "" {
			return name, err
		}
		if p, err := db.Progress(s.Ctx, batchID); err == nil {
			d, err := db.Detail(s.Ctx, p)
			if err != nil {
				return "", err
			}
			if len(d.Asked) > 0 {
				return d.Asked[0].Provider, nil
			}
		} else if !errors.Is(err, jobs.ErrNotFound) {
			return "", err
		}
	}
	if c.Provider == best {
		ranked, err := fleet.FindBest(s.Ctx, db, cli.Fleet(cfg), task)
		if err != nil {
			return "", err
		}
		choice, why, err := cli.Choice(ranked)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(s.Env.Err, "--provider best: %s\n", why)
		return choice.Provider, nil
	}
	secrets, err := keys.Open(keys.Config{Path: cfg.Keys, Getenv: s.Env.Getenv})
	if err != nil {
		return "", cli.Fail(cli.Unsafe, err)
	}
	defer secrets.Close()
	name, chain, err := cli.First(s.Ctx, db, cfg, task, withKey(cfg, secrets))
	if err != nil || name != "" {
		return name, err
	}
	why := fmt.Sprintf("no provider has a chain for %s", task)
	if len(chain) > 0 {
		why = fmt.Sprintf("no provider of the chain for %s (%s) has an API key here or a live worker", task, strings.Join(chain, ", "))
	}
	fmt.Fprintf(s.Env.Err, "enqueue: the mock answers, which makes everything up and costs nothing: %s. Set a key with `worker keys set %s`, or name a provider with --provider\n",
		why, firstOr(chain, "NAME"))
	return mockProvider, nil
}

// withKey returns what reports whether a provider, or one of its deployments, has a key that
// can be used.
func withKey(cfg config.Config, secrets *keys.Store) func(provider string) bool {
	return func(provider string) bool {
		names := []string{provider}
		for _, deployment := range cfg.Providers[provider].DeploymentNames() {
			names = append(names, config.KeysOf(provider, deployment)[0])
		}
		return slices.ContainsFunc(names, func(name string) bool {
			_, err := secrets.Pick(name)
			return err == nil
		})
	}
}

func firstOr(list []string, other string) string {
	if len(list) > 0 {
		return list[0]
	}
	return other
}

// quotes says, before anything is asked, which providers and models are, and what
// that costs at most.
type quotes struct {
	s      *session
	cfg    config.Config
	prices *billing.List
	now    time.Time
	quoted map[[2]string]bool
	// sum bounds the cost of all jobs; open: some have no known price.
	sum   billing.NanoUSD
	jobs  int64
	open  bool
	clear func() // makes room on the terminal
	// varied counts the jobs that --cache does nothing for; nil: there is no --cache.
	varied *varied
}

func newQuotes(s *session, cfg config.Config, of asking) (*quotes, error) {
	list, err := billing.Open(cfg.Prices)
	if err != nil {
		return nil, cli.Fail(cli.Usage, err)
	}
	q := &quotes{s: s, cfg: cfg, prices: list, now: time.Now(), quoted: map[[2]string]bool{}, clear: func() {}}
	if of.Cache != nil {
		q.varied = &varied{}
	}
	return q, nil
}

// add adds jobs, and says what those for a provider and a model cost that has not been
// spoken of. Simulated money is not spoken of.
func (q *quotes) add(rows []jobs.New) {
	for _, row := range rows {
		if q.varied != nil {
			q.varied.add(row)
		}
		p := q.cfg.Providers[row.Provider]
		if p.Simulated {
			continue
		}
		kind := pricedAs(q.cfg, row.Provider)
		cost, err := q.prices.Reserve(kind, row.Request.Model, q.prices.UpperBound(kind, row.Request, q.now), q.now)
		priced := err == nil && cost.Priced
		q.jobs++
		q.open = q.open || !priced
		if priced {
			q.sum += cost.Amount
		}
		key := [2]string{row.Provider, row.Request.Model}
		if q.quoted[key] {
			continue
		}
		q.quoted[key] = true
		q.clear()
		what := "at most " + cost.Amount.Human() + " for each job like the first"
		if q.s.task != "batch" && q.s.task != "compare" {
			what = "at most " + cost.Amount.Human()
		}
		if !priced {
			what = "no price is known for this model, so neither is what it costs; `worker models " + row.Provider + "` lists those with a price"
		}
		fmt.Fprintf(q.s.Env.Err, "enqueue: asking %s for %s: %s\n", row.Provider, cli.Printable(row.Request.Model), what)
	}
}

// anew says which of them are asked anew in spite of --cache.
func (q *quotes) anew() {
	if q.varied != nil && q.varied.n > 0 {
		fmt.Fprintf(q.s.Env.Err, "enqueue: --cache: %s\n", q.varied)
	}
}

// total says what all of them cost at most.
func (q *quotes) total() {
	if q.jobs < 2 {
		return
	}
	unpriced := ""
	if q.open {
		unpriced = ", and those without a known price"
	}
	fmt.Fprintf(q.s.Env.Err, "enqueue: %s jobs cost at most %s in all%s\n", cli.Count(q.jobs), q.sum.Human(), unpriced)
}

// passedOver says why a provider was not asked, as far as its state tells now.
func (s *session) passedOver(provider string) string {
	if f, err := s.store.Fleet(s.Ctx); err == nil {
		for _, p := range f.Providers {
			if p.Name == provider && p.Status != fleet.Available && p.Reason != "" {
				return fmt.Sprintf("it is %s (%s)", p.Status, p.Reason)
			}
		}
	}
	return "it was passed over"
}

// answeredElsewhere says for each job that was answered by another provider than the
// one that was asked who answered, and why the other did not: by its failed call, or,
// where it made none, in the words of passedOver.
func answeredElsewhere(a batches.Asked, by batches.Answered, calls []batches.Call, passedOver func(provider string) string) string {
	if by.Provider == a.Provider {
		return ""
	}
	reasons := map[string]string{}
	for _, c := range calls {
		if c.Provider != by.Provider && c.Error != "" {
			reasons[c.Provider] = c.Error
		}
	}
	if reasons[a.Provider] == "" {
		reasons[a.Provider] = passedOver(a.Provider)
	}
	var after []string
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		after = append(after, name+": "+reasons[name])
	}
	return fmt.Sprintf("answered by %s %s, after %s", by.Provider, by.Model, strings.Join(after, ", "))
}
