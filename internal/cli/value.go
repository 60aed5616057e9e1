package cli

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"oneflow/config"
)

// value puts text into a field of a grammar. It is a pflag.Value.
type value struct {
	target    reflect.Value
	separator string // between the elements of a list or a map; empty: each has a flag of its own
	given     bool   // a list or a map was begun: its default holds no more
}

// Set reads text. A list or a map gets what text holds beside what earlier calls brought.
func (v *value) Set(text string) error {
	kind := v.target.Kind()
	if kind != reflect.Slice && kind != reflect.Map {
		return set(v.target, text)
	}
	if !v.given {
		v.target.SetZero()
		v.given = true
	}
	elements := []string{text}
	if v.separator != "" {
		elements = strings.Split(text, v.separator)
	}
	for _, text := range elements {
		if err := v.add(text); err != nil {
			return err
		}
	}
	return nil
}

// add puts an element into a list or a map.
func (v *value) add(text string) error {
	if v.isList() {
		element := reflect.New(v.target.Type().Elem()).Elem()
		if err := set(element, text); err != nil {
			return err
		}
		v.target.Set(reflect.Append(v.target, element))
		return nil
	}
	name, text, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("must be NAME=VALUE, got %.60q", name)
	}
	if v.target.IsNil() {
		v.target.Set(reflect.MakeMap(v.target.Type()))
	}
	key, element := reflect.New(v.target.Type().Key()).Elem(), reflect.New(v.target.Type().Elem()).Elem()
	key.SetString(name)
	if err := set(element, text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	v.target.SetMapIndex(key, element)
	return nil
}

// set reads text into one value.
func set(target reflect.Value, text string) error {
	if target.Kind() == reflect.Pointer {
		held := reflect.New(target.Type().Elem())
		if err := set(held.Elem(), text); err != nil {
			return err
		}
		target.Set(held)
		return nil
	}
	switch t := target.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return t.UnmarshalText([]byte(text))
	case *time.Duration:
		d, err := config.ParseDuration(text)
		*t = d
		return err
	}
	switch target.Kind() { //nolint:exhaustive // no flag is of another
	case reflect.String:
		target.SetString(text)
	case reflect.Bool:
		yes, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("must be true or false, got %.60q", text)
		}
		target.SetBool(yes)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, target.Type().Bits())
		if err != nil {
			return fmt.Errorf("must be a whole number, got %.60q", text)
		}
		target.SetInt(n)
	case reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("must be a whole number that is not negative, got %.60q", text)
		}
		target.SetUint(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("must be a number, got %.60q", text)
		}
		target.SetFloat(x)
	default:
		return fmt.Errorf("no flag can be a %s", target.Type())
	}
	return nil
}

// among refuses a value that is none of values, where there are some.
func (v *value) among(values []string) error {
	if text := v.String(); len(values) > 0 && !slices.Contains(values, text) {
		return fmt.Errorf("must be %s, got %.60q", OneOf(slices.DeleteFunc(slices.Clone(values), func(s string) bool { return s == "" })), text)
	}
	return nil
}

func (v *value) isList() bool { return v.target.Kind() == reflect.Slice }

// String is the value as text.
func (v *value) String() string {
	if !v.target.IsValid() {
		return ""
	}
	return fmt.Sprint(v.target.Interface())
}

// Type is a word by which pflag and cobra know flags without a value and those that may be repeated.
func (v *value) Type() string {
	switch v.target.Kind() { //nolint:exhaustive // the others are called by themselves
	case reflect.Bool:
		return "bool"
	case reflect.Slice:
		return "stringSlice"
	case reflect.Map:
		return "stringToString"
	default:
		return v.target.Kind().String()
	}
}
