package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"oneflow/batches/rows"
)

// Template makes a prompt of a row's columns: {{column}} stands for the column's
// value, {{column.field}} for a field of one that holds an object.
type Template struct {
	// texts stand between the columns: one more than those.
	texts   []string
	columns [][]string
}

// maxTemplate is the greatest length of a template, in bytes.
const maxTemplate = 1 << 20

// ParseTemplate reads a template. It fails where there is no column in it.
func ParseTemplate(s string) (*Template, error) {
	if len(s) > maxTemplate {
		return nil, fmt.Errorf("is longer than %d MiB", maxTemplate>>20)
	}
	t := &Template{}
	for {
		before, rest, found := strings.Cut(s, "{{")
		t.texts = append(t.texts, before)
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return nil, fmt.Errorf("{{%s: }} is missing", rows.Shorten(name))
		}
		name = strings.TrimSpace(name)
		path := strings.Split(name, ".")
		if slices.Contains(path, "") || strings.ContainsAny(name, "{}#^/|\"\n") {
			return nil, fmt.Errorf("{{%s}}: only the name of a column is understood, such as {{question}}, or of a field in one, such as {{answer.text}}", rows.Shorten(name))
		}
		t.columns, s = append(t.columns, path), after
	}
	if len(t.columns) == 0 {
		return nil, errors.New("has no {{column}} in it")
	}
	return t, nil
}

// names lists the columns that it takes, each once.
func (t *Template) names() (names []string) {
	for _, path := range t.columns {
		if !slices.Contains(names, path[0]) {
			names = append(names, path[0])
		}
	}
	return names
}

// render returns the prompt of a row as JSON. A column that is not there, or that has
// no value, is an error.
func (t *Template) render(row rows.Row) (json.RawMessage, error) {
	var b strings.Builder
	for i, path := range t.columns {
		b.WriteString(t.texts[i])
		value, err := lookUp(row, path)
		if err != nil {
			return nil, err
		}
		b.WriteString(value)
		if b.Len() > rows.MaxRow {
			return nil, fmt.Errorf("prompt: is longer than %d MiB", rows.MaxRow>>20)
		}
	}
	b.WriteString(t.texts[len(t.columns)])
	return quote(b.String()), nil
}

// lookUp returns a column's value as text. A name with dots in it goes before a path.
func lookUp(row rows.Row, path []string) (string, error) {
	name := strings.Join(path, ".")
	value, ok := row.Fields[name]
	if !ok {
		value, ok = row.Fields[path[0]]
		for i, field := range path[1:] {
			var fields Fields
			inner, isObject := unpackedOr(value)
			if ok && !isObject {
				return "", &noObjectError{column: name, in: strings.Join(path[:i+1], ".")}
			}
			ok = ok && json.Unmarshal(inner, &fields) == nil
			if !ok {
				break
			}
			value, ok = fields[field]
		}
	}
	switch {
	case !ok:
		return "", fmt.Errorf("column %s of the template is not there; the row has %s", rows.Quoted(name), rows.Shorten(names(row.Names)))
	case string(value) == "null" || row.Cells && text(value) != "" && isNothing(text(value)):
		return "", fmt.Errorf("column %s of the template has no value", rows.Quoted(name))
	}
	return text(value), nil
}

// noObjectError reports that a field was looked for in what is no JSON object.
type noObjectError struct{ column, in string }

func (e *noObjectError) Error() string {
	return fmt.Sprintf("%s is not there, since %s is no JSON object", rows.Quoted(e.column), rows.Quoted(e.in))
}

// unpackedOr is unpacked for an object, where there is a value at all; also for one that a
// model has put into a block of Markdown.
func unpackedOr(value json.RawMessage) (json.RawMessage, bool) {
	if len(value) == 0 {
		return nil, false
	}
	inner, ok := unpacked(value, '{')
	if ok || value[0] != '"' {
		return inner, ok
	}
	block := strings.TrimSpace(text(value))
	if opening, rest, more := strings.Cut(block, "\n"); more && (opening == "```" || opening == "```json" || opening == "```JSON") {
		if content, closed := strings.CutSuffix(rest, "```"); closed {
			return unpacked(quote(content), '{')
		}
	}
	return inner, ok
}

// String is the template's text.
func (t *Template) String() string {
	var b strings.Builder
	for i, path := range t.columns {
		b.WriteString(t.texts[i] + "{{" + strings.Join(path, ".") + "}}")
	}
	b.WriteString(t.texts[len(t.columns)])
	return b.String()
}
