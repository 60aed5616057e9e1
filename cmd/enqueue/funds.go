package main

import (
	"errors"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

// funds returns what an account has for new jobs, and reports whether a wallet limits it.
// It is asked once.
func (s *session) funds(account string) (billing.Funds, bool, error) {
	if s.purse != nil {
		return s.purse.Funds, s.purse.limited, nil
	}
	db, err := s.db()
	if err != nil {
		return billing.Funds{}, false, err
	}
	f, limited, err := db.Funds(s.Ctx, account)
	if err != nil {
		return f, false, err
	}
	s.purse = &purse{f, limited}
	return f, limited, nil
}

// purse keeps what funds has found.
type purse struct {
	billing.Funds
	limited bool
}

// afford refuses what the account's wallet does not reach for.
func (s *session) afford(account string, least billing.NanoUSD) error {
	f, limited, err := s.funds(account)
	if err != nil || !limited {
		return err
	}
	err = f.Check(least)
	if _, short := errors.AsType[*billing.FundsError](err); short {
		return cli.Fail(cli.OverBudget, err)
	}
	return err
}

// leastOf returns the least that the account of jobs is charged for them, of real money.
func leastOf(cfg config.Config, sums *batches.Forecast) func(jobs.New) billing.NanoUSD {
	return func(job jobs.New) billing.NanoUSD {
		if cfg.Providers[job.Provider].Simulated {
			return 0
		}
		return sums.Least(job)
	}
}

// counted returns leastOf where a wallet limits the account, else nil.
func (s *session) counted(cfg config.Config, account string) (func(jobs.New) billing.NanoUSD, error) {
	_, limited, err := s.funds(account)
	if err != nil || !limited {
		return nil, err
	}
	sums, err := s.forecast(cfg, account)
	if err != nil {
		return nil, err
	}
	return leastOf(cfg, sums), nil
}
