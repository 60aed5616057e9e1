package rows

import (
	"io"
	"unicode/utf8"
)

// wholeFile is a file that is a row itself: its column file has its name, and so has custom_id. It
// is not opened.
type wholeFile struct {
	places
	read bool
}

// newWholeFile returns it.
func newWholeFile(name string) Source { return &wholeFile{places: places{name: name, whole: true}} }

// Next implements Source.
func (w *wholeFile) Next() (Row, error) {
	if w.read {
		return Row{}, io.EOF
	}
	w.read = true
	if !utf8.ValidString(w.name) {
		return Row{}, w.At(1, "the name of the file is not valid UTF-8: rename it")
	}
	name := text(w.name)
	return Row{Place: 1, Fields: Fields{"custom_id": name, "file": name}, Names: w.Columns()}, nil
}

// Columns implements Source.
func (w *wholeFile) Columns() []string { return []string{"custom_id", "file"} }

// Close implements Source.
func (w *wholeFile) Close() error { return nil }
