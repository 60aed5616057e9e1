package fleet

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"oneflow/providers"
)

// BestStore holds the reads of a ranking.
type BestStore interface {
	// Standings returns each provider that is stored with its state, without
	// figures.
	Standings(ctx context.Context) ([]Health, error)
	// Chains returns the chains that operators have set.
	Chains(ctx context.Context) ([]Chain, error)
	// TaskFigures returns the figures of each provider's calls for a task over a
	// window, its models together.
	TaskFigures(ctx context.Context, task providers.Task, window time.Duration) (map[string]Figures, error)
}

// Best ranks the providers for a task.
type Best struct {
	Task providers.Task `json:"task"`
	// Candidates are the configured providers that can do the task, the best first.
	Candidates []Candidate `json:"candidates"`
	// Window is the time that the figures are about.
	Window time.Duration `json:"-"`
}

// FindBest ranks the configured providers that can do a task. While no worker runs
// at all, it does not matter that none serves them.
func FindBest(ctx context.Context, store BestStore, cfg Config, task providers.Task) (Best, error) {
	best := Best{Task: task, Window: healthWindow, Candidates: []Candidate{}}
	standings, err := store.Standings(ctx)
	if err != nil {
		return best, err
	}
	chains, err := store.Chains(ctx)
	if err != nil {
		return best, err
	}
	figures, err := store.TaskFigures(ctx, task, best.Window)
	if err != nil {
		return best, err
	}
	known := map[string]Health{}
	served := false
	for _, h := range standings {
		known[h.Name] = h
		served = served || h.Workers > 0
	}
	var set []string
	if i := slices.IndexFunc(chains, func(c Chain) bool { return c.Task == task }); i >= 0 {
		set = chains[i].Providers
	}
	for _, name := range cfg.order(set, task) {
		p := cfg.Providers[name]
		model, ok := p.Tasks[task]
		if !ok {
			continue
		}
		h := known[name]
		c := Candidate{Provider: name, Model: model, Figures: figures[name], Mock: p.Local, Excluded: h.exclusionReason()}
		switch {
		case c.Model == "":
			c.Excluded = fmt.Sprintf("it has no default model for %s: set providers.%s.models.%s", task, name, task)
		case served && h.Workers == 0:
			c.Excluded = "no live worker serves it"
		}
		best.Candidates = append(best.Candidates, c)
	}
	rank(best.Candidates)
	return best, nil
}

// Candidate is a provider that may be the best for a task.
type Candidate struct {
	Provider string `json:"provider"`
	// Model is the one that it would be asked for.
	Model string `json:"model"`
	// Figures are of all its calls for the task.
	Figures Figures `json:"figures"`
	// Excluded says why it is not to be chosen; empty: it may be.
	Excluded string `json:"excluded,omitempty"`
	// Mock is set for one that makes answers up: it is chosen only where nothing
	// else can be.
	Mock bool `json:"mock,omitempty"`
}

// rank puts the best first: by success rate (in whole percents), then latency (p50,
// in steps of a tenth), then price of a call, unpriced last. What has had fewer
// than 10 calls cannot be judged: it comes after those that do well, in the order
// in which the candidates were handed in, and before those of which fewer than
// 80 % succeeded. Those that are excluded come last.
func rank(list []Candidate) {
	slices.SortStableFunc(list, func(a, b Candidate) int {
		if c := cmp.Compare(a.class(), b.class()); c != 0 || !a.Judged() {
			return c
		}
		ra, _ := a.Figures.SuccessRate()
		rb, _ := b.Figures.SuccessRate()
		return cmp.Or(
			cmp.Compare(math.Round(100*rb), math.Round(100*ra)),
			cmp.Compare(step(a.Figures.P50), step(b.Figures.P50)),
			a.comparePrice(b),
		)
	})
}

// class returns 0 for those that do well; a higher one comes later.
func (c Candidate) class() int {
	rate, ok := c.Figures.SuccessRate()
	switch {
	case c.Excluded != "":
		return 4
	case c.Mock:
		return 3
	case !c.Judged():
		return 1
	case ok && rate < degradedUnder:
		return 2
	}
	return 0
}

// Judged reports whether it had calls enough to be judged.
func (c Candidate) Judged() bool {
	return c.Figures.Requests-c.Figures.RateLimited-c.Figures.Refused >= enough
}

// step makes latencies that differ by less than about a tenth equal.
func step(ms int64) float64 {
	return math.Round(math.Log(float64(max(ms, 1))) / math.Log(1.1))
}

func (c Candidate) comparePrice(d Candidate) int {
	a, okA := c.Figures.Each(c.Figures.Succeeded)
	b, okB := d.Figures.Each(d.Figures.Succeeded)
	switch {
	case okA && okB:
		return cmp.Compare(a, b)
	case okA:
		return -1
	case okB:
		return 1
	}
	return 0
}

// exclusionReason returns why a provider in this state is not to be chosen; empty
// if it may be.
func (h Health) exclusionReason() string {
	switch {
	case h.Status == Unavailable:
		return h.Reason
	case h.Breaker.Held == "" && h.Breaker.State == BreakerOpen, !h.BlockedUntil.IsZero():
		return h.Reason
	}
	return ""
}
