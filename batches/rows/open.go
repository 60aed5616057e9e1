package rows

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/unicode"
)

// Format is the way in which the rows of a file are written.
type Format string

// The formats. The empty one is found out from a file's beginning.
const (
	FormatJSONLines Format = "jsonl"   // an object a line; OpenAI's and Anthropic's batches, too
	FormatJSON      Format = "json"    // a list of objects, or {"requests":[…]}, or objects over several lines
	FormatCSV       Format = "csv"     // with a header
	FormatLines     Format = "lines"   // each line is a prompt
	FormatParquet   Format = "parquet" //
	FormatFiles     Format = "files"   // each file is a row, whose columns file and custom_id have its name
)

// Options say how to read files.
type Options struct {
	// Format is that of all files; empty: each file's is found out.
	Format Format
	// Columns are names of which a table has at least one: a first line with one of
	// them is a header, also where the file is not called .csv.
	Columns []string
	// Recognised is told of each file's format. Nil: nobody is.
	Recognised func(name string, f Format)
}

// The first bytes of files that are no text.
const (
	gzipMark    = "\x1f\x8b"
	zstdMark    = "\x28\xb5\x2f\xfd"
	parquetMark = "PAR1"
)

// maxWindow is the memory that unpacking zstd may take: what zstd --long=26 needs.
const maxWindow = 64 << 20

// Read reads the rows of r, whose name tells a format where the content leaves it
// open. Gzip and zstd are unpacked as they are read, and UTF-16 is understood.
func Read(name string, r io.Reader, o Options) (Source, error) {
	b := bufio.NewReaderSize(r, headSize)
	plain, direct := name, true
	var unpack func() error
	for range 2 { // a .gz that was packed once more is as far as mishaps go
		head := peek(b, func(h []byte) bool { return len(h) >= 4 })
		switch ext := filepath.Ext(plain); {
		case has(head, gzipMark):
			g, err := gzip.NewReader(b)
			if err != nil {
				return nil, &FormatError{LineError{File: name, Reason: "is no whole gzip file: " + Printable(err)}}
			}
			b, plain, direct = bufio.NewReaderSize(unpacker{g, "gzip"}, headSize), strings.TrimSuffix(plain, ext), false
		case has(head, zstdMark):
			z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
			if err != nil {
				return nil, &FormatError{LineError{File: name, Reason: "is no whole zstd file: " + Printable(err)}}
			}
			unpack = func() error { z.Close(); return nil }
			b, plain, direct = bufio.NewReaderSize(unpacker{z, "zstd"}, headSize), strings.TrimSuffix(plain, ext), false
		}
	}
	source, err := open(name, plain, b, r, direct, o)
	if err != nil || unpack == nil {
		return source, err
	}
	return closing{source, unpack}, nil
}

// unpacker says what is wrong with a packed file.
type unpacker struct {
	io.Reader
	kind string
}

func (u unpacker) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("the %s file is cut off here", u.kind)
	default:
		err = fmt.Errorf("the %s file is damaged here: %w", u.kind, err)
	}
	return n, err
}

// closing is a source that closes something more.
type closing struct {
	Source
	more func() error
}

// Close implements Source.
func (c closing) Close() error {
	err := c.Source.Close()
	if more := c.more(); err == nil {
		err = more
	}
	return err
}

// headSize is the length of the part of a file that its format is found out from, in bytes.
const headSize = 64 << 10

// peek returns the beginning of b: as much as is needed until enough holds, or all
// there is, or headSize. It does not wait for more than that.
func peek(b *bufio.Reader, enough func([]byte) bool) []byte {
	for n := 1; ; n = min(max(n+1, b.Buffered()), headSize) {
		head, err := b.Peek(n)
		if err != nil || n == headSize || enough(head) {
			return head
		}
	}
}

func has(head []byte, mark string) bool { return bytes.HasPrefix(head, []byte(mark)) }

