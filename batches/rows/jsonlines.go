package rows

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode"
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
		return nil, l.At(l.place, fmt.Sprintf("the line is longer than %d MiB", MaxRow>>20))
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
