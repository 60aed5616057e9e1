package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"oneflow/batches/rows"
	"oneflow/internal/cli"
)

// maxReported is the number of reasons for bad lines that are printed.
const maxReported = 20

// badLines tells of the lines of a file that are refused: of each reason the first line,
// and in the end how many others it holds for.
type badLines struct {
	w     io.Writer
	clear func() // makes room on the terminal
	n     int
	// first are the lines that were told of, and more the others by file and reason.
	first []*rows.LineError
	more  map[string]*moreLines
	quiet int64 // lines whose reasons were not printed
}

// moreLines are the numbers of lines, the first maxReported of them.
type moreLines struct {
	numbers []string
	beyond  int64
}

func newBadLines(w io.Writer, room func()) *badLines {
	return &badLines{w: w, clear: room, more: map[string]*moreLines{}}
}

// add tells of a line.
func (b *badLines) add(e *rows.LineError) {
	b.n++
	switch known := slices.ContainsFunc(b.first, func(f *rows.LineError) bool { return f.Reason == e.Reason && f.File == e.File }); {
	case known:
		more := b.more[e.File+"\n"+e.Reason]
		if more == nil {
			more = &moreLines{}
			b.more[e.File+"\n"+e.Reason] = more
		}
		if len(more.numbers) == maxReported {
			more.beyond++
		} else {
			more.numbers = append(more.numbers, strings.TrimPrefix(e.Where(), "line "))
		}
	case len(b.first) == maxReported:
		b.quiet++
	default:
		b.first = append(b.first, e)
		b.clear()
		fmt.Fprintln(b.w, e)
	}
}

// total tells how many lines there were beside those that were told of.
func (b *badLines) total() {
	for _, e := range b.first {
		more := b.more[e.File+"\n"+e.Reason]
		if more == nil {
			continue
		}
		lines := strings.Join(more.numbers, ", ")
		switch {
		case e.Row: // each says that it is one
		case len(more.numbers) > 1:
			lines = "lines " + lines
		default:
			lines = "line " + lines
		}
		if more.beyond > 0 {
			lines += " and " + cli.Things(more.beyond, "more line")
		}
		fmt.Fprintf(b.w, "%s: the same as in %s: %s\n", e.File, e.Where(), lines)
	}
	if b.quiet > 0 {
		fmt.Fprintf(b.w, "… %s with other reasons are counted but not shown\n", cli.Things(b.quiet, "more bad line"))
	}
}
