package batches

import (
	"context"
	"math"
	"sync"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// Estimates tells what jobs will cost before they are accepted. It is safe for concurrent use.
type Estimates struct {
	Prices *billing.List
	// Kind returns the name that the price list has for a provider.
	Kind func(provider string) string
	// Lengths reads how long answers are, by model.
	Lengths func(ctx context.Context) (map[ModelKey]Answers, error)

	mu    sync.Mutex
	known map[ModelKey]Answers
	until time.Time
}

// lengthsFor is the time for which the lengths of answers are taken to be as they were.
const lengthsFor = time.Minute

// Fill fills in what rows are expected to cost.
func (e *Estimates) Fill(ctx context.Context, rows []jobs.New) error {
	now := time.Now()
	known, err := e.lengths(ctx, now)
	if err != nil {
		return err
	}
	f := Forecast{Prices: e.Prices, Known: known, At: now, Kind: e.Kind}
	f.estimate(rows)
	return nil
}

func (e *Estimates) lengths(ctx context.Context, now time.Time) (map[ModelKey]Answers, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Before(e.until) {
		return e.known, nil
	}
	known, err := e.Lengths(ctx)
	if err == nil {
		e.known, e.until = known, now.Add(lengthsFor)
	}
	return known, err
}

// estimated is the number of rows, of those of a model that are accepted together, whose cost is estimated one by
// one: cutting all their prompts into tokens would take longer than accepting them.
const estimated = 100

// estimate fills in what rows are expected to cost. Of more than 100 of a model it estimates a hundred, evenly
// spread, and takes the others to cost as much a byte.
func (f *Forecast) estimate(rows []jobs.New) {
	type model struct {
		ModelKey
		task providers.Task
	}
	of := map[model][]int{}
	for i, row := range rows {
		key := model{ModelKey{row.Provider, row.Request.Model}, row.Request.Task}
		of[key] = append(of[key], i)
	}
	for _, places := range of {
		step := (len(places) + estimated - 1) / estimated
		var sum jobs.Estimate
		bytes := 0
		for i := 0; i < len(places); i += step {
			row := &rows[places[i]]
			low, expected, high := f.usage(*row)
			row.Estimate = f.bounds(*row, low, expected, high)
			sum, bytes = sum.Plus(row.Estimate), bytes+len(row.Encoded)
		}
		if sum.Jobs == 0 || bytes == 0 {
			continue
		}
		for i, place := range places {
			if row := &rows[place]; i%step != 0 {
				share := float64(len(row.Encoded)) / float64(bytes)
				row.Estimate = jobs.Estimate{Jobs: 1, Low: scaled(sum.Low, share), Expected: scaled(sum.Expected, share), High: scaled(sum.High, share)}
			}
		}
	}
}

func scaled(n billing.NanoUSD, share float64) billing.NanoUSD {
	return billing.NanoUSD(min(math.Round(float64(n)*share), math.MaxInt64/2))
}
