package providers

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// formReader reads the forms that vendors have for the same thing.
type formReader struct {
	unknown []string
	item    bool // the last turn is one call of a tool, of a turn that comes in pieces
}

// object is a JSON object that is being read. Its methods note the first thing that is
// wrong; what is not asked for is unknown.
type object struct {
	reader *formReader
	path   string
	left   map[string]json.RawMessage
	err    error
}

func (r *formReader) open(path string, raw json.RawMessage) (*object, error) {
	o := &object{reader: r, path: path}
	if json.Unmarshal(raw, &o.left) != nil || o.left == nil {
		return nil, wrong(path, "an object", raw)
	}
	return o, nil
}

// end returns what is wrong with the object and with those inside it, and notes what
// nobody asked for.
func (o *object) end(inner ...*object) error {
	for _, one := range append(inner, o) {
		if one == nil {
			continue
		}
		if one.err != nil {
			return one.err
		}
		for _, name := range slices.Sorted(maps.Keys(one.left)) {
			if value := string(one.left[name]); value != "null" && value != "[]" { // as in an answer that is given back
				o.reader.unknown = append(o.reader.unknown, one.path+"."+shortName(name))
			}
		}
	}
	return nil
}

// take takes a field out; nil: it is not there.
func (o *object) take(name string) json.RawMessage {
	raw := o.left[name]
	delete(o.left, name)
	if string(raw) == "null" {
		return nil
	}
	return raw
}

func (o *object) fail(name, want string, raw json.RawMessage) {
	if o.err == nil {
		o.err = wrong(o.path+"."+name, want, raw)
	}
}

func (o *object) text(name string) string {
	raw := o.take(name)
	var text string
	if raw != nil && json.Unmarshal(raw, &text) != nil {
		o.fail(name, "a string", raw)
	}
	return text
}

func (o *object) flag(name string) *bool {
	raw := o.take(name)
	var flag *bool
	if raw != nil && json.Unmarshal(raw, &flag) != nil {
		o.fail(name, "true or false", raw)
	}
	return flag
}

func (o *object) within(name string) *object {
	raw := o.take(name)
	if raw == nil {
		return nil
	}
	inner, err := o.reader.open(o.path+"."+name, raw)
	if err != nil && o.err == nil {
		o.err = err
	}
	return inner
}

// bytes reads base64.
func (o *object) bytes(name string) []byte {
	text := o.text(name)
	if text == "" {
		return nil
	}
	data, err := fromBase64(text)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("%s.%s: must be base64", o.path, name)
	}
	return data
}

// cache reads our mark, Anthropic's or OpenAI's.
func (o *object) cache() Cache {
	mark := NoCache
	if raw := o.take("cache"); raw != nil {
		var on bool
		switch {
		case json.Unmarshal(raw, &on) == nil && on:
			mark = CacheDefault
		case json.Unmarshal(raw, &on) == nil:
		case json.Unmarshal(raw, &mark) != nil:
			o.fail("cache", "true, \"5m\" or \"1h\"", raw)
		}
	}
	if control := o.within("cache_control"); control != nil {
		control.text("type")
		if mark = Cache(control.text("ttl")); mark == NoCache {
			mark = CacheDefault
		}
		if err := control.end(); err != nil && o.err == nil {
			o.err = err
		}
	}
	if point := o.within("prompt_cache_breakpoint"); point != nil {
		mark = CacheDefault
		point.text("mode")
		if err := point.end(); err != nil && o.err == nil {
			o.err = err
		}
	}
	if o.err == nil && !slices.Contains([]Cache{NoCache, CacheDefault, Cache5m, Cache1h}, mark) {
		o.err = fmt.Errorf("%s.cache: must be true, \"5m\" or \"1h\"", o.path)
	}
	return mark
}
