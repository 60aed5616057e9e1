package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"oneflow/batches/rows"
	"oneflow/providers"
)

// mapError says that a column which is to be mapped is not in a row.
type mapError struct {
	Field, Column string
	// Columns are those that the row has.
	Columns string
}

// Error names the column, and those that are there.
func (e *mapError) Error() string {
	return fmt.Sprintf("column %q, mapped to %s, is not there; the line has %s", e.Column, e.Field, e.Columns)
}

// rename applies Map.
func (in Input) rename(fields Fields) (Fields, error) {
	out := make(Fields, len(fields))
	known := FieldNames()
	for name, value := range fields {
		if slices.Contains(known, name) {
			out[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Map)) {
		column := in.Map[name]
		value, ok := fields[column]
		if !ok {
			return nil, &mapError{name, column, list(fields)}
		}
		out[name] = value
	}
	return out, nil
}

func list(fields Fields) string {
	names := slices.Sorted(maps.Keys(fields))
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return rows.Shorten(strings.Join(names, ", "))
}

// Shape is a vendor's form of a batch's rows.
type Shape string

// The shapes of rows that are not our own.
const (
	ShapeOpenAI    Shape = "openai"
	ShapeAnthropic Shape = "anthropic"
)

// isOpenAI reports whether a row is a line of OpenAI's batch input, and not one that
// has a column called body.
func isOpenAI(fields Fields) bool {
	return fields.has("body") && (fields.has("url") || fields["body"][0] == '{')
}

// isAnthropic reports whether a row is a request of Anthropic's batches, and not one
// that has a column called params.
func isAnthropic(fields Fields) bool {
	return fields.has("params") && fields["params"][0] == '{'
}

// fromOpenAI takes a line of OpenAI's batch input, {custom_id, method, url, body}:
// the body's fields that have a name here become a row's, the others go into extra.
func fromOpenAI(fields Fields) (Fields, error) {
	address, method := text(fields["url"]), text(fields["method"])
	task := providers.Text
	switch u, err := url.Parse(address); {
	case err == nil && strings.HasSuffix(u.Path, "/chat/completions"):
	case err == nil && strings.HasSuffix(u.Path, "/images/generations"):
		task = providers.Image
	default:
		return nil, fmt.Errorf("url %s: is not taken; lines of an OpenAI batch are taken for /v1/chat/completions and /v1/images/generations, "+
			"others as rows such as {\"prompt\": \"…\"}", rows.Quoted(address))
	}
	if fields.has("method") && !strings.EqualFold(method, "POST") {
		return nil, fmt.Errorf("method %s: must be POST", rows.Quoted(method))
	}
	named := []string{
		"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed", "response_format", "n",
		"tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "service_tier", "logprobs", "top_logprobs",
	}
	dropped := map[string]string{"stream": "false"}
	if task == providers.Image {
		named = []string{"model", "prompt", "n", "size", "quality", "background", "style", "output_format"}
		dropped = map[string]string{"stream": "false", "response_format": `"b64_json"`}
	}
	return unwrapped(fields, "body", task, []string{"method", "url"}, dropped, func(name string) string {
		if slices.Contains(named, name) {
			return name
		}
		return ""
	})
}

// fromAnthropic takes a line of Anthropic's batch input, {custom_id, params}.
func fromAnthropic(fields Fields) (Fields, error) {
	return unwrapped(fields, "params", providers.Text, nil, map[string]string{"stream": "false"}, func(name string) string {
		switch name {
		case "model", "messages", "max_tokens", "system", "temperature", "top_p", "tools", "tool_choice", "service_tier":
			return name
		case "stop_sequences":
			return "stop"
		}
		return ""
	})
}

// unwrapped takes a vendor's request out of the field inner. ours gives our name for
// one of its fields, or nothing; dropped are those that mean nothing at one value and
// are not taken at another; envelope are fields beside it that have been looked at.
func unwrapped(fields Fields, inner string, task providers.Task, envelope []string, dropped map[string]string, ours func(string) string) (Fields, error) {
	var body Fields
	if json.Unmarshal(fields[inner], &body) != nil {
		return nil, wrongType(inner, "an object", fields[inner])
	}
	out, extra := maps.Clone(fields), Fields{}
	for _, name := range append(envelope, inner) {
		delete(out, name)
	}
	if !out.has("task") {
		out["task"] = quote(string(task))
	}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		value := body[name]
		without, drop := dropped[name]
		our := ours(name)
		switch {
		case !body.has(name), drop && string(value) == without:
		case drop:
			return nil, fmt.Errorf("%s.%s: only %s is taken, got %s", inner, name, without, rows.Shorten(string(value)))
		case our == "":
			extra[name] = value
		case out.has(our):
			return nil, fmt.Errorf("%s.%s: stands beside %s, too: give only one of them", inner, name, inner)
		default:
			out[our] = value
		}
	}
	if len(extra) == 0 {
		return out, nil
	}
	if out.has("extra") {
		return nil, errors.New("extra: its fields go into " + inner)
	}
	var err error
	out["extra"], err = json.Marshal(extra)
	return out, err
}

// text is a JSON string's text, or the JSON itself.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return string(raw)
	}
	return s
}

func quote(s string) json.RawMessage {
	data, err := json.Marshal(s)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return data
}
