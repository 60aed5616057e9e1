package app

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/frontdoor"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
	"oneflow/store"
)

// NewFrontDoor makes the front door of a monitor.
func NewFrontDoor(ctx context.Context, cfg config.Config, db *store.Store, rdb redis.UniversalClient, log zerolog.Logger) (*frontdoor.FrontDoor, error) {
	prices, err := PriceList(cfg)
	if err != nil {
		return nil, err
	}
	blobs, err := artifacts.Open(ctx, cfg.Artifacts)
	if err != nil {
		return nil, err
	}
	producer, err := NewProducer(cfg, db, jobs.NewDispatcher(rdb, db))
	if err != nil {
		return nil, err
	}
	known := cli.Fleet(cfg)
	models := &offered{cfg: cfg, prices: prices}
	input := cli.Input(cfg)
	input.DefaultModel = models.fallback
	return frontdoor.New(frontdoor.Config{
		Stores:    frontdoor.Stores{Files: db, Batches: db, Calls: db, Jobs: db},
		Objects:   objects{blobs},
		Producer:  producer,
		Input:     input,
		Providers: models.find,
		Models:    models.list,
		First: func(ctx context.Context, task providers.Task, best bool) (name, why string, err error) {
			return first(ctx, db, cfg, task, best, func(string) bool { return false }) // workers have the keys
		},
		Rate: func(ctx context.Context, provider string) (int64, time.Time, error) {
			stored, _, err := db.Settings(ctx)
			if err != nil {
				return 0, time.Time{}, err
			}
			s := known.Settings(stored)[provider]
			return s.Total().RPM, s.BlockedUntil, nil
		},
		Funds: db.Funds,
		Least: func(ctx context.Context, card *billing.Card) (func(jobs.New) billing.NanoUSD, error) {
			answers, err := db.AnswerLengths(ctx)
			if err != nil {
				return nil, err
			}
			sums := &batches.Forecast{Prices: prices, Known: answers, At: time.Now(), Card: card, Kind: func(provider string) string { return PricesAs(cfg, provider) }}
			return func(job jobs.New) billing.NanoUSD {
				if cfg.Providers[job.Provider].Simulated {
					return 0
				}
				return sums.Least(job)
			}, nil
		},
		Hints: db.Hints, Log: log,
	})
}

// objects is the blob storage of artefacts, for files too.
type objects struct{ *artifacts.Store }

// OpenURL implements frontdoor.Objects.
func (objects) OpenURL(ctx context.Context, url string) (io.ReadCloser, error) {
	return artifacts.OpenObject(ctx, url)
}

// offered knows which provider has which model.
type offered struct {
	cfg    config.Config
	prices *billing.List
}

// find returns the provider to ask for a model, and the model's name there: that of
// "provider/model", the default model of a provider that is named alone, or the model that
// a provider's price list has; of no model the default of whoever has one. Of several the first of the task's chain is taken.
func (o *offered) find(path, model string) (provider, name string, err error) {
	if before, after, ok := strings.Cut(model, "/"); ok {
		if _, configured := o.cfg.Providers[before]; configured && after != "" {
			return before, after, nil
		}
	}
	task := providers.Text
	if kind, can, ok := kinds.TakerOf(path); ok && kind != "" {
		e, _ := can.Endpoint(path)
		task = e.Task
	}
	if strings.HasSuffix(path, "/audio/transcriptions") { // a form, which no kind takes as it is
		task = providers.Transcription
	}
	if model == "" {
		for _, name := range o.order(task) {
			if m := o.fallback(name, task); m != "" && !o.cfg.Providers[name].Simulated {
				return name, m, nil
			}
		}
		return "", "", fmt.Errorf("no provider has a model for %s: name one as provider/model", task)
	}
	if _, configured := o.cfg.Providers[model]; configured {
		return model, o.fallback(model, task), nil
	}
	for _, name := range o.order(task) {
		p := o.cfg.Providers[name]
		if o.fallback(name, task) == model || o.prices.Lists(p.PriceRows(name), model, time.Now()) {
			return name, model, nil
		}
	}
	return "", "", fmt.Errorf("%.100q: no provider is known to have it; name one as provider/model, of %s", model, strings.Join(o.order(task), ", "))
}

// order lists the configured providers: those of the task's chain, then the others.
func (o *offered) order(task providers.Task) []string {
	all := slices.Clone(o.cfg.Chains[string(task)])
	for _, name := range slices.Sorted(maps.Keys(o.cfg.Providers)) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// fallback is the model of a provider where none is named.
func (o *offered) fallback(provider string, task providers.Task) string {
	p := o.cfg.Providers[provider]
	can, _ := kinds.CapabilitiesOf(p.Capabilities())
	return p.DefaultModel(string(task), can.Tasks[task].DefaultModel)
}

// list lists the providers, and the models that they are asked for by default.
func (o *offered) list() []frontdoor.Model {
	var all []frontdoor.Model
	for _, name := range slices.Sorted(maps.Keys(o.cfg.Providers)) {
		all = append(all, frontdoor.Model{Name: name, Owner: name})
		for _, task := range providers.Tasks() {
			m := frontdoor.Model{Name: name + "/" + o.fallback(name, task), Owner: name}
			if !strings.HasSuffix(m.Name, "/") && !slices.Contains(all, m) {
				all = append(all, m)
			}
		}
	}
	return all
}
