package batches

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxDepth and maxTokens are how deep a line may nest, and how many names, values
// and brackets it may have: a short one may otherwise become many times its size.
const (
	maxDepth  = 100
	maxTokens = 100_000
)

// wellFormed refuses what encoding/json would take and change in silence: names
// that stand twice in one object, halves of surrogate pairs, and text after the
// object; and what is beyond maxDepth or maxTokens.
func wellFormed(line []byte) error {
	if err := surrogates(line); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var stack []*level
	tokens := 0
	for started := false; ; started = true {
		if tokens++; tokens > maxTokens {
			return errors.New("more than 100,000 names and values in one line")
		}
		tok, err := d.Token()
		if errors.Is(err, io.EOF) && len(stack) == 0 {
			return nil
		}
		if err != nil {
			return syntax(line)
		}
		if started && len(stack) == 0 {
			return errors.New("there is more after the JSON object")
		}
		var top *level
		if len(stack) > 0 {
			top = stack[len(stack)-1]
		}
		if delim, ok := tok.(json.Delim); ok && (delim == '}' || delim == ']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if top != nil {
			if err := top.take(tok); err != nil {
				return err
			}
		}
		if delim, ok := tok.(json.Delim); ok {
			if len(stack) == maxDepth {
				return fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
			l := &level{}
			if delim == '{' {
				l.names = map[string]bool{}
			}
			stack = append(stack, l)
		}
		if len(stack) == 0 {
			return errors.New("not a JSON object")
		}
	}
}

// level is an object or an array that is open.
type level struct {
	names map[string]bool // nil in an array
	value bool            // the next token is a name's value
}

func (l *level) take(tok json.Token) error {
	if l.names == nil {
		return nil
	}
	if l.value {
		l.value = false
		return nil
	}
	name, _ := tok.(string)
	if l.names[name] {
		return fmt.Errorf("field %s: stands twice", shorten(strconv.Quote(name)))
	}
	l.names[name], l.value = true, true
	return nil
}

// syntax says where line stops being JSON. The errors of Decoder.Token do not know.
func syntax(line []byte) error {
	e, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(line, new(json.RawMessage)))
	if !ok || e.Offset >= int64(len(line)) && strings.Contains(e.Error(), "unexpected end") {
		return errors.New("not valid JSON: the line ends too early")
	}
	return fmt.Errorf("not valid JSON (at byte %d of the line)", e.Offset)
}

// surrogates refuses \ud800 to \udfff that are not the two halves of a pair.
func surrogates(line []byte) error {
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' || i+1 >= len(line) {
			continue
		}
		i++
		if line[i] != 'u' {
			continue
		}
		r, ok := escape(line, i-1)
		if !ok || r < 0xD800 || r > 0xDFFF {
			continue
		}
		low, ok := escape(line, i+5)
		if r >= 0xDC00 || !ok || low < 0xDC00 || low > 0xDFFF {
			return fmt.Errorf("half of a surrogate pair (at byte %d of the line): not a character", i)
		}
		i += 10
	}
	return nil
}

// escape reads the \uXXXX at i.
func escape(line []byte, i int) (rune, bool) {
	if i+6 > len(line) || line[i] != '\\' || line[i+1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(line[i+2:i+6]), 16, 32)
	return rune(v), err == nil //nolint:gosec // four hex digits
}
