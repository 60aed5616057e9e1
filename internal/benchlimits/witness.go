package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
)

const (
	window = time.Minute
	// warmUp is the time that a fleet may take to get going.
	warmUp = time.Minute
)

// figures are the sums that one server has seen.
type figures struct {
	accepted int
	refused  int // 429s
	// limit, most in any window, and used are requests, or tokens where those are
	// limited.
	limit int
	most  int
	// used is the share of the limit that was used, on average over all windows
	// that begin after the warm-up. plain is all that was used from the warm-up to
	// the last call; where calls come and go in waves as long as a window, it
	// depends on where the last one ends.
	used, plain       float64
	smallest, largest int // tokens of a call
	took              time.Duration
	succeeded         int // jobs
	wrong             int // embeddings that are not those of their texts
	memory            int64
}

// spent is one call that was accepted.
type spent struct {
	at time.Time
	n  int // of what is limited
}

// witness reads a server's log.
func witness(path string, limits fakeprovider.Limits) (figures, error) {
	lines, err := harness.ReadLog[fakeprovider.LogLine](path)
	if err != nil {
		return figures{}, err
	}
	return figuresOf(lines, limits)
}

// figuresOf sums up what a log says of some calls.
func figuresOf(lines []fakeprovider.LogLine, limits fakeprovider.Limits) (figures, error) {
	begun := map[int64]time.Time{}
	var calls []spent
	f := figures{limit: limits.Requests}
	if limits.Tokens > 0 {
		f.limit = limits.Tokens
	}
	for _, l := range lines {
		switch {
		case l.Event == "begin":
			begun[l.Call] = l.Time
		case l.Outcome == "limited":
			f.refused++
		case l.Outcome == "ok" || l.Outcome == "gone":
			n, tokens := 1, 0
			if l.Usage != nil {
				tokens = int(l.Usage.InputTokens + l.Usage.OutputTokens)
			}
			if limits.Tokens > 0 {
				n = tokens
			}
			if f.smallest == 0 || tokens < f.smallest {
				f.smallest = tokens
			}
			f.largest = max(f.largest, tokens)
			calls = append(calls, spent{begun[l.Call], n})
		default:
			return f, fmt.Errorf("the server says %q of call %d: the measurement is wrong", l.Outcome, l.Call)
		}
	}
	if f.accepted = len(calls); f.accepted == 0 {
		return f, errors.New("the server was never called")
	}
	slices.SortFunc(calls, func(a, b spent) int { return a.at.Compare(b.at) })
	first, last := calls[0].at, calls[len(calls)-1].at
	f.took = last.Sub(first)
	warm := first.Add(warmUp)
	total, inWindow, oldest := 0, 0, 0
	for _, c := range calls {
		if c.at.After(warm) {
			total += c.n
		}
		inWindow += c.n
		for ; !calls[oldest].at.After(c.at.Add(-window)); oldest++ {
			inWindow -= calls[oldest].n
		}
		f.most = max(f.most, inWindow)
	}
	if measured := last.Sub(warm); measured > 0 {
		f.plain = float64(total) / (float64(f.limit) * measured.Minutes())
	}
	f.used = averageUse(calls, warm, last) / float64(f.limit)
	return f, nil
}

// averageUse returns the mean content of a window, of those from from to to: one is
// looked at each second.
func averageUse(calls []spent, from, to time.Time) float64 {
	sum, windows := 0, 0
	for end := from.Add(window); !end.After(to); end = end.Add(time.Second) {
		windows++
		for _, c := range calls {
			if c.at.After(end.Add(-window)) && !c.at.After(end) {
				sum += c.n
			}
		}
	}
	return float64(sum) / float64(max(windows, 1))
}
