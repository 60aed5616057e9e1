package app

import (
	"context"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
)

// funds returns what an account's wallet has for new jobs, and what computes the least
// that each costs; nil where no wallet limits it.
func funds(ctx context.Context, o WorkerOptions, account string) (billing.Funds, func(jobs.New) billing.NanoUSD, error) {
	has, limited, err := o.Store.Funds(ctx, account)
	if err != nil || !limited {
		return has, nil, err
	}
	known, err := o.Store.AnswerLengths(ctx)
	if err != nil {
		return has, nil, err
	}
	prices, err := PriceList(o.Config)
	if err != nil {
		return has, nil, err
	}
	f := &batches.Forecast{Prices: prices, Known: known, At: time.Now(), Card: has.Card, Kind: func(provider string) string { return PricesAs(o.Config, provider) }}
	return has, func(job jobs.New) billing.NanoUSD {
		if o.Config.Providers[job.Provider].Simulated {
			return 0
		}
		return f.Least(job)
	}, nil
}
