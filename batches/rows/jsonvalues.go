package rows

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// jsonValues reads JSON objects that are not one a line: the elements of a list, or
// objects over several lines, one after the other.
type jsonValues struct {
	places
	r *bufio.Reader
	// closing is the text that must follow after the last object, such as "]" of a list.
	closing string
	place   int64
	line    int64 // of the next byte, from 1
	column  int   // and its place in it, from 0
	buffer  []byte
	end     error
}

// jsonList reads the objects of a list, whose opening bracket has been read up to
// the byte at line and column. closing is what ends the file after the last one.
func jsonList(name string, r io.Reader, closing string, line int64, column int) *jsonValues {
	return &jsonValues{places: places{name: name, counted: true}, r: bufio.NewReaderSize(r, 64<<10), closing: closing, line: line, column: column}
}

// Columns implements Source.
func (v *jsonValues) Columns() []string { return nil }

// Close implements Source.
func (v *jsonValues) Close() error { return nil }

// Next implements Source.
func (v *jsonValues) Next() (Row, error) {
	if v.end != nil {
		return Row{}, v.end
	}
	begin, err := v.skip(", \t\r\n")
	switch {
	case errors.Is(err, io.EOF) && v.closing == "":
		v.end = io.EOF
		return Row{}, io.EOF
	case err != nil:
		return Row{}, v.stop(err)
	case v.closing != "" && begin == v.closing[0]:
		return Row{}, v.close()
	case begin != '{':
		return Row{}, v.stop(errors.New("not valid JSON: a list of rows has an object in {} for each"))
	}
	v.place++
	line, column := v.line, v.column
	raw, err := v.object()
	if errors.Is(err, errLineTooLong) {
		return Row{}, &LineError{File: v.name, Line: line, Column: column, Reason: tooLong("the object is")}
	}
	if err != nil {
		_ = v.stop(err) // it is told with where the object begins
		return Row{}, &LineError{File: v.name, Line: line, Column: column, Reason: "not valid JSON: the object that begins here has no end"}
	}
	fields, names, err := split(raw)
	if err == nil {
		return Row{Place: v.place, Fields: fields, Names: names}, nil
	}
	bad := &LineError{File: v.name, Line: line, Column: column, Reason: Printable(err)}
	if at, ok := errors.AsType[*syntaxError](err); ok {
		before := raw[:min(max(at.at-1, 0), len(raw))]
		if n := bytes.Count(before, []byte("\n")); n > 0 {
			bad.Line, bad.Column = line+int64(n), len(before)-bytes.LastIndexByte(before, '\n')
		} else {
			bad.Column += len(before)
		}
	}
	return Row{}, bad
}

// stop ends the reading.
func (v *jsonValues) stop(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("not valid JSON: the list has no end")
		if v.closing == "" {
			err = io.EOF
		}
	}
	if !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s:%d:%d: %w", v.name, v.line, max(v.column, 1), err)
	}
	v.end = err
	return err
}

// close reads what follows after the last object.
func (v *jsonValues) close() error {
	for i := 1; i < len(v.closing); i++ {
		if c, err := v.skip(" \t\r\n"); err != nil || c != v.closing[i] {
			return v.stop(fmt.Errorf("not valid JSON: after the last row there must be %c", v.closing[i]))
		}
	}
	if _, err := v.skip(" \t\r\n"); !errors.Is(err, io.EOF) {
		return v.stop(errors.New("there is more after the list of rows"))
	}
	v.end = io.EOF
	return io.EOF
}

// skip reads up to the first byte that is not one of space.
func (v *jsonValues) skip(space string) (byte, error) {
	for {
		c, err := v.read()
		if err != nil {
			return 0, err
		}
		if bytes.IndexByte([]byte(space), c) < 0 {
			return c, nil
		}
	}
}

func (v *jsonValues) read() (byte, error) {
	c, err := v.r.ReadByte()
	if err != nil {
		return 0, err
	}
	if v.column++; c == '\n' {
		v.line, v.column = v.line+1, 0
	}
	return c, nil
}

// object reads up to the bracket that closes the one that was read last. Of one that
// is too long nothing is kept.
func (v *jsonValues) object() ([]byte, error) {
	raw := v.buffer[:0]
	raw = append(raw, '{')
	inText := false
	for depth := 1; depth > 0; {
		c, err := v.read()
		if err != nil {
			return nil, err
		}
		if len(raw) <= MaxRow {
			raw = append(raw, c)
		}
		switch {
		case inText && c == '\\':
			c, err := v.read()
			if err != nil {
				return nil, err
			}
			raw = append(raw, c)
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	if len(raw) > MaxRow {
		v.buffer = nil
		return nil, errLineTooLong
	}
	v.buffer = raw
	return raw, nil
}
