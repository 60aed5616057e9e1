package rows

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"
)

// textLines reads prompts, one a line.
type textLines struct{ lines }

// newTextLines reads plain text: each line that is not blank is a row with a prompt.
func newTextLines(name string, r io.Reader) Source { return &textLines{newLines(name, r)} }

// Columns implements Source.
func (l *textLines) Columns() []string { return []string{"prompt"} }

// Next implements Source.
func (l *textLines) Next() (Row, error) {
	for {
		line, err := l.next()
		if err != nil {
			return Row{}, err
		}
		line = bytes.TrimPrefix(bytes.TrimRight(line, "\r\n"), []byte(byteOrderMark))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			bad := l.At(l.place, notUTF8)
			bad.Column = firstInvalid(line)
			return Row{}, bad
		}
		return Row{Place: l.place, Fields: Fields{"prompt": text(line)}, Names: []string{"prompt"}, Cells: true}, nil
	}
}

// notUTF8 is what is wrong with text that is not, and what most likely wrote it.
const notUTF8 = "not valid UTF-8: Excel and old programs write Windows-1252; save it as CSV UTF-8, or use iconv -f WINDOWS-1252 -t UTF-8 FILE | enqueue batch -"

// text is s, which is valid UTF-8, as a JSON string.
func text[T string | []byte](s T) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(string(s)) //nolint:errchkjson // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