// open reads the rows of b, which is unpacked. plain is its name without the endings of
// what has been unpacked. direct tells that b is r, of which nothing has been taken off.
func open(name, plain string, b *bufio.Reader, r io.Reader, direct bool, o Options) (Source, error) {
	head := peek(b, func(h []byte) bool { return len(h) >= 4 })
	refuse := func(reason string) (Source, error) {
		return nil, &FormatError{LineError{File: name, Reason: reason}}
	}
	switch {
	case has(head, parquetMark):
		told(o, name, FormatParquet)
		if f, ok := r.(*os.File); ok && direct {
			if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
				return openParquet(name, f, info.Size(), func() error { return nil })
			}
		}
		return spooledParquet(name, b)
	case has(head, "PK\x03\x04"):
		return refuse("looks like a spreadsheet or a zip archive: save a spreadsheet as CSV UTF-8, and unpack an archive into a folder, which is taken whole")
	case has(head, "\x00\x00\xfe\xff"), has(head, "\xff\xfe\x00\x00"):
		return refuse("looks like UTF-32: use iconv -f UTF-32 -t UTF-8 FILE | enqueue batch -")
	case has(head, "ARROW1"), has(head, "ORC"), has(head, "Obj\x01"), has(head, "SQLite format 3"), has(head, "%PDF"):
		return refuse("is in a format that is not read: save it as Parquet, CSV or JSON lines")
	case o.Format == FormatParquet && len(head) > 0:
		return refuse("is no Parquet file")
	}
	if order, ok := utf16(head); ok {
		b = bufio.NewReaderSize(unicode.UTF16(order, unicode.UseBOM).NewDecoder().Reader(b), headSize)
	}
	f := o.Format
	head = peek(b, func(h []byte) bool { _, known := recognise(plain, h, o.Columns, false); return known })
	if f == "" {
		f, _ = recognise(plain, head, o.Columns, true)
	}
	first := firstLine(head)
	switch {
	case f == "":
		return refuse("looks like HTML or XML: extract the prompts first; if each line is a prompt, say --format lines")
	case f != FormatJSONLines && isBinary(head):
		if kind := http.DetectContentType(head); kind != "application/octet-stream" {
			return refuse("is " + kind + " and no text: rows that ask about it name it in their messages, and it lies beside their file")
		}
		return refuse("is no text")
	case o.Format == "" && (f == FormatJSON || f == FormatJSONLines):
		if why := noRows(head); why != "" {
			return refuse(why)
		}
	}
	told(o, name, f)
	switch f {
	case FormatCSV:
		skipMark(b, head)
		return newTable(name, b, separator(string(bytes.TrimPrefix(first, []byte(byteOrderMark))))), nil
	case FormatLines:
		return newTextLines(name, b), nil
	case FormatJSON:
		skipMark(b, head)
		return openJSON(name, b, bytes.TrimPrefix(head, []byte(byteOrderMark))), nil
	case FormatJSONLines, FormatParquet, FormatFiles:
	}
	return JSONLines(name, b), nil
}

func told(o Options, name string, f Format) {
	if o.Recognised != nil {
		o.Recognised(name, f)
	}
}

// skipMark passes over a byte order mark.
func skipMark(b *bufio.Reader, head []byte) {
	if has(head, byteOrderMark) {
		_, _ = b.Discard(len(byteOrderMark)) // it has been peeked at
	}
}

// utf16 reports whether a file begins as UTF-16, with its byte order mark or with
// text of ASCII.
func utf16(head []byte) (unicode.Endianness, bool) {
	switch {
	case has(head, "\xff\xfe"), len(head) >= 4 && head[0] != 0 && head[1] == 0 && head[2] != 0 && head[3] == 0:
		return unicode.LittleEndian, true
	case has(head, "\xfe\xff"), len(head) >= 4 && head[0] == 0 && head[1] != 0 && head[2] == 0 && head[3] != 0:
		return unicode.BigEndian, true
	}
	return unicode.LittleEndian, false
}

// spooledParquet keeps a Parquet file that cannot be read at any place, such as
// standard input, in a temporary file without a name.
func spooledParquet(name string, r io.Reader) (Source, error) {
	f, err := Spool(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return openParquet(name, f, info.Size(), f.Close)
}

// TempFile makes a file without a name, which is gone once it is closed, by whatever
// means.
func TempFile() (*os.File, error) {
	f, err := os.CreateTemp("", "oneflow-*")
	if err == nil {
		if err = os.Remove(f.Name()); err == nil {
			return f, nil
		}
		_ = f.Close()
	}
	if of, ok := errors.AsType[*fs.PathError](err); ok {
		err = of.Err // the name of the file helps nobody
	}
	return nil, fmt.Errorf("write a temporary file to %s: %w: set TMPDIR to a folder with room", os.TempDir(), err)
}

// Spool keeps what r holds in a temporary file, which is gone when it is closed, and
// is read from its start.
func Spool(r io.Reader) (*os.File, error) {
	f, err := TempFile()
	if err != nil {
		return nil, fmt.Errorf("keep the input: %w", err)
	}
	_, err = io.Copy(f, r)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("keep the input: %w", err)
	}
	return f, nil
}

