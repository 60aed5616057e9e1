package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/providers/keys"
	"oneflow/providers/kinds"
)

// soon is the time within which a model that is shut down is not named any more: what is built
// on it should outlast a season.
const soon = 90 * 24 * time.Hour

// cheaper prepares finding models that cost less, of all providers that can be asked: that
// have a key here or a live worker.
func (s *session) cheaper(cfg config.Config, prices *billing.List) (*batches.Cheaper, error) {
	db, err := s.db()
	if err != nil {
		return nil, err
	}
	secrets, err := keys.Open(keys.Config{Path: cfg.Keys, Getenv: s.Env.Getenv})
	if err != nil {
		return nil, cli.Fail(cli.Unsafe, err)
	}
	defer secrets.Close()
	usable, err := cli.Usable(s.Ctx, db, cfg, withKey(cfg, secrets))
	if err != nil {
		return nil, err
	}
	out := &batches.Cheaper{Prices: prices, At: time.Now()}
	for _, name := range slices.Sorted(maps.Keys(cfg.Providers)) {
		p := cfg.Providers[name]
		d, ok := kinds.Of(p.Capabilities())
		if !ok || d.Local || !usable(name) {
			continue
		}
		can := p.Known().Narrow(d.Capabilities())
		for task := range can.Tasks {
			known, _ := knownModels(d, task)
			known = append(known, p.DefaultModel(string(task), ""))
			slices.Sort(known)
			for _, model := range slices.Compact(known) {
				ends, retires := prices.Retires(d.Kind, model)
				if model == "" || retires && out.At.Add(soon).After(ends.Day) {
					continue
				}
				out.Candidates = append(out.Candidates, batches.Candidate{
					ModelKey: batches.ModelKey{Provider: name, Model: model}, Kind: pricedAs(cfg, name), Task: task, Can: can,
				})
			}
		}
	}
	return out, nil
}

// alternative is a model that the calls of another would cost less with.
type alternative struct {
	batches.Alternative
	Of askedModel `json:"in_place_of"`
}

// askedModel is the model that was asked, and what that costs.
type askedModel struct {
	Model string          `json:"model"` // PROVIDER/MODEL
	Cost  billing.NanoUSD `json:"cost_usd"`
}

// alternatives are those of a forecast.
func alternatives(lines []batches.ForecastLine) (list []alternative) {
	for _, m := range lines {
		for _, a := range m.Cheaper {
			list = append(list, alternative{a, askedModel{m.Provider + "/" + m.Model, m.Expected}})
		}
	}
	return list
}

// lookedAt bounds the answers that enqueue cost looks at for models that cost less.
const lookedAt = 2000

// looked holds what a look at answers tells.
type looked struct {
	// cheaper are models that they would have cost less with, and answers is their number.
	cheaper []alternative
	answers int
	// combined counts those that were combined with others, and saved is what that saved.
	combined int64
	saved    billing.NanoUSD
}

// cheaperThanBought looks at what was bought for a batch or a job; of the empty id, since a
// time.
func (s *session) cheaperThanBought(id string, since time.Time) (out looked, err error) {
	cfg, err := s.LoadConfig()
	if err != nil {
		return out, err
	}
	prices, err := priceList(cfg)
	if err != nil {
		return out, cli.Fail(cli.Usage, err)
	}
	bought, err := s.store.Bought(s.Ctx, id, since, lookedAt)
	if err != nil || len(bought) == 0 {
		return out, err
	}
	all, err := s.cheaper(cfg, prices)
	if err != nil {
		return out, err
	}
	out.answers = len(bought)
	for _, b := range bought {
		all.Add(b)
		if b.Combined() {
			out.combined++
			out.saved += b.SavedByCombining(prices, pricedAs(cfg, b.Provider), all.At)
		}
	}
	for of, than := range all.Each {
		for _, a := range than {
			out.cheaper = append(out.cheaper, alternative{a, askedModel{of.Provider + "/" + of.Model, of.Cost}})
		}
	}
	slices.SortStableFunc(out.cheaper, func(a, b alternative) int {
		return cmp.Or(cmp.Compare(b.Of.Cost, a.Of.Cost), strings.Compare(a.Of.Model, b.Of.Model))
	})
	return out, nil
}

// printCheaper names them, under a heading.
func printCheaper(s *session, heading string, list []alternative) error {
	if len(list) == 0 {
		return nil
	}
	rows := [][]string{{"CHEAPER", "ABOUT", "IN PLACE OF", "AT"}}
	for _, a := range list {
		rows = append(rows, []string{cli.Printable(a.Provider + "/" + a.Model), a.Cost.Human(), cli.Printable(a.Of.Model), a.Of.Cost.Human()})
	}
	fmt.Fprintln(s.Env.Out)
	if err := cli.Sentence(s.Env.Out, heading); err != nil {
		return err
	}
	return cli.Table(s.Env.Out, rows)
}
