package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Check refuses a response format that is not one of types or is incomplete; nil
// is fine.
func (f *ResponseFormat) Check(types ...string) error {
	if f == nil {
		return nil
	}
	if err := OneOf("response_format.type", f.Type, types...); err != nil {
		return err
	}
	switch {
	case f.Type == "":
		return fmt.Errorf("response_format.type: must be %s", join(types))
	case f.Type == "json_schema" && f.JSONSchema == nil:
		return errors.New("response_format.json_schema: is needed for type json_schema")
	case f.Type != "json_schema" && f.JSONSchema != nil:
		return fmt.Errorf("response_format.type: must be json_schema where a schema is given, got %q", f.Type)
	case f.Type == "json_schema" && !isObject(f.JSONSchema.Schema):
		return errors.New("response_format.json_schema.schema: must be a JSON object")
	}
	return nil
}

func isObject(raw json.RawMessage) bool {
	return json.Valid(raw) && bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{"))
}

// RefuseExtra refuses fields of the provider's own request that this client
// writes itself, or whose answer it could not read.
func (r Request) RefuseExtra(names ...string) error {
	for _, name := range names {
		if _, ok := r.Extra[name]; ok {
			return fmt.Errorf("extra.%s: cannot be used with %s here: leave it out", name, r.Task)
		}
	}
	return nil
}

// OneOf refuses a value that is set and is not one of those allowed.
func OneOf(name, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: must be %s, got %q", name, join(allowed), value)
}

// Pixels reads WIDTHxHEIGHT, both positive.
func Pixels(size string) (width, height int, ok bool) {
	w, h, found := strings.Cut(size, "x")
	width, errW := strconv.Atoi(w)
	height, errH := strconv.Atoi(h)
	return width, height, found && errW == nil && errH == nil && width > 0 && height > 0
}
