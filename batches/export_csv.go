package batches

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strings"
)

// Decimal is the mark before the decimals of a number, where a spreadsheet's user lives.
type Decimal string

// The marks. Where it is a comma, Excel parts cells by semicolons.
const (
	DecimalPoint Decimal = "point"
	DecimalComma Decimal = "comma"
)

// csvTable writes a header, and a line for each record: by RFC 4180, without a byte order mark, which
// many programs would take for a part of the first column's name; or as Excel opens it.
type csvTable struct {
	columns []tableColumn
	to      io.Writer // what w writes to
	w       *csv.Writer
	excel   Decimal // empty: for programs
	begun   bool
}

func newCSVTable(w io.Writer, columns []tableColumn, excel Decimal) *csvTable {
	t := &csvTable{columns: columns, to: w, w: csv.NewWriter(w), excel: excel}
	t.w.UseCRLF = excel != ""
	if excel == DecimalComma {
		t.w.Comma = ';'
	}
	return t
}

func (t *csvTable) header() error {
	if t.begun {
		return nil
	}
	t.begun = true
	if t.excel != "" {
		if _, err := io.WriteString(t.to, "\uFEFF"); err != nil { // without it umlauts are taken for those of an old code page
			return err
		}
	}
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.Name
	}
	return t.w.Write(names)
}

func (t *csvTable) write(r Record) error {
	if err := t.header(); err != nil {
		return err
	}
	values, err := rowValues(t.columns, &r)
	if err != nil {
		return err
	}
	cells := make([]string, len(values))
	for i, value := range values {
		cells[i] = t.cell(value)
	}
	return t.w.Write(cells)
}

// cell is a value as its cell. For Excel numbers have its decimal mark, and a text that Excel would take for
// a formula, such as a list that begins with -, has a quote before it.
func (t *csvTable) cell(value any) string {
	text := cell(value)
	if t.excel == "" || text == "" {
		return text
	}
	if raw, ok := value.(json.RawMessage); ok && raw[0] != '"' {
		value = json.Number(raw)
	}
	switch _, number := value.(json.Number); {
	case number && t.excel == DecimalComma && isNumber(text):
		return strings.Replace(text, ".", ",", 1)
	case !number && strings.ContainsRune("=+-@\t\r", rune(text[0])) && !isNumber(text):
		return "'" + text
	}
	return text
}

// isNumber reports whether a text is a number as people or programs write it.
func isNumber(text string) bool {
	return strings.ContainsAny(text, "0123456789") && strings.Trim(text, "0123456789.,+-eE% ") == ""
}

func (t *csvTable) close() error {
	err := t.header()
	t.w.Flush()
	if err == nil {
		err = t.w.Error()
	}
	return err
}
