// Package rows reads files of prompts as people have them: JSON lines, lists of
// JSON, CSV, plain lines and Parquet, packed or not, one file or a folder of them.
// It yields rows and knows nothing of what their columns mean: package batches
// does. It imports nothing of OneFlow.
//
// All of it is bounded: a row is at most MaxRow bytes, and no more than one row,
// or one page of a column, is held in memory.
package rows

import (
	"encoding/json"
	"fmt"
)

// Fields are the fields of one row by name, each still as JSON. They are valid
// until the source is asked for the next row.
type Fields map[string]json.RawMessage

// Row is one row of a file.
type Row struct {
	// Place tells the row among those of its source: it rises from 1. A source's At
	// says where that is.
	Place  int64
	Fields Fields
	// Names are those of Fields in the order of the file.
	Names []string
	// Cells reports whether all values are text, as in CSV, which has no types: an empty
	// one may stand for none.
	Cells bool
}

// Source yields the rows of a file, or of several, whatever their format.
type Source interface {
	// Next returns the next row. A *LineError is about one row alone, and the next
	// may be asked for; io.EOF says that there are no more; any other error ends the
	// reading, and a *FormatError says that the file has another format.
	Next() (Row, error)
	// At is an error about the row at a place that Next has returned.
	At(place int64, reason string) *LineError
	where() places
	// Columns are those that all rows have, or nil where each row has its own. They
	// are known once Next has been called.
	Columns() []string
	// Close lets go of files. It does not close what the caller has opened.
	Close() error
}

// MaxRow is the longest line, or row of a table, that is read, in bytes. A longer
// one is reported and skipped without being held in memory.
const MaxRow = 16 << 20

// tooLong says that a row, or its line, is longer than MaxRow, and the way out. How long it is nobody
// knows: it may have no end.
func tooLong(what string) string {
	return fmt.Sprintf("%s longer than %d MiB: give pictures, sounds and documents by url, or make them smaller", what, MaxRow>>20)
}

// LineError says what is wrong with one row. It never holds what the row says
// beyond names of columns and short option values.
type LineError struct {
	File string
	// Line is the line where the row begins, from 1; the number of the row where Row
	// is set; 0 where the row is the whole file.
	Line int64
	// Column is the byte of the line where it stops being what it should be, from 1;
	// 0 where the whole line is meant.
	Column int
	// Row reports whether rows are counted, as the file has no lines.
	Row bool
	// Group is the row group of a Parquet file, in which its rows are counted, from
	// 1; 0 elsewhere.
	Group  int
	Reason string
}

// Where names the row within its file, such as "line 7".
func (e *LineError) Where() string {
	switch {
	case e.Group > 0:
		return fmt.Sprintf("row group %d, row %d", e.Group, e.Line)
	case e.Row:
		return fmt.Sprintf("row %d", e.Line)
	case e.Line == 0:
		return "the file"
	}
	return fmt.Sprintf("line %d", e.Line)
}

// Error is file:line: reason, or file:line:column: reason, or names the row.
func (e *LineError) Error() string {
	switch {
	case e.Row:
		return fmt.Sprintf("%s: %s: %s", e.File, e.Where(), e.Reason)
	case e.Line == 0:
		return e.File + ": " + e.Reason
	case e.Column > 0:
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Reason)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// FormatError says that a file is not what was expected, by its beginning, and what
// to do about it.
type FormatError struct{ LineError }

// Error is that of the line, or file: reason where Line is 0.
func (e *FormatError) Error() string { return e.LineError.Error() }

// places says where the rows of a source are.
type places struct {
	name string
	// counted reports whether there are no lines, and rows are counted.
	counted bool
	// whole tells that the file is its only row.
	whole bool
	// groups are the numbers of rows of each row group, in a Parquet file.
	groups []int64
}

func (p places) where() places { return p }

// At is an error about the row at a place.
func (p places) At(place int64, reason string) *LineError {
	e := &LineError{File: p.name, Line: place, Row: p.counted, Reason: reason}
	if p.whole {
		e.Line = 0
	}
	for i, n := range p.groups {
		if e.Group = i + 1; e.Line <= n || e.Group == len(p.groups) {
			break
		}
		e.Line -= n
	}
	return e
}
