package rows

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// jsonLines reads JSON objects, one a line.
type jsonLines struct {
	lines
	begun bool // a line that is not empty has come
}

// JSONLines reads JSON objects, one a line. Empty lines are passed over, as is a
// byte order mark at the start of a line: files are joined with cat. name is what
// errors call the file.
func JSONLines(name string, r io.Reader) Source { return &jsonLines{lines: newLines(name, r)} }

// Next implements Source.
func (l *jsonLines) Next() (Row, error) {
	for {
		line, err := l.next()
		if err != nil {
			return Row{}, err
		}
		trimmed := bytes.TrimSpace(bytes.TrimPrefix(line, []byte(byteOrderMark)))
		if len(trimmed) == 0 {
			continue
		}
		if why := notLines(trimmed); !l.begun && why != "" {
			l.end = &FormatError{LineError{File: l.name, Line: l.place, Reason: why}}
			continue
		}
		l.begun = true
		fields, names, err := split(trimmed)
		if err == nil {
			return Row{Place: l.place, Fields: fields, Names: names}, nil
		}
		bad := l.At(l.place, Printable(err))
		if at, ok := errors.AsType[*syntaxError](err); ok {
			bad.Column = at.at + len(line) - len(bytes.TrimLeftFunc(line, func(r rune) bool { return unicode.IsSpace(r) || r == '\uFEFF' }))
		}
		return Row{}, bad
	}
}

// notLines says, by its first line that is not empty, that a file is no file of
// JSON lines.
func notLines(line []byte) string {
	has := func(mark string) bool { return bytes.HasPrefix(line, []byte(mark)) }
	switch {
	case has(gzipMark), has(zstdMark), has("PK\x03\x04"), has(parquetMark), has("\xff\xfe"), has("\xfe\xff"), has("{\x00"), has("\x00{"):
		return "is no text, and so no JSON lines"
	case has("{") && len(line) == 1, has("["):
		return "is JSON over several lines, and JSON lines have one object a line"
	}
	return ""
}

const byteOrderMark = "\xEF\xBB\xBF"

// lines reads lines, and passes over those that are too long.
type lines struct {
	places
	r      *bufio.Reader
	place  int64
	buffer []byte // for all lines
	long   bool   // the last line was too long: what is left of it is passed over
	end    error
}

func newLines(name string, r io.Reader) lines {
	return lines{places: places{name: name}, r: bufio.NewReaderSize(r, 64<<10)}
}

// Columns implements Source.
func (l *lines) Columns() []string { return nil }

// Close implements Source.
func (l *lines) Close() error { return nil }

// next returns the next line with its end. A *LineError says that it is too long.
func (l *lines) next() ([]byte, error) {
	if l.long {
		l.long = false
		l.stop(skipLine(l.r))
	}
	if l.end != nil {
		return nil, l.end
	}
	l.place++
	line, err := l.readLine()
	if errors.Is(err, errLineTooLong) {
		// It is reported now, since it may have no end.
		l.long, l.buffer = true, nil
		return nil, l.At(l.place, tooLong("the line is"))
	}
	if l.stop(err); l.end != nil && !errors.Is(l.end, io.EOF) {
		return nil, l.end
	}
	return line, nil
}

var errLineTooLong = errors.New("line too long")

// stop notes why nothing follows; nil: something does.
func (l *lines) stop(err error) {
	if l.end = err; err != nil && !errors.Is(err, io.EOF) {
		l.end = fmt.Errorf("%s:%d: %w", l.name, l.place, err)
	}
}

// readLine reads up to the next newline, and gives up on a line that is too long.
func (l *lines) readLine() ([]byte, error) {
	line := l.buffer[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if line = append(line, part...); len(line) > MaxRow {
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

// maxDepth and maxTokens are how deep a value may nest, and how many names, values
// and brackets it may have: a short one may otherwise become many times its size.
const (
	maxDepth  = 100
	maxTokens = 100_000
)

// syntaxError says where a line stops being JSON.
type syntaxError struct {
	at     int // from 1
	reason string
}

// Error is the reason.
func (e *syntaxError) Error() string { return e.reason }

// Valid reports whether value, which is valid JSON, is also what rows may hold: see
// split.
func Valid(value []byte) bool {
	s := scanner{line: append(slices.Clip(value), '\n')}
	return s.value() == nil
}

// Object returns the fields of a JSON object, which may stand on several lines. It refuses
// what a row may not hold: see split.
func Object(text []byte) (Fields, error) {
	text = bytes.TrimSpace(text)
	if !json.Valid(text) {
		return nil, errors.New("not valid JSON")
	}
	fields, _, err := split(text)
	return fields, err
}

// split returns the fields of the JSON object in line, and their names in order. It refuses what encoding/json
// would take and change in silence: names that stand twice in one object, halves of
// surrogate pairs and text after the object; and what is beyond maxDepth or maxTokens.
func split(line []byte) (Fields, []string, error) {
	if !utf8.Valid(line) {
		return nil, nil, &syntaxError{firstInvalid(line), "not valid UTF-8"}
	}
	if !json.Valid(line) {
		// Python and pandas write NaN where there is no value.
		plain, found := withoutNaN(line)
		if !found || !json.Valid(plain) {
			return nil, nil, syntax(line)
		}
		line = plain
	}
	if line[0] != '{' {
		return nil, nil, errors.New("not a JSON object")
	}
	s := scanner{line: line, fields: Fields{}}
	err := s.object(true)
	return s.fields, s.names, err
}

// scanner walks over a line that is valid JSON.
type scanner struct {
	line          []byte
	at            int
	depth, tokens int
	fields        Fields
	names         []string
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
			return fmt.Errorf("field %s: stands twice", Quoted(name))
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
			s.names = append(s.names, name)
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
