// Package app wires a worker and a monitor together out of the parts, for the
// commands that run them: one process each, or all in one. It may import
// everything but the commands.
package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/artifacts"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/jobs"
	"oneflow/policy"
	"oneflow/providers"
	"oneflow/providers/mock"
	"oneflow/store"
)

// WorkerOptions are what a worker is run with.
type WorkerOptions struct {
	Config config.Config
	// Providers are the names of those to serve; none means all.
	Providers []string
	Store     *store.Store
	Redis     asynq.RedisConnOpt
	Log       zerolog.Logger
}

// RunWorker runs a worker until ctx ends and it has drained.
func RunWorker(ctx context.Context, o WorkerOptions) (err error) {
	names := o.Providers
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(o.Config.Providers))
	}
	calls, cutOff := context.WithCancel(context.WithoutCancel(ctx))
	defer cutOff()

	clients, closeClients, err := clients(o.Config, names)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeClients()) }()
	guarded, err := policy.New(policy.Config{
		Providers:   clients,
		CallTimeout: time.Duration(o.Config.CallTimeout),
		Calls:       calls,
	})
	if err != nil {
		return err
	}
	prices, err := newPrices(o.Config)
	if err != nil {
		return err
	}
	blobs, err := artifacts.Open(ctx, o.Config.Artifacts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()

	served := make([]jobs.Served, 0, len(names))
	for _, name := range names {
		p := o.Config.Providers[name]
		served = append(served, jobs.Served{Name: name, Kind: p.Kind, RPM: p.RPM, Concurrency: p.Workers()})
	}
	w, err := jobs.NewWorker(jobs.WorkerConfig{
		ID:          jobs.NewID(),
		Providers:   served,
		Redis:       o.Redis,
		Store:       o.Store,
		Generator:   guarded,
		Artifacts:   blobs,
		Prices:      prices,
		Log:         o.Log,
		CallTimeout: time.Duration(o.Config.CallTimeout),
		Drain:       time.Duration(o.Config.Drain),
		CutOff:      cutOff,
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// clients makes the providers of those names.
func clients(cfg config.Config, names []string) (list []providers.Provider, closeAll func() error, err error) {
	var closers []func() error
	closeAll = func() error {
		var err error
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}
	for _, name := range names {
		p, ok := cfg.Providers[name]
		if !ok {
			return nil, nil, errors.Join(fmt.Errorf("provider %q: is not configured; there are %s",
				name, strings.Join(slices.Sorted(maps.Keys(cfg.Providers)), ", ")), closeAll())
		}
		switch p.Kind {
		case "mock":
			m, err := mock.New(mock.Config{
				Name: name, Latency: time.Duration(p.Mock.Latency), ErrorRate: p.Mock.ErrorRate,
				RPM: p.Mock.RPM, MaxConcurrent: p.Mock.MaxConcurrent, CallLog: p.Mock.CallLog,
			})
			if err != nil {
				return nil, nil, errors.Join(fmt.Errorf("providers.%s: %w", name, err), closeAll())
			}
			list, closers = append(list, m), append(closers, m.Close)
		default:
			return nil, nil, errors.Join(fmt.Errorf("providers.%s: no client for kind %q", name, p.Kind), closeAll())
		}
	}
	return list, closeAll, nil
}

// prices answers for jobs, which know providers by name, from the price list,
// which knows kinds.
type prices struct {
	list  *billing.List
	kinds map[string]string
}

func newPrices(cfg config.Config) (*prices, error) {
	list, err := billing.Embedded()
	if err != nil {
		return nil, err
	}
	p := &prices{list: list, kinds: map[string]string{}}
	for name, c := range cfg.Providers {
		p.kinds[name] = c.Kind
	}
	return p, nil
}

// Reserve implements jobs.Prices.
func (p *prices) Reserve(provider string, req providers.Request, at time.Time) (billing.NanoUSD, bool) {
	kind := p.kinds[provider]
	c, err := p.list.Reserve(kind, req.Model, p.list.UpperBound(kind, req, at), at)
	return c.Amount, err == nil && c.Priced
}

// Cost implements jobs.Prices.
func (p *prices) Cost(provider, model string, u providers.Usage, at time.Time) (billing.NanoUSD, []string, bool) {
	c, err := p.list.Cost(p.kinds[provider], model, u, at)
	return c.Amount, c.Rows, err == nil && c.Priced
}
