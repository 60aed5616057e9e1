package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"oneflow/config"
	"oneflow/fleet"
	"oneflow/providers"
	"oneflow/store"
)

// Best is which provider is the best for a task, and why.
type Best struct {
	Task providers.Task `json:"task"`
	// Candidates are the configured providers that can do the task, the best first.
	Candidates []fleet.Candidate `json:"candidates"`
	// Window is how far back the figures look.
	Window time.Duration `json:"-"`
}

// FindBest ranks the configured providers that can do a task. While no worker runs
// at all, it does not matter that none serves them.
func FindBest(ctx context.Context, db *store.Store, cfg config.Config, task providers.Task) (Best, error) {
	best := Best{Task: task, Window: fleet.HealthWindow, Candidates: []fleet.Candidate{}}
	standings, err := db.Standings(ctx)
	if err != nil {
		return best, err
	}
	_, chains, err := db.Settings(ctx)
	if err != nil {
		return best, err
	}
	figures, err := db.TaskFigures(ctx, task, best.Window)
	if err != nil {
		return best, err
	}
	known := map[string]fleet.Health{}
	served := false
	for _, h := range standings {
		known[h.Name] = h
		served = served || h.Workers > 0
	}
	for _, name := range inOrder(cfg, chains[task], task) {
		p := cfg.Providers[name]
		can, _ := providers.CapabilitiesOf(p.Capabilities())
		of, ok := can.Tasks[task]
		if !ok {
			continue
		}
		h := known[name]
		c := fleet.Candidate{
			Provider: name, Model: p.DefaultModel(string(task), of.DefaultModel), Figures: figures[name], Mock: p.Kind == "mock", Barred: h.Bars(),
		}
		switch {
		case c.Model == "":
			c.Barred = fmt.Sprintf("it has no default model for %s: set providers.%s.models.%s", task, name, task)
		case served && h.Workers == 0:
			c.Barred = "no live worker serves it"
		}
		best.Candidates = append(best.Candidates, c)
	}
	fleet.Rank(best.Candidates)
	return best, nil
}

// inOrder lists all providers: those of the chain that a person has set, or else
// the configured one, then the others by name.
func inOrder(cfg config.Config, chain []string, task providers.Task) []string {
	if chain == nil {
		chain = cfg.Chains[string(task)]
	}
	names := slices.Clone(chain)
	for _, name := range slices.Sorted(maps.Keys(cfg.Providers)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { _, ok := cfg.Providers[name]; return !ok })
}

// Choice returns the best, and a line that says why.
func (b Best) Choice() (c fleet.Candidate, why string, err error) {
	var barred []string
	for _, c := range b.Candidates {
		if c.Barred != "" {
			barred = append(barred, c.Provider+": "+c.Barred)
		}
	}
	if len(barred) == len(b.Candidates) {
		return c, "", fmt.Errorf("no provider can be chosen for %s: %s", b.Task, strings.Join(barred, "; "))
	}
	c = b.Candidates[0]
	why = fmt.Sprintf("the best provider for %s is %s (%s): ", b.Task, c.Provider, c.Model)
	if !c.Judged() {
		return c, why + fmt.Sprintf("none has had the 10 calls in the last %s that it takes to compare them, so it is the first in order", Span(b.Window)), nil
	}
	why += figuresOf(c)
	if len(b.Candidates) > 1 && b.Candidates[1].Barred == "" && b.Candidates[1].Judged() {
		why += "; next is " + b.Candidates[1].Provider + ", " + figuresOf(b.Candidates[1])
	}
	return c, why, nil
}

// figuresOf gives the figures of a candidate that can be judged.
func figuresOf(c fleet.Candidate) string {
	rate, _ := c.Figures.SuccessRate()
	return fmt.Sprintf("%.1f%% of %s calls succeeded, p50 %s, %s", 100*rate, Count(c.Figures.Requests),
		Span(time.Duration(c.Figures.P50)*time.Millisecond), PerCall(c.Figures))
}

// PerCall is what a call cost, for people.
func PerCall(f fleet.Figures) string {
	cost, ok := f.Each(f.Succeeded)
	switch {
	case ok:
		return cost.Human() + " a call"
	case f.Unpriced > 0:
		return "no known price"
	}
	return "no price yet"
}
