package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// BodyReader takes the fields out of a vendor's body that have a name here.
type BodyReader struct {
	left    map[string]json.RawMessage
	unknown []string
	err     error
}

// ReadBody begins to read a body.
func ReadBody(body json.RawMessage) *BodyReader {
	b := &BodyReader{}
	if json.Unmarshal(body, &b.left) != nil {
		b.err = errors.New("body: must be a JSON object")
	}
	return b
}

// Take takes a field out; nil: it is not there.
func (b *BodyReader) Take(name string) json.RawMessage {
	raw := b.left[name]
	delete(b.left, name)
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// Into reads a field into v.
func (b *BodyReader) Into(name string, v any) {
	raw := b.Take(name)
	if raw != nil && json.Unmarshal(raw, v) != nil && json.Unmarshal(plain(raw), v) != nil && b.err == nil {
		b.err = fmt.Errorf("%s: is of another type than the vendor takes", name)
	}
}

// Seed reads a field that is a seed. One of more than 64 bits stays where it is.
func (b *BodyReader) Seed(name string, v **int64) {
	raw := b.Take(name)
	if raw == nil || json.Unmarshal(raw, v) == nil || json.Unmarshal(plain(raw), v) == nil {
		return
	}
	if *v = nil; len(plain(raw)) > 0 {
		b.left[name] = raw
		return
	}
	if b.err == nil {
		b.err = fmt.Errorf("%s: is of another type than the vendor takes", name)
	}
}

// plain writes a whole number that is written as 1024.0 or 1e3 in digits alone; nil: it is
// no whole number, or has more digits than any vendor takes.
func plain(raw json.RawMessage) json.RawMessage {
	if len(raw) > 40 || bytes.ContainsAny(raw, `"{[`) {
		return nil
	}
	number, _, err := big.ParseFloat(string(raw), 10, 200, big.ToNearestEven)
	if err != nil || !number.IsInt() || number.MantExp(nil) > 130 {
		return nil
	}
	return json.RawMessage(number.Text('f', 0))
}

// Strings reads a field that is a string, or a list of strings.
func (b *BodyReader) Strings(name string, v *[]string) {
	raw := b.Take(name)
	var one string
	if raw == nil {
		return
	}
	if json.Unmarshal(raw, &one) == nil {
		*v = []string{one}
	} else if json.Unmarshal(raw, v) != nil && b.err == nil {
		b.err = fmt.Errorf("%s: must be a string or a list of strings", name)
	}
}

// Conversation reads messages, tools and the choice of a tool, under the names that
// OpenAI's chat and Anthropic have for them.
func (b *BodyReader) Conversation(req *Request) {
	if raw := b.Take("messages"); raw != nil {
		messages, unknown, err := ReadMessages(raw)
		req.Messages = append(req.Messages, messages...)
		b.note(unknown, err)
	}
	b.Tools(req)
}

// Tools reads tools and the choice of a tool.
func (b *BodyReader) Tools(req *Request) {
	if raw := b.Take("tools"); raw != nil {
		tools, unknown, err := ReadTools(raw)
		req.Tools = tools
		b.note(unknown, err)
	}
	if raw := b.Take("tool_choice"); raw != nil {
		choice, parallel, unknown, err := ReadToolChoice(raw)
		req.ToolChoice = choice
		if parallel != nil {
			req.ParallelToolCalls = parallel
		}
		b.note(unknown, err)
	}
}

// Unknown notes that something inside a field has no name here.
func (b *BodyReader) Unknown(path string) { b.unknown = append(b.unknown, path) }

func (b *BodyReader) note(unknown []string, err error) {
	b.unknown = append(b.unknown, unknown...)
	if b.err == nil {
		b.err = err
	}
}

// End puts what is left into the request's Extra.
func (b *BodyReader) End(req Request) (Request, []string, error) {
	if stream, ok := b.left["stream"]; ok && meansNo(stream) {
		delete(b.left, "stream")
	}
	maps.DeleteFunc(b.left, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
	if len(b.left) > 0 {
		req.Extra = b.left
	}
	return req, b.unknown, b.err
}

// Inside reads the object of a field with fill, which takes its fields; what is left is
// unknown.
func (b *BodyReader) Inside(name string, fill func(*BodyReader)) {
	raw := b.Take(name)
	if raw == nil {
		return
	}
	inner := ReadBody(raw)
	fill(inner)
	if b.err == nil && inner.err != nil {
		b.err = fmt.Errorf("%s.%w", name, inner.err)
	}
	for _, path := range inner.unknown {
		b.Unknown(name + "." + path)
	}
	for _, field := range slices.Sorted(maps.Keys(inner.left)) {
		if string(inner.left[field]) != "null" {
			b.Unknown(name + "." + shortName(field))
		}
	}
}
