package cli

import (
	"encoding/csv"
	"io"
)

// FiguresFlag is OutputFlag for figures, which spreadsheets take, too.
type FiguresFlag struct {
	Output string `short:"o" help:"table, csv, json (one document) or ndjson (one object a line)." enum:"table,csv,json,ndjson" default:"table"`
}

// ForPrograms reports whether programs read what is printed.
func (o FiguresFlag) ForPrograms() bool { return o.Output != "table" }

// CSV reports whether it is a table for programs: see Table.
func (o FiguresFlag) CSV() bool { return o.Output == "csv" }

// Write is that of OutputFlag.
func (o FiguresFlag) Write(w io.Writer, v any) error { return OutputFlag(o).Write(w, v) }

// WriteCSV writes rows, the first of which is the header.
func WriteCSV(w io.Writer, rows [][]string) error {
	return csv.NewWriter(w).WriteAll(rows)
}
