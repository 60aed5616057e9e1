package app

import (
	"oneflow/batches"
	"oneflow/config"
	"oneflow/jobs"
	"oneflow/store"
)

// newEstimates returns what fills in what jobs are expected to cost.
func newEstimates(cfg config.Config, db *store.Store) (*batches.Estimates, error) {
	prices, err := PriceList(cfg)
	if err != nil {
		return nil, err
	}
	return &batches.Estimates{Prices: prices, Kind: func(provider string) string { return PricesAs(cfg, provider) }, Lengths: db.AnswerLengths}, nil
}

// NewProducer makes a producer that keeps with each batch what its jobs were expected to cost.
func NewProducer(cfg config.Config, db *store.Store, dispatch *jobs.Dispatcher) (*jobs.Producer, error) {
	estimates, err := newEstimates(cfg, db)
	if err != nil {
		return nil, err
	}
	return jobs.NewProducer(db, dispatch).Estimating(estimates.Fill), nil
}
