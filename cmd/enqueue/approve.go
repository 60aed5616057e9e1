package main

import (
	"errors"
	"fmt"
	"sync"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
)

// spending are the flags about what a batch will cost, before and while it runs.
type spending struct {
	DryRun      bool   `help:"Accept nothing: tell rows, bad lines, tokens, what it costs by provider and model, when it would be done, and which limit binds."`
	MaxCost     string `help:"Refuse a batch that is expected to cost more, with exit code 6; and send no call that might exceed it while the batch runs: what is left then waits." placeholder:"USD"`
	Budget      string `help:"Pause the batch when its calls have cost so much, or might; with the same batch and a higher amount it goes on." placeholder:"USD"`
	ConfirmOver string `help:"On a terminal, ask before a batch is accepted that is expected to cost more." default:"10" placeholder:"USD"`
	Yes         bool   `short:"y" help:"Do not ask."`
}

// readsTwice reports whether the rows are read once before they are accepted: also where
// the account has a wallet that they must fit in.
func (c *batchCmd) readsTwice(s *session) (bool, error) {
	if c.DryRun || c.MaxCost != "" || c.isPipeline() || c.asks(s) {
		return true, nil
	}
	_, limited, err := s.funds(c.Account)
	return limited, err
}

// asks reports whether somebody can be asked.
func (c *batchCmd) asks(s *session) bool { return !c.Yes && c.File != "-" && cli.IsTerminal(s.Env.In) }

// amounts are the flags' amounts of money.
type amounts struct {
	// most refuses a batch that is expected to cost more, and limit is the budget that it
	// runs under; nil: there is none.
	most, limit *billing.NanoUSD
	confirm     billing.NanoUSD
}

func (c spending) amounts() (a amounts, err error) {
	if a.confirm, err = dollars(c.ConfirmOver); err != nil {
		return a, fmt.Errorf("--confirm-over %.40q: %w", c.ConfirmOver, err)
	}
	if c.MaxCost != "" {
		n, err := dollars(c.MaxCost)
		if err != nil {
			return a, fmt.Errorf("--max-cost %.40q: %w", c.MaxCost, err)
		}
		a.most, a.limit = &n, &n
	}
	if c.Budget != "" {
		n, err := dollars(c.Budget)
		if err != nil {
			return a, fmt.Errorf("--budget %.40q: %w", c.Budget, err)
		}
		if a.limit == nil || n < *a.limit {
			a.limit = &n
		}
	}
	return a, nil
}

func dollars(text string) (billing.NanoUSD, error) {
	n, err := billing.Parse(text)
	if err != nil || n < 0 {
		return 0, errors.New("must be an amount of US dollars such as 12.50")
	}
	return n, nil
}

// approve refuses a batch that costs too much, and asks. limit sets the budget that holds while
// it runs, once the batch takes the rows. nothing reports whether there is nothing more to do.
func (c *batchCmd) approve(s *session, cfg config.Config, in batches.Input, src *source, batchID string, columns *columnNotes) (limit func() error, nothing bool, err error) {
	money, err := c.amounts()
	if err != nil {
		return nil, true, cli.Fail(cli.Usage, err)
	}
	limit = c.limit(s, c.scope(batchID), money.limit)
	twice, err := c.readsTwice(s)
	if err != nil || !twice {
		return limit, err != nil, err
	}
	f, err := c.foresee(s, cfg, in, src, batchID)
	columns.print(s.Env.Err)
	if err != nil {
		return nil, true, err
	}
	nothing, err = c.decide(s, f, money, "batch")
	return limit, nothing, err
}

// decide prints a forecast that was asked for, refuses what costs too much, and asks. what
// is to be accepted. nothing reports whether there is nothing more to do.
func (c *batchCmd) decide(s *session, f forecast, money amounts, what string) (nothing bool, err error) {
	switch {
	case c.DryRun && c.ForPrograms():
		if err := c.Write(s.Env.Out, f); err != nil {
			return true, err
		}
	case c.DryRun:
		if err := f.print(s); err != nil {
			return true, err
		}
	}
	if money.most != nil && f.Expected > *money.most {
		return true, cli.Fail(cli.OverBudget, fmt.Errorf("--max-cost %s: the %s is expected to cost %s (%s): nothing was accepted", c.MaxCost, what, f.Expected.Human(), f.range3()))
	}
	if err := s.afford(c.Account, f.least); err != nil {
		return true, err
	}
	if c.DryRun {
		if f.BadLines > 0 {
			return true, cli.Fail(cli.Failure, fmt.Errorf("%s would be left out", cli.Things(int64(f.BadLines), "bad line")))
		}
		return true, nil
	}
	if f.Expected > money.confirm && c.asks(s) {
		if err := cli.Confirm(s.Env, fmt.Sprintf("%s: %s. Accept them?", cli.Things(f.Rows, "job"), f.range3()), "--yes"); err != nil {
			return true, err
		}
	}
	return false, nil
}

// scope holds for the calls of a batch, or of all steps of a pipeline together.
func (c *batchCmd) scope(batchID string) billing.Scope {
	if c.isPipeline() {
		return billing.Scope{Tag: batches.PipelineTag + "=" + batchID}
	}
	return billing.Scope{Batch: batchID}
}

// limit returns what sets the budget that the scope runs under, once; nil: there is none. A
// rehearsal with simulated money is held to the same.
func (c *batchCmd) limit(s *session, scope billing.Scope, limit *billing.NanoUSD) func() error {
	return sync.OnceValue(func() error {
		if limit == nil {
			return nil
		}
		db, err := s.db()
		if err != nil {
			return err
		}
		money := billing.NewMoney(db, cli.Actor(s.Env.Getenv))
		for _, simulated := range []bool{false, true} {
			scope.Simulated = simulated
			_, err := money.Set(s.Ctx, billing.Budget{Scope: scope, Period: billing.Total, Limit: *limit, Blocks: true})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
