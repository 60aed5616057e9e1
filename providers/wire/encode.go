package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
)

// JSON encodes the body of a request. Texts are not escaped beyond what JSON needs,
// and a json.RawMessage keeps its order.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Merge lays extra over the fields of a body: an object is merged into the one of its
// name as RFC 7396 says, and anything else is set as it is.
func Merge(fields map[string]any, extra map[string]json.RawMessage) error {
	for name, value := range extra {
		have, ok := fields[name]
		if !ok || !isObject(value) {
			fields[name] = value
			continue
		}
		below, err := JSON(have)
		if err != nil {
			return err
		}
		if fields[name], err = mergeObjects(below, value); err != nil {
			return err
		}
	}
	return nil
}

// mergeObjects lays the object above over the object below.
func mergeObjects(below, above json.RawMessage) (json.RawMessage, error) {
	var into, from map[string]json.RawMessage
	if !isObject(below) {
		below = json.RawMessage("{}")
	}
	if err := errors.Join(json.Unmarshal(below, &into), json.Unmarshal(above, &from)); err != nil {
		return nil, err
	}
	for name, value := range from {
		switch have, ok := into[name]; {
		case string(value) == "null":
			delete(into, name)
		case ok && isObject(have) && isObject(value):
			merged, err := mergeObjects(have, value)
			if err != nil {
				return nil, err
			}
			into[name] = merged
		default:
			into[name] = value
		}
	}
	return JSON(into)
}

func isObject(raw json.RawMessage) bool { return bytes.HasPrefix(trimmed(raw), []byte("{")) }

// Decode reads a body that is a JSON object into v.
func Decode(body []byte, v any) error {
	body = trimmed(body)
	if !bytes.HasPrefix(body, []byte("{")) {
		return ErrNotJSON
	}
	return json.Unmarshal(body, v)
}

// errBase64 says that a text is no base64.
var errBase64 = errors.New("not base64")

// Base64 decodes base64 in every spelling that servers use: the standard or the
// URL-safe alphabet, with padding or without, on one line or several, bare or as a
// data URL.
func Base64(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if data, ok := dataURL(s); ok {
		return data, nil
	}
	return plainBase64(s)
}

func plainBase64(s string) ([]byte, error) {
	s = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n':
			return -1
		case '-':
			return '+'
		case '_':
			return '/'
		}
		return r
	}, s)
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil || len(data) == 0 {
		return nil, errBase64
	}
	return data, nil
}

// IsDataURL reports whether an address holds its content itself.
func IsDataURL(s string) bool {
	s = strings.TrimSpace(s)
	return len(s) > 5 && strings.EqualFold(s[:5], "data:")
}

// dataURL is the content of a data URL, and whether s is one that can be read.
func dataURL(s string) ([]byte, bool) {
	if !IsDataURL(s) {
		return nil, false
	}
	head, body, found := strings.Cut(s[5:], ",")
	if !found {
		return nil, false
	}
	if strings.Contains(body, "%") {
		plain, err := url.PathUnescape(body)
		if err != nil {
			return nil, false
		}
		body = plain
	}
	if !strings.HasSuffix(strings.ToLower(strings.TrimSpace(head)), ";base64") {
		return []byte(body), body != ""
	}
	data, err := plainBase64(body)
	return data, err == nil
}

// VectorText writes the vectors of an answer as JSON: one vector, or a list of them where there
// are several.
func VectorText(vectors [][]float32) (string, error) {
	var made any = vectors
	if len(vectors) == 1 {
		made = vectors[0]
	}
	text, err := json.Marshal(made)
	return string(text), err
}
