package cli

import (
	"fmt"
	"strings"
	"time"

	"oneflow/fleet"
)

// Choice returns the best of a ranking, and a line that says why.
func Choice(b fleet.Best) (c fleet.Candidate, why string, err error) {
	var excluded []string
	for _, c := range b.Candidates {
		if c.Excluded != "" {
			excluded = append(excluded, c.Provider+": "+c.Excluded)
		}
	}
	if len(excluded) == len(b.Candidates) {
		return c, "", fmt.Errorf("no provider can be chosen for %s: %s", b.Task, strings.Join(excluded, "; "))
	}
	c = b.Candidates[0]
	why = fmt.Sprintf("the best provider for %s is %s (%s): ", b.Task, c.Provider, c.Model)
	if !c.Judged() {
		return c, why + fmt.Sprintf("none has had the 10 calls in the last %s that it takes to compare them, so it is the first in order", Span(b.Window)), nil
	}
	why += figuresOf(c)
	if len(b.Candidates) > 1 && b.Candidates[1].Excluded == "" && b.Candidates[1].Judged() {
		why += "; next is " + b.Candidates[1].Provider + ", " + figuresOf(b.Candidates[1])
	}
	return c, why, nil
}

// figuresOf returns the figures of a candidate that can be judged.
func figuresOf(c fleet.Candidate) string {
	rate, _ := c.Figures.SuccessRate()
	return fmt.Sprintf("%.1f%% of %s calls succeeded, p50 %s, %s", 100*rate, Count(c.Figures.Requests),
		Span(time.Duration(c.Figures.P50)*time.Millisecond), perCall(c.Figures))
}

// perCall returns what a call cost, for people.
func perCall(f fleet.Figures) string {
	cost, ok := f.Each(f.Succeeded)
	switch {
	case ok:
		return cost.Human() + " a call"
	case f.Unpriced > 0:
		return "no known price"
	}
	return "no price yet"
}
