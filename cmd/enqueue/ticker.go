package main

import (
	"fmt"
	"io"
	"time"

	"oneflow/batches"
	"oneflow/internal/cli"
)

// ticker shows how far the intake is, on a terminal only, and only when it takes
// long enough to wonder.
type ticker struct {
	w     io.Writer
	on    bool
	since time.Time
	shown bool
}

func newTicker(w io.Writer) *ticker {
	return &ticker{w: w, on: cli.IsTerminal(w), since: time.Now()}
}

func (t *ticker) show(r batches.Report) {
	if !t.on || time.Since(t.since) < time.Second {
		return
	}
	t.shown = true
	fmt.Fprintf(t.w, "\r\x1b[Kaccepting: %s new, %s there already, %s bad", cli.Count(int64(r.Accepted)), cli.Count(int64(r.Duplicates)), cli.Count(int64(r.Rejected)))
}

// clear makes room for another line.
func (t *ticker) clear() {
	if t.shown {
		fmt.Fprint(t.w, "\r\x1b[K")
		t.shown = false
	}
}
