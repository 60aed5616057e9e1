package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"oneflow/internal/fakeprovider"
)

const (
	window = time.Minute
	// warmUp is how long a fleet may take to get going.
	warmUp = time.Minute
)

// figures are what one server has seen.
type figures struct {
	accepted int
	refused  int // 429s
	// limit, most in any window, and used are requests, or tokens where those are
	// limited.
	limit int
	most  int
	// used is the share of the limit that was used from the end of the warm-up to
	// the last call.
	used              float64
	smallest, largest int // tokens of a call
	took              time.Duration
	succeeded         int // jobs
}

// spent is one call that was accepted.
type spent struct {
	at time.Time
	n  int // of what is limited
}

// witness reads a server's log.
func witness(path string, limits fakeprovider.Limits) (figures, error) {
	file, err := os.Open(path) //nolint:gosec // our own
	if err != nil {
		return figures{}, err
	}
	defer func() { _ = file.Close() }()
	begun := map[int64]time.Time{}
	var calls []spent
	f := figures{limit: limits.Requests}
	if limits.Tokens > 0 {
		f.limit = limits.Tokens
	}
	for d := json.NewDecoder(file); ; {
		var l fakeprovider.LogLine
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return f, fmt.Errorf("read the call log: %w", err)
		}
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
		f.used = float64(total) / (float64(f.limit) * measured.Minutes())
	}
	return f, nil
}
