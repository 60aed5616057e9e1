package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

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

// Shorten bounds what of the input an error repeats.
func Shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Printable is err's text with a bound on its length, and without characters that
// would move a terminal's cursor.
func Printable(err error) string {
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

// Quoted is s as an error shows it.
func Quoted(s string) string { return Shorten(strconv.Quote(s)) }
