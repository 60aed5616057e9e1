package batches

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Fields are the fields of one row, each still as JSON. They are valid until the
// source is asked for the next row.
type Fields map[string]json.RawMessage

// RowSource yields the rows of a file, whatever its format.
type RowSource interface {
	// Next returns the next row's fields, and its place: the line where it begins,
	// from 1. A *LineError is about that row alone, and the next may be asked for;
	// io.EOF tells that there are no more; any other error ends the reading, and a
	// *FormatError tells that the file has another format.
	Next() (fields Fields, place int64, err error)
}

// MaxLine is the longest line that is read, in bytes. A longer one is reported
// and skipped without being held in memory.
const MaxLine = 16 << 20

// maxDepth and maxTokens are how deep a line may nest, and how many names, values
// and brackets it may have: a short one may otherwise become many times its size.
const (
	maxDepth  = 100
	maxTokens = 100_000
)

// LineError says what is wrong with one line. It never holds what the line says
// beyond names of fields and short option values.
type LineError struct {
	File string
	Line int64
	// Column is the byte of the line where it stops being JSON, from 1; 0 where the
	// whole line is meant.
	Column int
	Reason string
}

// Error is file:line: reason, or file:line:column: reason.
func (e *LineError) Error() string {
	if e.Column > 0 {
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Reason)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// FormatError says that a file has another format than was expected, by its first
// line, and what to do about it.
type FormatError struct{ LineError }

// Error is that of the line.
func (e *FormatError) Error() string { return e.LineError.Error() }

// jsonLines reads JSON objects, one a line.
type jsonLines struct {
	name   string
	r      *bufio.Reader
	place  int64
	buffer []byte // for all lines
	begun  bool   // a line that is not empty has come
	long   bool   // the last line was too long: what is left of it is passed over
	end    error
}

// JSONLines reads JSON objects, one a line. Empty lines are passed over, as is a
// byte order mark at the start of a line: files are joined with cat. name is what
// errors call the file.
func JSONLines(name string, r io.Reader) RowSource {
	return &jsonLines{name: name, r: bufio.NewReaderSize(r, 64<<10)}
}

// Next implements RowSource.
func (l *jsonLines) Next() (Fields, int64, error) {
	if l.long {
		l.long = false
		l.stop(skipLine(l.r))
	}
	for l.end == nil {
		l.place++
		line, err := l.readLine()
		if errors.Is(err, errLineTooLong) {
			// It is reported now, since it may have no end.
			l.long, l.buffer = true, nil
			return nil, l.place, &LineError{File: l.name, Line: l.place, Reason: fmt.Sprintf("the line is longer than %d MiB", MaxLine>>20)}
		}
		if l.stop(err); l.end != nil && !errors.Is(l.end, io.EOF) {
			break
		}
		trimmed := bytes.TrimSpace(bytes.TrimPrefix(line, []byte(byteOrderMark)))
		if len(trimmed) == 0 {
			continue
		}
		if why := otherFormat(l.name, trimmed); !l.begun && why != "" {
			l.end = &FormatError{LineError{File: l.name, Line: l.place, Reason: why}}
			break
		}
		l.begun = true
		fields, err := split(trimmed)
		if err == nil {
			return fields, l.place, nil
		}
		bad := &LineError{File: l.name, Line: l.place, Reason: printable(err)}
		if at, ok := errors.AsType[*syntaxError](err); ok {
			bad.Column = at.at + len(line) - len(bytes.TrimLeftFunc(line, func(r rune) bool { return unicode.IsSpace(r) || r == '\uFEFF' }))
		}
		return nil, l.place, bad
	}
	return nil, l.place, l.end
}

const byteOrderMark = "\xEF\xBB\xBF"

var errLineTooLong = errors.New("line too long")

// stop notes why nothing follows; nil: something does.
func (l *jsonLines) stop(err error) {
	if l.end = err; err != nil && !errors.Is(err, io.EOF) {
		l.end = fmt.Errorf("%s:%d: %w", l.name, l.place, err)
	}
}

// readLine reads up to the next newline, and gives up on a line that is too long.
func (l *jsonLines) readLine() ([]byte, error) {
	line := l.buffer[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if line = append(line, part...); len(line) > MaxLine {
			if err == nil { // its end has been read
				return nil, errors.Join(errLineTooLong, l.r.UnreadByte())
			}
			return nil, errLineTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			l.buffer = line
			return line, err
		}
	}
}

// skipLine reads past the next newline and keeps nothing.
func skipLine(r *bufio.Reader) error {
	for {
		if _, err := r.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// syntaxError says where a line stops being JSON.
type syntaxError struct {
	at     int // from 1
	reason string
}

// Error is the reason.
func (e *syntaxError) Error() string { return e.reason }

// split returns the fields of the JSON object in line. It refuses what encoding/json
// would take and change in silence: names that stand twice in one object, halves of
// surrogate pairs and text after the object; and what is beyond maxDepth or maxTokens.
func split(line []byte) (Fields, error) {
	if !utf8.Valid(line) {
		return nil, &syntaxError{firstInvalid(line), "not valid UTF-8"}
	}
	if !json.Valid(line) {
		// Python and pandas write NaN where there is no value.
		plain, found := withoutNaN(line)
		if !found || !json.Valid(plain) {
			return nil, syntax(line)
		}
		line = plain
	}
	if line[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	s := scanner{line: line, fields: Fields{}}
	return s.fields, s.object(true)
}

// scanner walks over a line that is valid JSON.
type scanner struct {
	line          []byte
	at            int
	depth, tokens int
	fields        Fields
}

// value walks over one value.
func (s *scanner) value() error {
	switch s.skip(); s.line[s.at] {
	case '{':
		return s.object(false)
	case '[':
		return s.array()
	case '"':
		_, err := s.text()
		return err
	}
	for s.at < len(s.line) && !strings.ContainsRune(",]} \t\r\n", rune(s.line[s.at])) {
		s.at++
	}
	return s.count()
}

func (s *scanner) count() error {
	if s.tokens++; s.tokens > maxTokens {
		return errors.New("more than 100,000 names and values in one line")
	}
	return nil
}

// enter walks over an opening bracket.
func (s *scanner) enter() error {
	if s.depth++; s.depth > maxDepth {
		return errTooDeep
	}
	s.at++
	s.skip()
	return s.count()
}

var errTooDeep = fmt.Errorf("nested deeper than %d levels", maxDepth)

// object walks over an object, and keeps its fields if it is the outermost.
func (s *scanner) object(outermost bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	names := map[string]bool{}
	for s.line[s.at] != '}' {
		raw, err := s.text()
		if err != nil {
			return err
		}
		name := string(raw[1 : len(raw)-1])
		if strings.IndexByte(name, '\\') >= 0 {
			if err := json.Unmarshal(raw, &name); err != nil {
				return err
			}
		}
		if names[name] {
			return fmt.Errorf("field %s: stands twice", shorten(strconv.Quote(name)))
		}
		names[name] = true
		s.skip()
		s.at++ // the colon
		s.skip()
		begin := s.at
		if err := s.value(); err != nil {
			return err
		}
		if outermost {
			s.fields[name] = s.line[begin:s.at]
		}
		s.next()
	}
	s.at++
	s.depth--
	return nil
}

func (s *scanner) array() error {
	if err := s.enter(); err != nil {
		return err
	}
	for s.line[s.at] != ']' {
		if err := s.value(); err != nil {
			return err
		}
		s.next()
	}
	s.at++
	s.depth--
	return nil
}

// next walks over a comma, if there is one, and the space around it.
func (s *scanner) next() {
	s.skip()
	if s.line[s.at] == ',' {
		s.at++
		s.skip()
	}
}

// skip walks over space.
func (s *scanner) skip() {
	for strings.IndexByte(" \t\r\n", s.line[s.at]) >= 0 {
		s.at++
	}
}

// text walks over a string and returns it with its quotes. A \ud800 to \udfff that
// is not one of the two halves of a pair is refused.
func (s *scanner) text() ([]byte, error) {
	begin := s.at
	for s.at++; s.line[s.at] != '"'; s.at++ {
		if s.line[s.at] != '\\' {
			continue
		}
		s.at++
		if s.line[s.at] != 'u' {
			continue
		}
		r, _ := escape(s.line, s.at-1)
		if r < 0xD800 || r > 0xDFFF {
			continue
		}
		low, ok := escape(s.line, s.at+5)
		if r >= 0xDC00 || !ok || low < 0xDC00 || low > 0xDFFF {
			return nil, &syntaxError{s.at, "half of a surrogate pair: not a character"}
		}
		s.at += 10
	}
	s.at++
	return s.line[begin:s.at], s.count()
}

// escape reads the \uXXXX at i.
func escape(line []byte, i int) (rune, bool) {
	if i+6 > len(line) || line[i] != '\\' || line[i+1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(line[i+2:i+6]), 16, 32)
	return rune(v), err == nil //nolint:gosec // four hex digits
}

func firstInvalid(line []byte) int {
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRune(line[i:])
		if r == utf8.RuneError && size == 1 {
			return i + 1
		}
		i += size
	}
	return len(line)
}