// isBinary reports whether a file begins with a control character that text does not have, by
// https://mimesniff.spec.whatwg.org/#binary-data-byte.
func isBinary(head []byte) bool {
	return bytes.ContainsFunc(head[:min(len(head), 512)], func(c rune) bool {
		return c <= 0x08 || c == 0x0b || c >= 0x0e && c <= 0x1a || c >= 0x1c && c <= 0x1f
	})
}

// firstLine is the first line of head that is not blank, or what there is of it.
func firstLine(head []byte) []byte {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), " \t\r\n")
	line, _, _ := bytes.Cut(head, []byte("\n"))
	return bytes.TrimRight(line, "\r")
}

// recognise finds a text's format out of its beginning. known is false where more of
// it would tell better; all tells that there is no more. The format is empty for
// what is none of them.
func recognise(name string, head []byte, columns []string, all bool) (f Format, known bool) {
	start := bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), " \t\r\n"+byteOrderMark)
	ext := strings.ToLower(filepath.Ext(name))
	line, _, whole := bytes.Cut(start, []byte("\n"))
	line = bytes.TrimRight(line, "\r ")
	asJSON := ext == ".jsonl" || ext == ".ndjson" || ext == ".json"
	switch {
	case len(start) == 0:
		return FormatJSONLines, false
	case start[0] == '{':
		switch n, decided := requestsList(start); {
		case n > 0:
			return FormatJSON, true
		case !decided && !all:
			return FormatJSONLines, false
		case len(line) == 1 && (whole || all):
			return FormatJSON, true
		}
		return FormatJSONLines, true
	case ext == ".csv" || ext == ".tsv" || ext == ".tab":
		return FormatCSV, whole || all
	case start[0] == '[' && ext != ".txt":
		return FormatJSON, true
	case !whole && !all:
		return FormatLines, false
	case asJSON, json.Valid(line):
		return FormatJSONLines, true
	case isHeader(string(line), columns):
		return FormatCSV, true
	case tabbed(line, start) > 1:
		return FormatCSV, true
	case tabbed(line, start) == 1 && !all:
		return FormatLines, false
	case bytes.Contains(start, []byte("\n{")) && ext != ".txt": // lines of JSON, of which the first is broken
		return FormatJSONLines, true
	case start[0] == '<':
		return "", true
	}
	return FormatLines, true
}

// tabbed counts the first rows of a table whose cells are parted by tabs, such as Excel's "Unicode
// text"; 0 for a text that is none: where a row has not as many cells as the line it begins with.
func tabbed(line, text []byte) (n int) {
	if bytes.IndexByte(line, '\t') < 0 {
		return 0
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.ReuseRecord = '\t', true
	for n < 20 {
		switch _, err := r.Read(); {
		case err == nil:
			n++
		case r.InputOffset() >= int64(len(text)): // there are no more, or the last is cut off
			return n
		default:
			return 0
		}
	}
	return n
}

// isHeader reports whether a line names at least one of the columns, between
// separators.
func isHeader(line string, columns []string) bool {
	if strings.HasPrefix(line, separatorMark) {
		return true
	}
	comma := string(separator(line))
	for cell := range strings.SplitSeq(line, comma) {
		if slices.Contains(columns, strings.Trim(cell, ` "`)) {
			return true
		}
	}
	return false
}

// requestsList returns the length of the beginning of {"requests":[…]}, in any
// spelling; 0 where start is something else. decided is false where it may still
// become that.
func requestsList(start []byte) (n int, decided bool) {
	for _, token := range []string{"{", `"requests"`, ":", "["} {
		rest := bytes.TrimLeft(start[n:], " \t\r\n")
		n = len(start) - len(rest)
		if !has(rest, token) {
			return 0, !bytes.HasPrefix([]byte(token), rest)
		}
		n += len(token)
	}
	return n, true
}

// openJSON reads a list of objects, {"requests":[…]}, or objects one after the other.
func openJSON(name string, b *bufio.Reader, head []byte) Source {
	space := len(head) - len(bytes.TrimLeft(head, " \t\r\n"))
	n, end := 0, ""
	if list, _ := requestsList(head[space:]); list > 0 {
		n, end = space+list, "]}"
	} else if has(head[space:], "[") {
		n, end = space+1, "]"
	}
	begun := head[:n]
	_, _ = b.Discard(n) // it has been peeked at
	return jsonList(name, b, end, int64(bytes.Count(begun, []byte("\n")))+1, n-1-bytes.LastIndexByte(begun, '\n'))
}
