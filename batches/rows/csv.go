package rows

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table reads CSV with a header.
type table struct {
	places
	limit   *limited
	r       *csv.Reader
	columns []string // as they stand; "" for one that is passed over
	names   []string // without those
	last    int64    // the line where the last row began
	end     error
}

// newTable reads a table with a header, whose cells are parted by comma, which 0 finds
// out: a comma, a semicolon, a tab or a bar. All values are strings. A column
// without a name, such as the index of pandas, is passed over.
func newTable(name string, r io.Reader, comma rune) Source {
	t := &table{places: places{name: name}, limit: &limited{r: r}}
	t.r = csv.NewReader(t.limit)
	t.r.Comma = comma
	t.r.ReuseRecord, t.r.FieldsPerRecord = true, -1
	return t
}

// Columns implements Source.
func (t *table) Columns() []string { return t.names }

// Close implements Source.
func (t *table) Close() error { return nil }

// Next implements Source.
func (t *table) Next() (Row, error) {
	if t.columns == nil && t.end == nil {
		t.end = t.header()
	}
	if t.end != nil {
		return Row{}, t.end
	}
	cells, err := t.record()
	if err != nil {
		return Row{}, err
	}
	place, _ := t.r.FieldPos(0)
	row := Row{Place: int64(place), Fields: make(Fields, len(t.names)), Names: t.names, Cells: true}
	t.last = row.Place
	for len(cells) > len(t.columns) && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	if len(cells) != len(t.columns) {
		return Row{}, t.At(row.Place, fmt.Sprintf("has %d cells, and the header has %d: a cell that holds the separator %q, a quote or a line end must stand in double quotes", len(cells), len(t.columns), string(t.r.Comma)))
	}
	for i, cell := range cells {
		if t.columns[i] == "" {
			continue
		}
		if !utf8.ValidString(cell) {
			line, column := t.r.FieldPos(i)
			bad := t.At(int64(line), notUTF8)
			bad.Column = column + firstInvalid([]byte(cell)) - 1
			return Row{}, bad
		}
		row.Fields[t.columns[i]] = text(cell)
	}
	return row, nil
}

// record reads the next record that is not blank.
func (t *table) record() ([]string, error) {
	t.limit.left = MaxRow
	cells, err := t.r.Read()
	wrong, ok := errors.AsType[*csv.ParseError](err)
	switch {
	case errors.Is(err, errLineTooLong):
		t.end = fmt.Errorf("%s:%d: a row after this line is longer than %d MiB: is a double quote not closed?", t.name, max(t.last, 1), MaxRow>>20)
		return nil, t.end
	case ok:
		bad := &LineError{File: t.name, Line: int64(wrong.Line), Column: wrong.Column, Reason: "not valid CSV: a cell that holds a double quote stands in double quotes, with \"\" for each inside"}
		if wrong.StartLine != wrong.Line {
			bad.Line, bad.Column = int64(wrong.StartLine), 0
			bad.Reason = fmt.Sprintf("not valid CSV: a double quote that opens in this row is not closed before line %d", wrong.Line)
		}
		return nil, bad
	case err != nil:
		if t.end = err; !errors.Is(err, io.EOF) {
			t.end = fmt.Errorf("%s:%d: %w", t.name, max(t.last, 1), err)
		}
		return nil, t.end
	}
	return cells, nil
}

// header reads the names of the columns.
func (t *table) header() error {
	cells, err := t.record()
	if err == nil && strings.HasPrefix(cells[0], separatorMark) {
		cells, err = t.record()
	}
	if bad, ok := errors.AsType[*LineError](err); ok {
		return &FormatError{*bad}
	}
	if err != nil {
		return err
	}
	wrong := func(reason string) error {
		return &FormatError{LineError{File: t.name, Line: 1, Reason: reason}}
	}
	t.columns = make([]string, len(cells))
	seen := map[string]bool{"": true}
	for i, cell := range cells {
		name := strings.TrimSpace(cell)
		switch {
		case !utf8.ValidString(name):
			return wrong(notUTF8)
		case strings.Contains(name, "\r"):
			return wrong(`its lines end with a carriage return alone: use tr '\r' '\n' < FILE | enqueue batch -`)
		case name != "" && seen[name]:
			return wrong(fmt.Sprintf("column %s stands twice: rename one of them", Quoted(name)))
		}
		t.columns[i], seen[name] = name, true
		if name != "" {
			t.names = append(t.names, name)
		}
	}
	if len(t.names) == 0 {
		return wrong("the header names no column")
	}
	return nil
}

// limited is r with a bound on what is read for one record.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLineTooLong
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}

// separatorMark begins a line by which Excel is told the separator, before the header.
const separatorMark = "sep="

// separator returns the character that parts the cells of a header: that of the candidates which is most
// frequent outside of quotes.
func separator(header string) rune {
	if rest, ok := strings.CutPrefix(header, separatorMark); ok && rest != "" && strings.IndexByte(",;\t|", rest[0]) >= 0 {
		return rune(rest[0])
	}
	counts := map[rune]int{}
	inQuotes := false
	for _, c := range header {
		if c == '"' {
			inQuotes = !inQuotes
		} else if !inQuotes {
			counts[c]++
		}
	}
	best := ','
	for _, c := range ";\t|" {
		if counts[c] > counts[best] {
			best = c
		}
	}
	return best
}
