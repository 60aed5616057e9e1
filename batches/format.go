package batches

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// otherFormat says, by its first line that is not empty, that a file is no file
// of JSON lines but of another format that people bring, and what to do about it.
// Nothing is ever unpacked here: a small file may become a large one.
func otherFormat(name string, line []byte) string {
	has := func(mark string) bool { return bytes.HasPrefix(line, []byte(mark)) }
	switch {
	case has("\x1f\x8b"):
		return "looks like gzip: use zcat FILE | enqueue batch -"
	case has("\x28\xb5\x2f\xfd"):
		return "looks like zstd: use zstdcat FILE | enqueue batch -"
	case has("PK\x03\x04"):
		return "looks like a zip archive or a spreadsheet: save it as JSON lines, one object a line"
	case has("\xff\xfe"), has("\xfe\xff"), has("{\x00"), has("\x00{"):
		return "looks like UTF-16: use iconv -f UTF-16 -t UTF-8 FILE | enqueue batch -"
	case has("["):
		return "looks like one JSON list: use jq -c '.[]' FILE | enqueue batch -"
	case has("{") && len(line) == 1:
		return "looks like JSON objects over several lines: use jq -c . FILE | enqueue batch -"
	case !has("{") && !json.Valid(line) && isTable(name, line):
		return "looks like CSV, which is not read yet: use mlr --icsv --ojsonl cat FILE | enqueue batch - (with --itsv for tabs)"
	}
	return ""
}

// isTable reports whether a first line is the head of a table: by the file's name, or
// because prompt is one of its columns.
func isTable(name string, line []byte) bool {
	if ext := strings.ToLower(filepath.Ext(name)); ext == ".csv" || ext == ".tsv" {
		return true
	}
	if len(line) > 64<<10 {
		return false
	}
	columns := strings.FieldsFunc(string(line), func(r rune) bool { return r == ',' || r == ';' || r == '\t' })
	return len(columns) > 1 && slices.ContainsFunc(columns, func(c string) bool { return strings.EqualFold(strings.Trim(c, ` "'`), "prompt") })
}

// withoutNaN returns line with null in place of each NaN that stands outside of a
// string, and reports whether there was one.
func withoutNaN(line []byte) (plain []byte, found bool) {
	if !bytes.Contains(line, []byte("NaN")) {
		return nil, false
	}
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\' && i+1 < len(line):
			plain = append(plain, c)
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && bytes.HasPrefix(line[i:], []byte("NaN")):
			plain, found = append(plain, "null"...), true
			i += 2
			continue
		}
		plain = append(plain, line[i])
	}
	return plain, found
}

// syntax says where line stops being JSON, and what writes such lines.
func syntax(line []byte) error {
	e, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(line, new(json.RawMessage)))
	if ok && strings.Contains(e.Error(), "exceeded max depth") {
		return errTooDeep
	}
	if !ok || e.Offset >= int64(len(line)) && strings.Contains(e.Error(), "unexpected end") {
		return &syntaxError{len(line), "not valid JSON: the line ends too early"}
	}
	at := int(e.Offset)
	rest := line[max(at-1, 0):]
	has := func(mark string) bool { return bytes.HasPrefix(rest, []byte(mark)) }
	before := bytes.TrimRight(line[:max(at-1, 0)], " \t")
	if strings.Contains(e.Error(), "after top-level value") && (has("{") || has(byteOrderMark)) {
		return &syntaxError{at, "there is more after the JSON object: put one object on each line, such as with jq -c . FILE"}
	}
	reason := "not valid JSON"
	switch {
	case (has("}") || has("]")) && bytes.HasSuffix(before, []byte(",")):
		reason += ": there is a comma before the closing bracket"
	case has("'"), has("True"), has("False"), has("None"):
		reason += ": it is how Python prints a value; write lines with json.dumps"
	case has("Infinity"):
		reason += ", which has no infinite numbers"
	case has("undefined"), bytes.HasPrefix(line[max(at-2, 0):], []byte("nan")):
		reason += ": where there is no value, write null or leave the field out"
	case len(rest) > 0 && rest[0] < ' ':
		reason += fmt.Sprintf(`: the character with code %d must be written as \u%04x`, rest[0], rest[0])
	}
	return &syntaxError{at, reason}
}

// shorten bounds what of the input an error repeats.
func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// printable is err's text with a bound on its length, and without characters that
// would move a terminal's cursor.
func printable(err error) string {
	const most = 400
	s := err.Error()
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

// quoted is s as an error shows it.
func quoted(s string) string { return shorten(strconv.Quote(s)) }
