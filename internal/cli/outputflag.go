package cli

import (
	"io"
	"reflect"
)

// OutputFlag is the flag of what data is printed as.
type OutputFlag struct {
	Output string `short:"o" help:"table, json (one document) or ndjson (one object a line)." enum:"table,json,ndjson" default:"table"`
}

// ForPrograms reports whether programs read what is printed.
func (o OutputFlag) ForPrograms() bool { return o.Output == "json" || o.Output == "ndjson" }

// Write writes v for programs: as one document, or the elements of a slice line by
// line. A nil slice is an empty list.
func (o OutputFlag) Write(w io.Writer, v any) error {
	list := reflect.ValueOf(v)
	isList := list.Kind() == reflect.Slice
	switch {
	case isList && o.Output == "ndjson":
		for i := range list.Len() {
			if err := Line(w, list.Index(i).Interface()); err != nil {
				return err
			}
		}
		return nil
	case o.Output == "ndjson":
		return Line(w, v)
	case isList && list.IsNil():
		return writeJSON(w, []struct{}{})
	}
	return writeJSON(w, v)
}
