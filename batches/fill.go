package batches

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"oneflow/batches/rows"
)

// fill sets the fields of the struct that into points to from JSON, strictly by
// their exact names. It takes what tables and scripts write for the same value: 256.0,
// 1e2 and "256" for a whole number, "True" for true, a number for a prompt or an id,
// one string for a list of them, and a list or an object that is written as a string.
// index is that of the struct's type, which is the same for each row.
func fill(into any, index map[string][]int, fields Fields) error {
	return fillFields("", reflect.ValueOf(into).Elem(), fields, func(name string) (at []int, ok bool) {
		at, ok = index[name]
		return at, ok
	})
}

// namesOf lists the names in JSON of a struct's fields, those of embedded ones among
// them.
func namesOf[T any]() []string { return slices.Collect(maps.Keys(index(reflect.TypeFor[T]()))) }

// index says where the fields of a struct are, by their names in JSON.
func index(t reflect.Type) map[string][]int {
	at := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			at[name] = f.Index
		}
	}
	return at
}

// fieldOf finds a field as index does, where only a few are asked for.
func fieldOf(t reflect.Type, name string) (at []int, ok bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return f.Index, true
		}
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			if in, ok := fieldOf(f.Type, name); ok {
				return append([]int{i}, in...), true
			}
		}
	}
	return nil, false
}

func fillStruct(path string, into reflect.Value, fields Fields) error {
	return fillFields(path, into, fields, func(name string) ([]int, bool) { return fieldOf(into.Type(), name) })
}

func fillFields(path string, into reflect.Value, fields Fields, fieldOf func(name string) ([]int, bool)) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		i, ok := fieldOf(name)
		switch {
		case !fields.has(name): // what comes from tables has null for each column
		case !ok:
			return fmt.Errorf("%s.%s: there is no such field; %s takes %s", path, rows.Shorten(name), path, strings.Join(slices.Sorted(maps.Keys(index(into.Type()))), ", "))
		default:
			if err := fillValue(strings.TrimPrefix(path+"."+name, "."), into.FieldByIndex(i), fields[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillValue sets one value. raw is valid JSON.
func fillValue(path string, into reflect.Value, raw json.RawMessage) error {
	if known, err := fillForm(path, into.Addr().Interface(), raw); known {
		return err
	}
	switch v := into.Addr().Interface().(type) {
	case *json.RawMessage:
		*v = bytes.Clone(raw)
		return nil
	case *map[string]json.RawMessage:
		raw, ok := unpacked(raw, '{')
		if !ok || json.Unmarshal(raw, v) != nil {
			return wrongType(path, "an object", raw)
		}
		return nil
	case *time.Time:
		if json.Unmarshal(raw, v) != nil {
			return fmt.Errorf("%s: must be a time such as \"2026-01-31T18:00:00Z\"", path)
		}
		return nil
	}
	switch into.Kind() { //nolint:exhaustive // a row has no others
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return fillValue(path, into.Elem(), raw)
	case reflect.Struct:
		raw, ok := unpacked(raw, '{')
		var fields Fields
		if !ok || json.Unmarshal(raw, &fields) != nil {
			return wrongType(path, "an object", raw)
		}
		return fillStruct(path, into, fields)
	case reflect.Slice:
		return fillList(path, into, raw)
	case reflect.String:
		return fillText(path, into, raw)
	default:
		return fillScalar(path, into, raw)
	}
}

func fillList(path string, into reflect.Value, raw json.RawMessage) error {
	if raw[0] == '"' && into.Type().Elem().Kind() == reflect.String {
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	raw, ok := unpacked(raw, '[')
	var list []json.RawMessage
	if !ok || json.Unmarshal(raw, &list) != nil {
		return wrongType(path, "a list", raw)
	}
	into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
	for i, one := range list {
		if err := fillValue(fmt.Sprintf("%s[%d]", path, i), into.Index(i), one); err != nil {
			return err
		}
	}
	return nil
}

// unpacked returns a list or an object, which begins with open, also where it is
// written as a string.
func unpacked(raw json.RawMessage, open byte) (json.RawMessage, bool) {
	if raw[0] != '"' {
		return raw, raw[0] == open
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return raw, false
	}
	inner := []byte(strings.TrimSpace(text))
	if len(inner) == 0 || inner[0] != open || !json.Valid(inner) {
		return raw, false
	}
	return inner, rows.Valid(inner)
}

// fillText sets a string.
func fillText(path string, into reflect.Value, raw json.RawMessage) error {
	var text string
	switch {
	case raw[0] == '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			return wrongType(path, "a string", raw)
		}
	case (path == "prompt" || path == "custom_id") && raw[0] != '{' && raw[0] != '[' && raw[0] != 'n':
		text = string(raw)
	default:
		return wrongType(path, "a string", raw)
	}
	into.SetString(text)
	return nil
}

// fillScalar sets a number or a boolean.
func fillScalar(path string, into reflect.Value, raw json.RawMessage) error {
	text := string(raw)
	if raw[0] == '"' {
		if json.Unmarshal(raw, &text) != nil || !json.Valid([]byte(strings.ToLower(text))) {
			return wrongType(path, typeName(into.Kind()), raw)
		}
		text = strings.TrimSpace(text)
	}
	var err error
	switch into.Kind() { //nolint:exhaustive // a row has no others
	case reflect.Bool:
		var v bool
		v, err = strconv.ParseBool(strings.ToLower(text))
		if len(text) < len("true") { // 1, 0, t and f
			err = errors.New("no boolean")
		}
		into.SetBool(v)
	case reflect.Float64:
		var v float64
		v, err = strconv.ParseFloat(text, 64)
		into.SetFloat(v)
	default:
		var v int64
		v, err = whole(text)
		into.SetInt(v)
	}
	if err != nil {
		return wrongType(path, typeName(into.Kind()), raw)
	}
	return nil
}

// whole reads a whole number, however it is written.
func whole(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	// Beyond 2^53 a float is not exact.
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, errors.New("no whole number")
	}
	return int64(f), nil
}

func typeName(k reflect.Kind) string {
	switch k { //nolint:exhaustive // a request has no others
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// wrongType says what a value must be. It shows a number where one is wanted: anything
// else may be of a prompt.
func wrongType(path, want string, raw json.RawMessage) error {
	got := "a JSON object"
	switch raw[0] {
	case '"':
		got = "a JSON string"
	case '[':
		got = "a JSON list"
	case 't', 'f':
		got = "a JSON boolean"
	case 'n':
		got = "null"
	case '{':
	default:
		got = "a JSON number"
		if strings.HasSuffix(want, "number") {
			got += " " + rows.Shorten(string(raw))
		}
	}
	return fmt.Errorf("%s: must be %s, got %s", path, want, got)
}
